"""What Axolotl's pydantic models do not say of single keys: ranges, old names, and the names that other tools use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cw_cli.core.schema import Renamed

SUBJECT = "Axolotl 0.19.0"

_AT_LEAST_0: Mapping[str, Any] = {"minimum": 0}
_AT_LEAST_1: Mapping[str, Any] = {"minimum": 1}
_SHARE: Mapping[str, Any] = {"minimum": 0, "maximum": 1}

OVERLAY: Mapping[str, Mapping[str, Any]] = {
    # Axolotl takes text here too, for the sake of 1e-5, which its YAML reads as text and ours as a number.
    "learning_rate": {"type": "number", **_AT_LEAST_0},
    "eval_strategy": {"enum": ["no", "steps", "epoch", None]},
    "save_strategy": {"enum": ["no", "steps", "epoch", "best", None]},
    "micro_batch_size": _AT_LEAST_1,
    "eval_batch_size": _AT_LEAST_1,
    "gradient_accumulation_steps": _AT_LEAST_1,
    "sequence_len": _AT_LEAST_1,
    "num_epochs": _AT_LEAST_0,
    "val_set_size": _AT_LEAST_0,
    "weight_decay": _AT_LEAST_0,
    "max_grad_norm": _AT_LEAST_0,
    "warmup_ratio": _SHARE,
    "warmup_steps": _AT_LEAST_0,
    "logging_steps": _AT_LEAST_1,
    "save_total_limit": _AT_LEAST_1,
    "lora_r": _AT_LEAST_1,
    "lora_dropout": _SHARE,
    "neftune_noise_alpha": {"exclusiveMinimum": 0},
    "adam_beta1": _SHARE,
    "adam_beta2": _SHARE,
    "adam_epsilon": _AT_LEAST_0,
    "fsdp_version": {"enum": [1, 2, None]},
    "context_parallel_size": _AT_LEAST_1,
    "tensor_parallel_size": _AT_LEAST_1,
    "kd_trainer": {"type": ["boolean", "number", "null"]},
    "large_head_attention": {"enum": ["auto", "sdpa", "triton_flash", None]},
}

RENAMED: Mapping[str, Renamed] = {
    "evaluation_strategy": Renamed("eval_strategy"),
    "noisy_embedding_alpha": Renamed("neftune_noise_alpha"),
    "dpo_beta": Renamed("rl_beta"),
    "dataset_processes": Renamed("dataset_num_proc"),
    "pretrain_multipack_buffer_size": Renamed("streaming_multipack_buffer_size"),
    "sequence_parallel_degree": Renamed("context_parallel_size"),
}
"""Names that Axolotl still takes, with a warning in a log that nobody reads."""

RENAMED_CHOICES: Mapping[str, Mapping[Any, Any]] = {
    "optimizer": {"adamw": "adamw_torch_fused", "adam": "adamw_torch_fused", "adamw_hf": "adamw_torch"},
}
"""Values that no longer exist or never did, and what is meant."""

_UNSLOTH = "write lora_mlp_kernel, lora_qkv_kernel and lora_o_kernel instead"
_TRL = "TRL took it out"

REMOVED: Mapping[str, str] = {
    "max_packed_sequence_len": "write sequence_len and `sample_packing: true`",
    "rope_scaling": "write it under model_config",
    "s2_attention": "shifted sparse attention is gone",
    "flash_attn_rms_norm": "write `liger_rms_norm: true` with the Liger plugin",
    "flash_attn_fuse_qkv": "delete it",
    "dpo_use_logits_to_keep": _TRL,
    "dpo_generate_during_eval": _TRL,
    "dpo_norm_loss": _TRL,
    "rpo_alpha": f"{_TRL}; see dpo_loss_type and dpo_loss_weights",
    "unsloth_cross_entropy_loss": "see the Liger and the Cut Cross Entropy plugin",
    "unsloth_lora_mlp": _UNSLOTH,
    "unsloth_lora_qkv": _UNSLOTH,
    "unsloth_lora_o": _UNSLOTH,
    "unsloth_rms_norm": "write `liger_rms_norm: true` with the Liger plugin",
    "unsloth_rope": "write `liger_rope: true` with the Liger plugin",
    "gptq_groupsize": "delete it",
    "gptq_model_v1": "delete it",
    "debug": "give `--debug` to `axolotl preprocess`",
    "wandb_run_name": "write wandb_name",
    "dataloader_type": "delete it",
}
"""Keys of earlier versions; Axolotl drops most of them without a word."""

_RESOURCE = "cw counts processes and nodes: write `gpu:` and `nodes:`"

REFUSED: Mapping[str, str] = {
    "num_gpus": _RESOURCE,
    "num_nodes": _RESOURCE,
    "num_processes": _RESOURCE,
    "model": "write base_model",
    "model_name": "write base_model",
    "model_name_or_path": "write base_model",
    "dataset": "write `datasets:`, a list of entries with path and type",
    "dataset_name": "write `datasets:`, a list of entries with path and type",
    "dataset_path": "write `datasets:`, a list of entries with path and type",
    "num_train_epochs": "write num_epochs",
    "epochs": "write num_epochs",
    "per_device_train_batch_size": "write micro_batch_size",
    "per_device_eval_batch_size": "write eval_batch_size",
    "max_seq_length": "write sequence_len",
    "max_seq_len": "write sequence_len",
    "max_length": "write sequence_len",
    "sequence_length": "write sequence_len",
    "max_prompt_length": "write max_prompt_len",
    "packing": "write sample_packing",
    "optim": "write optimizer",
    "lr": "write learning_rate",
    "lr_scheduler_type": "write lr_scheduler",
    "use_peft": "write `adapter: lora`",
    "use_lora": "write `adapter: lora`",
    "lora_rank": "write lora_r",
    "torch_dtype": "write bf16, fp16 or float32",
    "report_to": "write use_wandb, use_mlflow, use_comet or use_trackio",
    "reward_funcs": "write it under `trl:`",
    "num_generations": "write it under `trl:`",
    "use_vllm": "write it under `trl:`",
    "max_completion_length": "write it under `trl:`",
    "beta": "write rl_beta, or beta under `trl:`",
    "trainer_args": "Axolotl's keys stand at the top: write them there",
}
"""Names that TRL and others use; Axolotl drops them without a word and trains with its defaults."""

FSDP1 = ("sharding_strategy", "limit_all_gathers", "forward_prefetch", "backward_prefetch", "backward_prefetch_policy")
"""Keys of `fsdp_config` that Axolotl drops; most configs for FSDP hold one of them, and none is missed."""
