"""Keys that exclude each other, and keys that need another: what Axolotl's validators say once it runs."""

from __future__ import annotations

from collections.abc import Iterator

from cw_cli.core.config import Config
from cw_cli.core.problems import Problem

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
    ("deepcompile", "deepspeed", "deepspeed: zero1.json"),
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


def checks(config: Config) -> Iterator[Problem]:
    for key, other in EXCLUSIVE:
        if config.get(key) and config.get(other):
            yield config.problem((key,), f"{key} and {other} exclude each other", "keep one of them")
    for key, needed, line in NEEDS:
        if config.get(key) and not config.get(needed):
            yield config.problem((key,), f"{key} needs {needed}", f"add `{line}`, or delete {key}")
    for key, needed in UNUSED:
        if config.get(key) and not config.get(needed):
            message = f"{key} changes nothing without {needed}"
            yield config.problem((key,), message, f"add {needed}, or delete it", warning=True)
