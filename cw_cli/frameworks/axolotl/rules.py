"""What Axolotl's models do not say, as data: ranges, old names, other tools' names, keys that do not go together."""

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

EXCLUSIVE = (
    ("batch_size", "gradient_accumulation_steps"),
    ("warmup_ratio", "warmup_steps"),
    ("saves_per_epoch", "save_steps"),
    ("evals_per_epoch", "eval_steps"),
    ("val_set_size", "test_datasets"),
    ("val_set_size", "pretraining_dataset"),
    ("val_set_size", "streaming"),
    ("dataset_exact_deduplication", "streaming"),
    ("dataset_exact_deduplication", "pretraining_dataset"),
    ("dataset_exact_deduplication", "skip_prepare_dataset"),
    ("include_tokens_per_second", "pretraining_dataset"),
    ("gpu_memory_limit", "max_memory"),
    ("fsdp", "deepspeed"),
    ("fsdp_config", "deepspeed"),
    ("sample_packing", "rl"),
    ("eval_table_size", "eval_sample_packing"),
    ("do_causal_lm_eval", "eval_sample_packing"),
    ("lr_groups", "loraplus_lr_ratio"),
    ("load_in_8bit", "load_in_4bit"),
    ("load_in_8bit", "model_quantization_config"),
    ("load_in_4bit", "model_quantization_config"),
    ("use_onebitllms", "adapter"),
    ("flash_attn_fuse_mlp", "adapter"),
    ("flash_attn_fuse_mlp", "relora"),
    ("relora", "fsdp"),
    ("relora", "fsdp_config"),
    ("relora", "deepspeed"),
    ("qat", "peft"),
    ("qat", "load_in_8bit"),
    ("qat", "load_in_4bit"),
    ("gptq", "model_revision"),
    ("ple_cpu_offload", "deepspeed"),
    ("ple_cpu_offload", "fsdp_config"),
    ("lora_mlp_kernel", "trust_remote_code"),
    ("lora_qkv_kernel", "trust_remote_code"),
    ("lora_o_kernel", "trust_remote_code"),
    ("quantize_moe_experts", "lora_target_linear"),
    ("cut_cross_entropy", "chunked_cross_entropy"),
    ("cut_cross_entropy", "liger_cross_entropy"),
    ("cut_cross_entropy", "liger_fused_linear_cross_entropy"),
    ("chunked_cross_entropy", "liger_cross_entropy"),
    ("chunked_cross_entropy", "liger_fused_linear_cross_entropy"),
    ("liger_cross_entropy", "liger_fused_linear_cross_entropy"),
    *((key, "tokenizer_use_mistral_common") for key in ("special_tokens", "tokens", "chat_template")),
)
"""Two keys of which one at most may say something; the first is the one to point at."""

NEEDS = (
    ("load_in_8bit", "adapter", "adapter: lora"),
    ("load_in_4bit", "adapter", "adapter: qlora"),
    ("peft_layers_pattern", "peft_layers_to_transform", "peft_layers_to_transform: […]"),
    ("relora", "jagged_restart_steps", "jagged_restart_steps: 200"),
    ("activation_offloading", "gradient_checkpointing", "gradient_checkpointing: true"),
    ("selective_checkpointing", "gradient_checkpointing", "gradient_checkpointing: true"),
    ("pretraining_dataset", "max_steps", "max_steps: 1000"),
    ("streaming", "max_steps", "max_steps: 1000"),
    ("push_dataset_to_hub", "hf_use_auth_token", "hf_use_auth_token: true"),
    ("fp8_config", "fp8", "fp8: true"),
    ("torch_compile_options", "torch_compile", "torch_compile: true"),
    ("fp32_norms", "fsdp_config", "fsdp_version: 2` and `fsdp_config: {…}"),
    ("deepcompile", "deepspeed", "deepspeed: zero1"),
    ("dpo_loss_weights", "dpo_loss_type", "dpo_loss_type: […]"),
    ("quantize_moe_experts", "adapter", "adapter: qlora"),
    ("eval_causal_lm_metrics", "do_causal_lm_eval", "do_causal_lm_eval: true"),
)
"""A key, what it needs, and a line that gives it."""

UNUSED = (
    *(
        (key, "adapter")
        for key in ("lora_r", "lora_alpha", "lora_target_modules", "lora_target_linear", "lora_dropout")
    ),
    ("fsdp_version", "fsdp_config"),
    ("gradient_checkpointing_kwargs", "gradient_checkpointing"),
    ("chat_template_kwargs", "chat_template"),
    ("lisa_n_layers", "lisa_step_interval"),
)
"""A key that changes nothing without the other."""
