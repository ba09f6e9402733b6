"""What TRL's dataclasses do not say about single keys of GRPO and RLOO; `rules.py` does the same for what all share."""

from __future__ import annotations

from typing import Any

from cw_cli.core.schema import Renamed
from cw_cli.frameworks.trl.rules import ABOVE_0, AT_LEAST_0, AT_LEAST_1, PYTHON, REFERENCE, SHARE

_RENAMED = {
    "max_new_tokens": Renamed("max_completion_length"),
    "response_length": Renamed("max_completion_length"),
    "vllm_guided_decoding_regex": Renamed("vllm_structured_outputs_regex"),
    "vllm_max_model_len": Renamed("vllm_max_model_length"),
    "wandb_log_unique_prompts": Renamed("log_unique_prompts"),
    "reward_model_path": Renamed("reward_model_name_or_path"),
}

RENAMED_OF = {
    "grpo": _RENAMED,
    "rloo": {
        **_RENAMED,
        "rloo_k": Renamed("num_generations"),
        "kl_coef": Renamed("beta"),
        "cliprange": Renamed("epsilon"),
        "num_ppo_epochs": Renamed("num_iterations"),
        "normalize_advantage": Renamed("normalize_advantages"),
    },
}

_SERVER = "it is an option of `vllm serve`"
_REMOVED = {
    "max_prompt_length": "prompts are never cut any more; leave long ones out of the data",
    "max_length": "write `max_completion_length:`; prompts are never cut",
    "max_seq_length": "write `max_completion_length:`; prompts are never cut",
    "vllm_device": "vLLM runs on the trainer's GPUs (`vllm_mode: colocate`) or as a server of its own",
    "vllm_dtype": _SERVER,
    "vllm_enable_prefix_caching": _SERVER,
    "reward_processing_classes": PYTHON + "; the tokenizer beside each reward model is used",
    "tools": PYTHON,
    "environment_factory": PYTHON,
    "rollout_func": PYTHON,
    "ref_model": REFERENCE + "; delete it",
    "use_liger_loss": "the loss is always computed in pieces now; delete it",
}

REMOVED_OF = {
    "grpo": _REMOVED,
    "rloo": {
        **_REMOVED,
        "total_episodes": "write `max_steps:` or `num_train_epochs:`",
        "num_mini_batches": "write `steps_per_generation:`",
        "token_level_kl": "the divergence is always that of the whole completion; delete it",
        "whiten_rewards": "write `normalize_advantages: true`",
        "missing_eos_penalty": "write `mask_truncated_completions: true`, or take it off in a reward function",
        "local_rollout_forward_batch_size": "write `per_device_train_batch_size:`",
        "num_sample_generations": "write `log_completions: true`",
        "stop_token": "completions end with the model's own end tokens; delete it",
        "sft_model_path": "write `model_name_or_path:`",
    },
}

_SERVED = {
    "reward_model": {
        "type": ["string", "null"],
        "description": "A reward that cw serves beside the trainer, once for all of its processes: a folder or a name "
        "on the Hub with a sequence classifier, or FILE.py:function. It is the first of the rewards.",
    }
}

OWN: dict[str, dict[str, dict[str, Any]]] = {"grpo": _SERVED, "rloo": _SERVED}
"""Keys of cw's own recipes, which TRL does not have."""

_REWARD_FUNCS = {
    "type": ["array", "string", "object"],
    "items": {"type": ["string", "object"]},
    "description": "What scores a completion, one or several: FILE.py:function beside the config; a reward of cw's "
    "own, as in `exact_match` or, with settings, `numeric_answer: {tolerance: 0.01}`; package.module.function of the "
    "image; a folder or a name on the Hub with a sequence classifier; `reward_service: {url: http://…}`. TRL's names "
    "are taken too, as in `think_format_reward`.",
}

_OVERLAY: dict[str, dict[str, Any]] = {
    "reward_funcs": _REWARD_FUNCS,
    "vllm_mode": {"enum": ["server", "colocate"]},
    "vllm_model_impl": {"enum": ["vllm", "transformers", "auto"]},
    "num_generations": {"type": "integer", "minimum": 2},
    "num_generations_eval": AT_LEAST_1,
    "max_completion_length": {"type": "integer", **AT_LEAST_1},
    "generation_batch_size": AT_LEAST_1,
    "steps_per_generation": AT_LEAST_1,
    "num_iterations": AT_LEAST_1,
    "temperature": ABOVE_0,
    "top_p": {"exclusiveMinimum": 0, "maximum": 1},
    "top_k": AT_LEAST_0,
    "min_p": SHARE,
    "repetition_penalty": ABOVE_0,
    "beta": AT_LEAST_0,
    "epsilon": AT_LEAST_0,
    "epsilon_high": AT_LEAST_0,
    "ref_model_mixup_alpha": SHARE,
    "ref_model_sync_steps": AT_LEAST_1,
    "vllm_gpu_memory_utilization": {"exclusiveMinimum": 0, "maximum": 1},
    "vllm_tensor_parallel_size": AT_LEAST_1,
    "vllm_max_model_length": AT_LEAST_1,
    "vllm_server_timeout": AT_LEAST_0,
    "num_completions_to_print": AT_LEAST_1,
}

OVERLAY_OF: dict[str, dict[str, dict[str, Any]]] = {
    "grpo": {
        **_OVERLAY,
        # Wrong ones fail with the first batch.
        "loss_type": {"enum": [*("grpo", "dr_grpo", "dapo", "bnpo", "cispo", "sapo", "luspo", "vespo")]},
        "importance_sampling_level": {"enum": ["token", "sequence"]},
        "multi_objective_aggregation": {"enum": ["sum_then_normalize", "normalize_then_sum"]},
        "scale_rewards": {"type": ["string", "boolean"], "enum": ["group", "batch", "none", True, False]},
        "vllm_importance_sampling_mode": {
            "enum": ["token_truncate", "token_mask", "sequence_truncate", "sequence_mask"]
        },
        "delta": ABOVE_0,
        "top_entropy_quantile": SHARE,
    },
    "rloo": {**_OVERLAY, "reward_clip_range": {"minItems": 2, "maxItems": 2}},
}
