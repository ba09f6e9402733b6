"""What TRL's dataclasses do not say about single keys: old names, gone keys, and values that are refused later.

Pure data for `cw_cli.core.schema`. Tests hold every entry against the installed TRL.
"""

from __future__ import annotations

from typing import Any

from cw_cli.core.schema import Renamed

ALIASES = {
    "model_name": "model_name_or_path",
    # As TRL's and Accelerate's own command lines call it.
    "accelerate_config": "accelerate",
    "config_file": "accelerate",
}

BLOCKS = ("trainer_args",)


def _ratio(value: Any) -> Any:
    """A warm-up ratio as `warmup_steps` takes it; from 1 on it would be read as a number of steps."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1 else None


def _by_length(value: Any) -> str | None:
    return {True: "group_by_length", False: "random"}.get(value) if isinstance(value, bool) else None


RENAMED = {
    "max_seq_length": Renamed("max_length"),
    "evaluation_strategy": Renamed("eval_strategy"),
    "torch_dtype": Renamed("dtype"),
    "no_cuda": Renamed("use_cpu"),
    "per_gpu_train_batch_size": Renamed("per_device_train_batch_size"),
    "per_gpu_eval_batch_size": Renamed("per_device_eval_batch_size"),
    "warmup_ratio": Renamed("warmup_steps", "a number below 1 is a share of all steps", _ratio),
    "group_by_length": Renamed("train_sampling_strategy", "with the value group_by_length", _by_length),
    "use_liger": Renamed("use_liger_kernel"),
    "push_to_hub_model_id": Renamed("hub_model_id"),
    # As the alignment handbook and open-r1 call them.
    "preprocessing_num_workers": Renamed("dataset_num_proc"),
    "hub_model_revision": Renamed("hub_revision"),
}

NEWER = {
    "activation_checkpointing": Renamed("gradient_checkpointing"),
    "activation_checkpointing_kwargs": Renamed("gradient_checkpointing_kwargs"),
}
"""Keys of the newest pair of versions, and what they are called where they do not exist yet."""

RENAMED_CHOICES: dict[str, dict[Any, Any]] = {
    "packing_strategy": {"bfd-requeue": "bfd_split", "ffd": "bfd"},
    "loss_type": {"chunked_nll": "nll"},
}

PYTHON = "it is an argument for Python code, which a YAML file cannot hold"
_MEASURED = "cw measures tokens per second by itself"
_FSDP = "write it as {0} inside `fsdp_config:`, with `fsdp: true`"
_TPU = "TPUs are set up by Accelerate"

REMOVED = {
    # SFTConfig and SFTTrainer
    "dataset_batch_size": "the dataset is prepared in batches that TRL chooses; delete it",
    "num_of_sequences": "`packing: true` packs the whole dataset; delete it",
    "chars_per_token": "`packing: true` counts tokens, not characters; delete it",
    "tokenizer": PYTHON + "; the tokenizer beside the model is used",
    "processing_class": PYTHON + "; the tokenizer beside the model is used",
    "formatting_func": PYTHON + "; write the columns prompt and completion, messages or text into the dataset",
    "peft_config": PYTHON + "; write `use_peft: true` and the lora_ keys",
    "quantization_config": PYTHON + "; write `load_in_4bit: true` or `load_in_8bit: true`",
    "data_collator": PYTHON,
    "callbacks": PYTHON,
    "train_dataset": PYTHON + "; write `dataset_name:` or `datasets:`",
    "eval_dataset": PYTHON + "; write `eval_strategy:` and `dataset_test_split:`",
    "use_liger_loss": "write `model_init_kwargs: {use_kernels: true}`",
    # ModelConfig and ScriptArguments
    "use_flash_attention_2": "write `attn_implementation: flash_attention_2`",
    "gradient_checkpointing_use_reentrant": "write `gradient_checkpointing_kwargs: {use_reentrant: …}`",
    # TrainingArguments
    "overwrite_output_dir": "checkpoints in output_dir are never deleted; choose another folder for a fresh start",
    "logging_dir": "set TENSORBOARD_LOGGING_DIR under `env:`",
    "save_safetensors": "models are always saved as safetensors; delete it",
    "use_mps_device": "an Apple GPU is used where there is one; delete it",
    "half_precision_backend": "write `bf16: true` or `fp16: true` only",
    "fp16_backend": "write `bf16: true` or `fp16: true` only",
    "fp16_opt_level": "write `bf16: true` or `fp16: true` only",
    "include_tokens_per_second": _MEASURED,
    "include_inputs_for_metrics": "write `include_for_metrics: [inputs]`",
    "push_to_hub_organization": "write `hub_model_id: organization/name`",
    "push_to_hub_token": "name a secret that holds HF_TOKEN under `secrets:`",
    "adafactor": "write `optim: adafactor`",
    "ray_scope": "cw does not search for hyperparameters with Ray",
    "torchdynamo": "write `torch_compile: true` and `torch_compile_backend:`",
    "jit_mode_eval": "write `torch_compile: true`",
    "use_ipex": "PyTorch itself is fast on Intel now; delete it",
    "past_index": "delete it",
    "mp_parameters": "delete it",
    "sharded_ddp": "write `fsdp: true`",
    "dispatch_batches": "write `accelerator_config: {dispatch_batches: …}`",
    "split_batches": "write `accelerator_config: {split_batches: …}`",
    "evaluate_during_training": "write `eval_strategy: steps`",
    "fsdp_min_num_params": _FSDP.format("min_num_params"),
    "fsdp_transformer_layer_cls_to_wrap": _FSDP.format("transformer_layer_cls_to_wrap"),
    "tpu_num_cores": _TPU,
    "tpu_metrics_debug": _TPU + "; write `debug: tpu_metrics_debug`",
}

REFERENCE = "the reference is the model as it was, or the one without its adapter"
_LENGTHS = "write `max_length:` for prompt and answer together"

REMOVED_OF = {
    "dpo": {
        "max_prompt_length": _LENGTHS,
        "max_completion_length": _LENGTHS,
        "max_target_length": _LENGTHS,
        "rpo_alpha": "write `loss_type: [sigmoid, sft]` and `loss_weights: [1.0, ALPHA]`",
        "reference_free": "it is no loss of DPO any more; see `loss_type:`",
        "generate_during_eval": "it is gone from TRL; delete it",
        "label_pad_token_id": "delete it",
        "ref_model_init_kwargs": REFERENCE + "; delete it",
        "model_adapter_name": REFERENCE + "; delete it",
        "ref_adapter_name": REFERENCE + "; delete it",
        "use_logits_to_keep": "it is always done; delete it",
        "tools": PYTHON + "; write a column `tools` into the dataset",
    },
    "kto": {"max_prompt_length": _LENGTHS, "max_completion_length": _LENGTHS},
}
"""The same for one training type."""

_PROCESSES = "cw starts one process for each GPU that `gpu:` and `nodes:` ask for"
_MEETING = "cw tells the nodes of a run how to find each other"

IGNORED = {
    # What `trl sft --config` hands on to `accelerate launch`, and cw decides.
    **dict.fromkeys(("num_processes", "num_machines", "multi_gpu", "gpu_ids", "same_network"), _PROCESSES),
    **dict.fromkeys(("machine_rank", "main_process_ip", "main_process_port", "rdzv_backend", "rdzv_conf"), _MEETING),
    "num_cpu_threads_per_process": "set OMP_NUM_THREADS under `env:`",
    "local_rank": "each process is told its number when it starts",
    "quiet": "it is an option of accelerate launch",
}

_FSDP_PREFIXED = "write `fsdp: true` and put it into `fsdp_config:` without the prefix fsdp_"

ACCELERATE = {
    # What `accelerate launch` would understand; each has a key of the trainer that means the same.
    **dict.fromkeys(
        (
            "use_deepspeed",
            "deepspeed_config_file",
            "zero_stage",
            "zero3_init_flag",
            "zero3_save_16bit_model",
            "offload_optimizer_device",
            "offload_param_device",
            "gradient_clipping",
        ),
        "write `deepspeed:` with the path of a DeepSpeed file, or with its content",
    ),
    "use_fsdp": "write `fsdp: true`",
    **dict.fromkeys(
        (
            "fsdp_version",
            "fsdp_offload_params",
            "fsdp_sharding_strategy",
            "fsdp_reshard_after_forward",
            "fsdp_auto_wrap_policy",
            "fsdp_state_dict_type",
            "fsdp_cpu_ram_efficient_loading",
            "fsdp_activation_checkpointing",
        ),
        _FSDP_PREFIXED,
    ),
    "mixed_precision": "write `bf16: true` or `fp16: true`",
    "dynamo_backend": "write `torch_compile: true` and `torch_compile_backend:`",
    "dynamo_mode": "write `torch_compile: true` and `torch_compile_mode:`",
    "max_restarts": "write `retries:`",
}
"""Without `cpu`, which is a key of cw's own."""

OTHER_SCRIPTS = {
    "dataset_mixture": "write `datasets:`, a list of `path`, `name`, `split`, `columns` and `fraction`, and "
    "`test_split_size:` beside it",
    "dataset_mixer": "write `datasets:`, a list with the `path` and the `split` of each",
    "dataset_splits": "write `dataset_train_split:` and `dataset_test_split:`, or `split` inside `datasets:`",
    "dataset_configs": "write `dataset_config:` with one name, or `name` inside `datasets:`",
    "dataset_prompt_column": "call the column `prompt` in the dataset",
    "system_prompt": "write it into the dataset, as the first message of each conversation",
    "chat_template": "for sft and reward write it into a Jinja file and name that as `chat_template_path:`; else save "
    "it beside the model's tokenizer",
    "wandb_project": "set WANDB_PROJECT under `env:`",
    "wandb_entity": "set WANDB_ENTITY under `env:`",
    "wandb_run_group": "set WANDB_RUN_GROUP under `env:`",
}
"""Keys of scripts that wrap TRL, such as those of the alignment handbook and of open-r1, whose recipes people copy."""

ATTENTION = (
    "eager",
    "sdpa",
    "flash_attention_2",
    "flash_attention_3",
    "flash_attention_4",
    "flex_attention",
    "paged|eager",
)
"""Other values are kernels of the Hub, written as owner/name."""

REPORTERS = (
    "none",
    "all",
    "azure_ml",
    "clearml",
    "codecarbon",
    "comet_ml",
    "dagshub",
    "dvclive",
    "flyte",
    "kubeflow",
    "mlflow",
    "neptune",
    "swanlab",
    "tensorboard",
    "trackio",
    "wandb",
)

AT_LEAST_0 = {"minimum": 0}
AT_LEAST_1 = {"minimum": 1}
ABOVE_0 = {"exclusiveMinimum": 0}
SHARE = {"minimum": 0, "maximum": 1}

DPO_LOSSES = (
    *("sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot", "aot_unpaired"),
    *("apo_zero", "apo_down", "discopop", "sft", "sigmoid_norm"),
)

OVERLAY_OF: dict[str, dict[str, dict[str, Any]]] = {
    # A single one is taken too; a wrong one fails with the first batch.
    "dpo": {
        "loss_type": {"type": ["array", "string"], "items": {"type": "string", "enum": [*DPO_LOSSES]}},
        "f_divergence_type": {"enum": ["reverse_kl", "forward_kl", "js_divergence", "alpha_divergence"]},
    },
}
"""The same for one training type."""

OVERLAY: dict[str, dict[str, Any]] = {
    # Free text in the dataclasses; refused once the model is loaded, or later.
    "report_to": {"enum": [*REPORTERS, None]},
    "include_num_input_tokens_seen": {"enum": ["all", "non_padding", "no", True, False]},
    "debug": {"enum": ["", "underflow_overflow", "tpu_metrics_debug", "underflow_overflow tpu_metrics_debug"]},
    "bnb_4bit_quant_storage": {
        "enum": ["uint8", "int8", "float16", "bfloat16", "float32", "float64", None],
    },
    "lora_task_type": {
        "enum": ["CAUSAL_LM", "SEQ_CLS", "SEQ_2_SEQ_LM", "TOKEN_CLS", "QUESTION_ANS", "FEATURE_EXTRACTION"]
    },
    # More types than the dataclasses say; TRL takes them from YAML.
    "resume_from_checkpoint": {"type": ["boolean", "string", "null"]},
    "fsdp": {"type": ["boolean", "string", "array", "null"]},
    "lora_target_modules": {"type": ["string", "array", "null"]},
    # Ranges outside of which training fails or makes no sense.
    "learning_rate": AT_LEAST_0,
    "num_train_epochs": AT_LEAST_0,
    "max_steps": {"minimum": -1},
    "per_device_train_batch_size": AT_LEAST_1,
    "per_device_eval_batch_size": AT_LEAST_1,
    "gradient_accumulation_steps": AT_LEAST_1,
    "eval_accumulation_steps": AT_LEAST_1,
    "logging_steps": AT_LEAST_0,
    "eval_steps": AT_LEAST_0,
    "save_steps": AT_LEAST_0,
    "eval_delay": AT_LEAST_0,
    "save_total_limit": AT_LEAST_0,
    "warmup_steps": AT_LEAST_0,
    "weight_decay": AT_LEAST_0,
    "max_grad_norm": AT_LEAST_0,
    "adam_beta1": SHARE,
    "adam_beta2": SHARE,
    "adam_epsilon": AT_LEAST_0,
    "label_smoothing_factor": SHARE,
    "neftune_noise_alpha": AT_LEAST_0,
    "max_length": AT_LEAST_1,
    "torch_empty_cache_steps": AT_LEAST_1,
    "dataset_num_proc": AT_LEAST_1,
    "dataloader_num_workers": AT_LEAST_0,
    "dataloader_prefetch_factor": AT_LEAST_1,
    "ddp_bucket_cap_mb": AT_LEAST_1,
    "ddp_timeout": AT_LEAST_1,
    "seed": {"minimum": 0, "maximum": 2**32 - 1},
    "data_seed": AT_LEAST_0,
    "lora_r": AT_LEAST_1,
    "lora_dropout": SHARE,
    "router_aux_loss_coef": AT_LEAST_0,
    "test_split_size": {"type": ["integer", "number", "null"], **ABOVE_0},
}
