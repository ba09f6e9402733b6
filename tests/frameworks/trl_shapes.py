"""Configs for TRL in the shapes of those that are published for it: their keys and kinds of value, in our words.

They come from TRL's documentation and scripts, some of them commands, and from the recipes of the alignment handbook
and of open-r1, which were written for other versions and for scripts of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from cw_cli.core.problems import NOTHING

NAMED = """
model_name_or_path: owner/model
dataset_name: owner/data
"""

LORA = """
use_peft: true
lora_r: 32
lora_alpha: 16
"""

BATCHES = """
learning_rate: 2.0e-5
num_train_epochs: 1
per_device_train_batch_size: 2
gradient_accumulation_steps: 8
"""

EVALUATED = """
eval_strategy: steps
eval_steps: 100
"""

RECIPE = """
model_revision: main
torch_dtype: bfloat16
bf16: true
do_eval: false
eval_strategy: 'no'
gradient_accumulation_steps: 4
gradient_checkpointing: true
gradient_checkpointing_kwargs:
  use_reentrant: false
hub_model_id: me/model
hub_strategy: every_save
learning_rate: 1.0e-05
log_level: info
logging_steps: 5
logging_strategy: steps
lr_scheduler_type: cosine_with_min_lr
lr_scheduler_kwargs:
  min_lr_rate: 0.1
max_grad_norm: 0.2
max_steps: -1
num_train_epochs: 3
output_dir: data/out
per_device_eval_batch_size: 1
per_device_train_batch_size: 2
push_to_hub: true
report_to:
- wandb
save_strategy: "epoch"
save_total_limit: 1
seed: 42
warmup_ratio: 0.03
"""
"""What nearly all recipes of the handbook and of open-r1 hold."""

ONLINE = """
beta: 0.0
gradient_accumulation_steps: 16
log_completions: true
logging_first_step: true
max_completion_length: 2048
num_generations: 16
per_device_train_batch_size: 16
temperature: 0.7
use_vllm: true
"""

MIXTURE = """
dataset_mixture:
  datasets:
    - id: owner/chats
      config: default
      split: train
      columns: [messages]
      weight: 0.5
    - id: owner/more
      config: default
      split: train
      columns: [messages]
      weight: 1.0
  test_split_size: 1000
  seed: 0
"""

MIXER = """
dataset_mixer:
  owner/chats: 1.0
dataset_splits:
- train
- test
preprocessing_num_workers: 12
"""

GONE = "no longer exists"
UNKNOWN = "is not a key of"
OTHER = "cannot stand in a config"
NEW_NAME = "is called"


class Shape(NamedTuple):
    """A config, what it is for, and the GPUs that it is meant for."""

    kind: str
    text: str
    gpus: int = 1
    refused: Mapping[str, str] = NOTHING
    """Keys of other versions and of other programs, and some words of what is said about each."""
    mentioned: Mapping[str, str] = NOTHING
    """The same for what is only warned of."""


def _of(text: str, *parts: str) -> str:
    """The parts one after the other, less the lines of keys that an earlier part holds."""
    lines: list[str] = []
    seen: set[str] = set()
    for part in (text, *parts):
        own: set[str] = set()
        keep = True
        for line in part.strip("\n").splitlines():
            if not line.startswith((" ", "-")):
                key = line.split(":")[0]
                keep = key not in seen
                own.add(key)
            if keep:
                lines.append(line)
        seen |= own
    return "\n".join(lines) + "\n"


_RECIPE_NAMES = {"torch_dtype": NEW_NAME, "warmup_ratio": NEW_NAME}

OF_TRL = {
    "shortest-sft": Shape("sft", NAMED),
    "shortest-dpo": Shape("dpo", NAMED),
    "shortest-reward": Shape("reward", NAMED),
    "shortest-kto": Shape("kto", NAMED),
    "shortest-grpo": Shape("grpo", _of(NAMED, "reward_funcs: accuracy_reward")),
    "shortest-rloo": Shape("rloo", _of(NAMED, "reward_funcs:\n- think_format_reward\n- accuracy_reward")),
    "values-below-their-keys": Shape(
        "sft",
        "model_name_or_path:\n  owner/model\ndataset_name:\n  owner/data\nreport_to:\n  none\n"
        "learning_rate:\n  0.0001\nlr_scheduler_type:\n  cosine\nenv:\n  CUDA_VISIBLE_DEVICES: 0\n",
    ),
    "processes": Shape("sft", _of(NAMED, "num_processes: 4"), 4, mentioned={"num_processes": "not used"}),
    "profile": Shape("dpo", _of(NAMED, "accelerate_config: zero2"), 8),
    "profile-of-ones-own": Shape("sft", _of(NAMED, "accelerate_config: profiles/context_parallel.yaml"), 2),
    "sft": Shape("sft", _of(NAMED, BATCHES, EVALUATED, "packing: true\neos_token: '<|im_end|>'\npush_to_hub: true")),
    "sft-lora": Shape("sft", _of(NAMED, LORA, BATCHES, EVALUATED, "packing: true\nreport_to: trackio")),
    "sft-qlora": Shape("sft", _of(NAMED, LORA, "load_in_4bit: true\nper_device_train_batch_size: 1", BATCHES)),
    "sft-of-eight-bits": Shape("sft", _of(NAMED, LORA, "load_in_8bit: true\nlora_dropout: 0.05")),
    "sft-all-linear": Shape(
        "sft",
        _of(NAMED, "lora_r: 256\nlora_target_modules: all-linear\neval_strategy: no\npacking: true", LORA, BATCHES),
    ),
    "sft-mixture": Shape(
        "sft",
        _of(
            "model_name_or_path: owner/model\ndatasets:\n  - path: owner/one\n    name: all\n    split: train\n"
            "    columns: [prompt, completion]\n    fraction: 0.5\n  - path: owner/two"
            "\n    fraction: 1.5\ntest_split_size: 0.1",
            "eval_strategy: epoch",
            BATCHES,
        ),
    ),
    "sft-experts": Shape(
        "sft",
        _of(
            "dtype: bfloat16\npacking: true\npacking_strategy: wrapped\nrun_name: whole\ndataset_num_proc: 12",
            "attn_implementation: owner/attention-kernel\nmax_length: 4096\nwarmup_ratio: 0.03\nlogging_steps: 1",
            """lr_scheduler_type: cosine_with_min_lr\nlr_scheduler_kwargs: '{"min_lr_rate": 0.1}'\nseed: 42""",
            *(NAMED, "gradient_checkpointing: true\nreport_to: trackio\naccelerate_config: zero3", BATCHES),
        ),
        8,
        mentioned={"warmup_ratio": NEW_NAME},
    ),
    "sft-images": Shape(
        "sft", _of(NAMED, BATCHES, "bf16: true\ntorch_dtype: bfloat16"), mentioned={"torch_dtype": NEW_NAME}
    ),
    "sft-for-agents": Shape(
        "sft",
        _of(NAMED, "assistant_only_loss: true\nchat_template_path: owner/model\nactivation_offloading: true", BATCHES),
    ),
    "dpo": Shape("dpo", _of(NAMED, "max_steps: 1000\nremove_unused_columns: false", EVALUATED, BATCHES)),
    "dpo-lora": Shape("dpo", _of(NAMED, "max_steps: 1000\nremove_unused_columns: false", LORA, EVALUATED, BATCHES)),
    "dpo-images": Shape(
        "dpo",
        _of(NAMED, "use_peft: true\nlora_target_modules: all-linear\nbf16: true\ndataset_num_proc: 32", BATCHES),
    ),
    "dpo-of-three-losses": Shape(
        "dpo", _of(NAMED, "loss_type: [sigmoid, bco_pair, sft]\nloss_weights: [0.8, 0.2, 1.0]\nbeta: 0.1", BATCHES)
    ),
    "kto": Shape(
        "kto",
        _of(
            "lr_scheduler_type: cosine\neval_steps: 500\nwarmup_steps: 0.1\nlogging_first_step: true",
            *("per_device_train_batch_size: 16\ngradient_accumulation_steps: 1", NAMED, BATCHES),
        ),
    ),
    "kto-qlora": Shape(
        "kto",
        _of(NAMED, "load_in_4bit: true\nlora_target_modules: all-linear\nwarmup_steps: 0.1", LORA, BATCHES),
    ),
    "reward": Shape(
        "reward",
        _of(NAMED, "gradient_checkpointing: True\nlogging_steps: 25\nmax_length: 2048", EVALUATED, BATCHES),
    ),
    "reward-lora": Shape(
        "reward", _of(NAMED, "lora_task_type: SEQ_CLS\nlearning_rate: 1.0e-4\nmax_length: 2048", LORA, BATCHES)
    ),
    "distillation": Shape("distillation", _of(NAMED, "teacher_model_name_or_path: owner/teacher", BATCHES)),
    "distillation-lora": Shape("distillation", _of(NAMED, "teacher_model_name_or_path: owner/teacher", LORA, BATCHES)),
    "grpo-lora-of-rank-one": Shape(
        "grpo",
        _of(
            "learning_rate: 1.0e-6\nlr_scheduler_type: cosine\nwarmup_ratio: 0.0\nmax_grad_norm: 1.0\nbeta: 0.0",
            "max_completion_length: 4096\nnum_generations: 16\ngeneration_batch_size: 16\nuse_peft: true\nlora_r: 1",
            "gradient_accumulation_steps: 16\nper_device_train_batch_size: 1\nlora_alpha: 32\nlora_dropout: 0.0",
            "lora_target_modules: all-linear\nvllm_mode: colocate\nsave_strategy: steps\nsave_steps: 50",
            "max_steps: 200",
            *(NAMED, "reward_funcs: [reasoning_accuracy_reward]\nsave_total_limit: 1\nreport_to: trackio"),
        ),
        mentioned={"warmup_ratio": NEW_NAME, "vllm_mode": "use_vllm"},
    ),
    "grpo-images": Shape(
        "grpo",
        _of(
            "dtype: bfloat16\nmax_completion_length: 1024\nuse_vllm: true\nvllm_mode: colocate\nlog_completions: true",
            "use_peft: true\nlora_target_modules: [q_proj, v_proj]\naccelerate_config: zero3",
            *(NAMED, "reward_funcs: [think_format_reward, accuracy_reward]"),
        ),
        8,
    ),
    "gspo": Shape(
        "grpo",
        _of(
            "importance_sampling_level: sequence\nepsilon: 3e-4\nepsilon_high: 4e-4\nbeta: 0.0\nloss_type: grpo",
            "gradient_accumulation_steps: 2\nsteps_per_generation: 8\nper_device_train_batch_size: 8",
            *("num_generations: 8", NAMED, "reward_funcs: [think_format_reward]"),
        ),
        8,
    ),
    "dapo": Shape(
        "grpo",
        _of(
            "mask_truncated_completions: true\nloss_type: dapo\nepsilon_high: 0.28\nepsilon: 0.2\nbeta: 0.0",
            "per_device_train_batch_size: 512\nnum_generations: 16\nmax_completion_length: 20480",
            *("top_entropy_quantile: 0.2", NAMED, "reward_funcs: [accuracy_reward, get_soft_overlong_punishment]"),
        ),
    ),
    "dr-grpo": Shape(
        "grpo",
        _of(
            "loss_type: dr_grpo\nper_device_train_batch_size: 1\nnum_generations: 8\nmax_completion_length: 3000",
            *("beta: 0.0\nscale_rewards: false", NAMED, "reward_funcs: [accuracy_reward]"),
        ),
        8,
    ),
    "lite-ppo": Shape(
        "grpo",
        _of(
            "scale_rewards: batch\nloss_type: dapo\nbeta: 0.0\ntop_p: 0.99\ntop_k: 100\ntemperature: 0.99",
            "num_generations: 8\nnum_iterations: 1\nper_device_train_batch_size: 4\ngradient_accumulation_steps: 32",
            *("steps_per_generation: 8", NAMED, "reward_funcs: [accuracy_reward]"),
        ),
    ),
    "importance-sampling": Shape(
        "grpo",
        _of(
            "use_vllm: true\nvllm_mode: colocate\nvllm_importance_sampling_correction: true",
            "vllm_importance_sampling_mode: sequence_truncate\nvllm_importance_sampling_cap: 2.0",
            *(NAMED, "reward_funcs: [accuracy_reward]"),
        ),
    ),
    "rloo": Shape(
        "rloo",
        _of(
            "model_init_kwargs: {dtype: bfloat16}\nlearning_rate: 1e-5\nlog_completions: true\nuse_vllm: true",
            "num_completions_to_print: 2\nmax_completion_length: 1024\ngradient_accumulation_steps: 2",
            "steps_per_generation: 8\nvllm_mode: colocate\nvllm_gpu_memory_utilization: 0.5\nrun_name: sums",
            *("use_peft: true\nlora_target_modules: all-linear", NAMED, "reward_funcs: [accuracy_reward]"),
        ),
    ),
    "rloo-with-a-reward-model": Shape("rloo", _of(NAMED, "reward_model_name_or_path: owner/judge", BATCHES)),
}
"""From TRL's own documentation and scripts."""

OF_OTHERS = {
    "handbook-sft": Shape(
        "sft",
        _of(NAMED, "dataset_config: all\nattn_implementation: flash_attention_2\nmax_length: 8192", RECIPE),
        mentioned=_RECIPE_NAMES,
    ),
    "handbook-sft-of-a-template": Shape(
        "sft",
        _of(NAMED, "chat_template: '{{ messages }}'\noverwrite_output_dir: true", RECIPE),
        refused={"chat_template": OTHER, "overwrite_output_dir": GONE},
        mentioned=_RECIPE_NAMES,
    ),
    "handbook-sft-mixture": Shape(
        "sft",
        _of(
            "model_name_or_path: owner/model\npacking: true\npacking_strategy: ffd\nassistant_only_loss: true",
            "average_tokens_across_devices: true\nddp_timeout: 18000\nuse_liger_kernel: true",
            *("eos_token: <|im_end|>\nmax_length: 65536\ntrust_remote_code: true", MIXTURE, RECIPE),
        ),
        refused={"dataset_mixture": OTHER},
        mentioned=_RECIPE_NAMES | {"packing_strategy": NEW_NAME},
    ),
    "handbook-sft-of-old": Shape(
        "sft",
        _of("model_name_or_path: owner/model\nmax_seq_length: 2048\nuse_flash_attention_2: true", MIXER, RECIPE),
        refused={"dataset_mixer": OTHER, "dataset_splits": OTHER, "use_flash_attention_2": GONE},
        mentioned=_RECIPE_NAMES | {"max_seq_length": NEW_NAME, "preprocessing_num_workers": NEW_NAME},
    ),
    "handbook-dpo": Shape(
        "dpo",
        _of(
            "model_name_or_path: owner/model\nbeta: 0.5\nmax_length: 1024\nmax_prompt_length: 512",
            *("optim: adamw_torch\nhub_private_repo: true", MIXTURE, RECIPE),
        ),
        refused={"dataset_mixture": OTHER, "max_prompt_length": GONE},
        mentioned=_RECIPE_NAMES,
    ),
    "handbook-apo": Shape(
        "dpo",
        _of(
            NAMED, "beta: 0.05\nloss_type: apo_zero\npadding_free: true\nsave_steps: 0.5\nsave_strategy: steps", RECIPE
        ),
        mentioned=_RECIPE_NAMES,
    ),
    "handbook-qlora-of-old": Shape(
        "dpo",
        _of(
            "model_name_or_path: owner/model\nload_in_4bit: true\nlora_target_modules:\n- q_proj\n- v_proj",
            "evaluation_strategy: steps\neval_steps: 100\noptim: paged_adamw_32bit\ndo_train: true",
            *(LORA, MIXER, RECIPE.replace("eval_strategy: 'no'\n", "")),
        ),
        refused={"dataset_mixer": OTHER, "dataset_splits": OTHER},
        mentioned=_RECIPE_NAMES | {"evaluation_strategy": NEW_NAME, "preprocessing_num_workers": NEW_NAME},
    ),
    "r1-sft": Shape(
        "sft",
        _of(NAMED, "packing: true\nmax_seq_length: 32768\nuse_liger: true\ndataset_configs:\n- all", RECIPE),
        refused={"dataset_configs": OTHER},
        mentioned=_RECIPE_NAMES | {"max_seq_length": NEW_NAME, "use_liger": NEW_NAME},
    ),
    "r1-sft-of-many-nodes": Shape(
        "sft",
        _of(
            NAMED,
            "dataset_config: solutions\noptim: paged_adamw_8bit\nsave_only_model: true\nhub_always_push: true",
            "use_liger: false\npacking: false\nmax_length: 22528\noverwrite_output_dir: true",
            RECIPE,
        ),
        8,
        refused={"overwrite_output_dir": GONE},
        mentioned=_RECIPE_NAMES | {"use_liger": NEW_NAME},
    ),
    "r1-sft-with-callbacks": Shape(
        "sft",
        _of(
            NAMED,
            "callbacks:\n- push_to_hub_revision\nbenchmarks:\n- sums\nhub_model_revision: v01\nwandb_project: r1",
            RECIPE,
        ),
        refused={"callbacks": GONE, "benchmarks": UNKNOWN, "wandb_project": OTHER},
        mentioned=_RECIPE_NAMES | {"hub_model_revision": NEW_NAME},
    ),
    "r1-grpo": Shape(
        "grpo",
        _of(
            NAMED,
            "num_processes: 7\nvllm_device: auto\nvllm_gpu_memory_utilization: 0.7\nmax_prompt_length: 512",
            *("reward_funcs:\n- accuracy\n- format\nreward_weights:\n- 1.0\n- 0.1", ONLINE, RECIPE),
        ),
        refused={"vllm_device": GONE, "max_prompt_length": GONE, "- accuracy": "no reward", "- format": "no reward"},
        mentioned=_RECIPE_NAMES | {"num_processes": "not used", "use_vllm": ""},
    ),
    "r1-grpo-code": Shape(
        "grpo",
        _of(
            NAMED,
            "system_prompt: Think first.\ndataset_prompt_column: problem\nloss_type: dr_grpo\nscale_rewards: false",
            "mask_truncated_completions: true\ncode_language: cpp\nreward_funcs:\n- think_format_reward",
            *(ONLINE, RECIPE),
        ),
        refused={"system_prompt": OTHER, "dataset_prompt_column": OTHER, "code_language": UNKNOWN},
        mentioned=_RECIPE_NAMES | {"use_vllm": ""},
    ),
    "r1-grpo-long": Shape(
        "grpo",
        _of(
            NAMED,
            "max_completion_len: 32768\nsoft_punish_cache: 4196\nuse_liger_loss: false\nuse_liger_kernel: true",
            "generation_batch_size: 512\nsync_ref_model: false\nepsilon: 0.2\nnum_iterations: 1\nsave_steps: 0.1",
            "save_strategy: steps\nreward_funcs:\n- accuracy_reward\n- get_soft_overlong_punishment",
            *("reward_weights:\n- 1.0\n- 1.0", ONLINE, RECIPE),
        ),
        8,
        refused={"max_completion_len": UNKNOWN, "soft_punish_cache": UNKNOWN, "use_liger_loss": GONE},
        mentioned=_RECIPE_NAMES | {"use_vllm": ""},
    ),
    "r1-grpo-brought-up": Shape(
        "grpo",
        _of(NAMED, "reward_funcs:\n- think_format_reward\nvllm_mode: colocate", ONLINE, RECIPE),
        mentioned=_RECIPE_NAMES,
    ),
}
"""From the recipes of the alignment handbook and of open-r1."""

SHAPES = OF_TRL | OF_OTHERS

_EVERY_PROFILE = """
compute_environment: LOCAL_MACHINE
debug: false
downcast_bf16: 'no'
machine_rank: 0
main_training_function: main
mixed_precision: bf16
num_machines: 1
num_processes: 8
rdzv_backend: static
same_network: true
tpu_env: []
tpu_use_cluster: false
tpu_use_sudo: false
use_cpu: false
"""

_DEEPSPEED = """
distributed_type: DEEPSPEED
deepspeed_config:
  deepspeed_multinode_launcher: standard
  gradient_accumulation_steps: 1
  offload_optimizer_device: none
  offload_param_device: none
  zero3_init_flag: true
  zero3_save_16bit_model: true
  zero_stage: 3
"""

_FSDP = """
distributed_type: FSDP
enable_cpu_affinity: false
fsdp_config:
  fsdp_activation_checkpointing: false
  fsdp_auto_wrap_policy: TRANSFORMER_BASED_WRAP
  fsdp_cpu_ram_efficient_loading: true
  fsdp_offload_params: false
  fsdp_reshard_after_forward: true
  fsdp_state_dict_type: FULL_STATE_DICT
  fsdp_version: 2
"""

_PARALLEL = """
parallelism_config:
  parallelism_config_dp_replicate_size: 1
  parallelism_config_dp_shard_size: 4
  parallelism_config_tp_size: 1
  parallelism_config_cp_size: 2
"""

_ULYSSES = (
    _PARALLEL.replace("cp_size", "sp_size").rstrip()
    + """
  parallelism_config_sp_backend: deepspeed
  parallelism_config_sp_seq_length_is_variable: true
  parallelism_config_sp_attn_implementation: flash_attention_2
"""
)

OLD_PROFILE = _of(_DEEPSPEED, _ULYSSES.replace("_sp_", "_cp_"), _EVERY_PROFILE)
"""As it was published before Accelerate told the two ways to split a sequence apart."""

PROFILES = {
    "multi_gpu": _of("distributed_type: MULTI_GPU\ngpu_ids: all", _EVERY_PROFILE),
    "single_gpu": _of('distributed_type: "NO"\ngpu_ids: all\nnum_processes: 1', _EVERY_PROFILE),
    "zero1": _of(_DEEPSPEED.replace("zero_stage: 3", "zero_stage: 1"), _EVERY_PROFILE),
    "zero3": _of(_DEEPSPEED, _EVERY_PROFILE),
    "fsdp1": _of(
        "distributed_type: FSDP\nfsdp_config:\n  fsdp_auto_wrap_policy: TRANSFORMER_BASED_WRAP"
        "\n  fsdp_backward_prefetch: BACKWARD_PRE\n  fsdp_forward_prefetch: false\n  fsdp_offload_params: true"
        "\n  fsdp_sharding_strategy: FULL_SHARD\n  fsdp_state_dict_type: SHARDED_STATE_DICT"
        "\n  fsdp_sync_module_states: true\n  fsdp_use_orig_params: false",
        _EVERY_PROFILE,
    ),
    "fsdp2": _of(_FSDP, _EVERY_PROFILE),
    "long-texts-fsdp2": _of(_FSDP, _PARALLEL, _EVERY_PROFILE),
    "long-texts-deepspeed": _of(
        _DEEPSPEED + "  seq_parallel_communication_data_type: bf16\n", _ULYSSES, _EVERY_PROFILE
    ),
}
"""Profiles of Accelerate, in the shapes of those beside TRL's examples, for eight GPUs."""
