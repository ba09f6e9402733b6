"""Configs for Axolotl in the shapes of those that its authors publish: their keys and kinds of value, in our words."""

from __future__ import annotations

from typing import NamedTuple

LORA = """
adapter: lora
lora_model_dir:
lora_r: 16
lora_alpha: 32
lora_dropout: 0.05
lora_target_linear: true
"""

QLORA = LORA.replace("adapter: lora", "adapter: qlora\nload_in_4bit: true")

USUAL = """
val_set_size: 0.05
output_dir: ./outputs/out
dataset_prepared_path: last_run_prepared
sequence_len: 2048
gradient_accumulation_steps: 4
micro_batch_size: 2
num_epochs: 1
optimizer: adamw_torch_fused
lr_scheduler: cosine
learning_rate: 0.0002
bf16: auto
tf32: false
gradient_checkpointing: true
gradient_checkpointing_kwargs:
  use_reentrant: false
resume_from_checkpoint:
logging_steps: 1
warmup_ratio: 0.1
evals_per_epoch: 4
saves_per_epoch: 1
weight_decay: 0.0
wandb_project:
wandb_entity:
wandb_watch:
wandb_name:
wandb_log_model:
special_tokens:
"""
"""What nearly all of them hold."""

FSDP2 = """
fsdp_version: 2
fsdp_config:
  offload_params: false
  cpu_ram_efficient_loading: false
  auto_wrap_policy: TRANSFORMER_BASED_WRAP
  transformer_layer_cls_to_wrap: Qwen3DecoderLayer
  state_dict_type: FULL_STATE_DICT
  reshard_after_forward: true
"""

OLD_FSDP = """
fsdp:
  - full_shard
  - auto_wrap
fsdp_config:
  fsdp_limit_all_gathers: true
  fsdp_sync_module_states: true
  fsdp_offload_params: true
  fsdp_use_orig_params: false
  fsdp_cpu_ram_efficient_loading: true
  fsdp_auto_wrap_policy: TRANSFORMER_BASED_WRAP
  fsdp_transformer_layer_cls_to_wrap: LlamaDecoderLayer
  fsdp_state_dict_type: FULL_STATE_DICT
  fsdp_sharding_strategy: FULL_SHARD
"""

ALPACA = """
datasets:
  - path: owner/alpaca
    type: alpaca
"""

CHAT = """
chat_template: llama3
datasets:
  - path: owner/conversations
    type: chat_template
    split: train[:10%]
    field_messages: conversations
    message_property_mappings:
      role: from
      content: value
    roles:
      assistant: [gpt, model]
      user: [human]
    roles_to_train: [assistant]
    train_on_eos: turn
"""


class Shape(NamedTuple):
    """A config, what it is for, and the GPUs that it is meant for."""

    kind: str
    text: str
    gpus: int = 1
    plain: bool = True
    """Whether nothing at all is to be said about it."""


def _of(text: str, *parts: str, without: tuple[str, ...] = ()) -> str:
    """The parts one after the other, less the lines of keys that an earlier part holds."""
    lines: list[str] = []
    seen: set[str] = set()
    for part in (text, *parts):
        own: set[str] = set()
        keep = True
        for line in part.strip("\n").splitlines():
            if not line.startswith((" ", "-")):
                key = line.split(":")[0]
                keep = key not in seen and key not in without
                own.add(key)
            if keep:
                lines.append(line)
        seen |= own
    return "\n".join(["base_model: owner/model", *lines]) + "\n"


SHAPES = {
    "lora": Shape("sft", _of(ALPACA, LORA, "flash_attention: true\nsample_packing: true\nload_in_8bit: false", USUAL)),
    "qlora-of-modules": Shape(
        "sft",
        _of(
            "lora_target_linear:\nlora_target_modules: 'layers.[\\d]+.(mlp|self_attn).(up|down|gate|q|k|v|o)_proj'",
            *(CHAT, QLORA, "processor_type: AutoProcessor\nskip_prepare_dataset: true\nremove_unused_columns: false"),
            *("ddp_find_unused_parameters: true\nstrict: false\neager_attention:\nfp16:\nflash_attention: true", USUAL),
        ),
    ),
    "whole-model-of-old": Shape(
        "sft",
        _of(
            "model_type: LlamaForCausalLM\ntokenizer_type: AutoTokenizer\nis_llama_derived_model: true\nadapter:",
            "lora_r:\nlora_alpha:\nlora_dropout:\nlora_target_linear:\nlora_fan_in_fan_out:\nlocal_rank:\ndebug:\nfsdp:",
            "early_stopping_patience:\nxformers_attention:\nflash_attention: true\nflash_attn_cross_entropy: false",
            "flash_attn_rms_norm:\nflash_attn_fuse_qkv: false\nflash_attn_fuse_mlp: true\neval_table_size:\ndeepspeed:",
            *("train_on_inputs: false\ngroup_by_length: false\nfsdp_config:\nsample_packing: true", ALPACA, USUAL),
        ),
    ),
    "experts": Shape(
        "sft",
        _of(
            "plugins:\n  - axolotl.integrations.cut_cross_entropy.CutCrossEntropyPlugin",
            "lora_target_parameters: [experts.gate_up_proj, experts.down_proj]\nlora_dropout: 0\ntorch_compile: true",
            "quantize_moe_experts: true\nlora_target_modules: [q_proj, v_proj]\nlora_target_linear:\nuse_kernels: true",
            "lora_mlp_kernel: true\nlora_qkv_kernel: true\nlora_o_kernel: true\nactivation_offloading: true",
            "bnb_config_kwargs: {bnb_4bit_use_double_quant: true}\nattn_implementation: flash_attention_2",
            *("sample_packing: true", CHAT, QLORA, USUAL),
        ),
    ),
    "liger": Shape(
        "sft",
        _of(
            "plugins: [axolotl.integrations.liger.LigerPlugin]\nliger_rope: true\nliger_rms_norm: true",
            "liger_glu_activation: true\nliger_layer_norm: true\nliger_fused_linear_cross_entropy: true",
            "flex_attention: true\nflex_attn_compile_kwargs: {dynamic: false, mode: max-autotune-no-cudagraphs}",
            "torch_compile: true\ncosine_constant_lr_ratio: 0\ncosine_min_lr_ratio: 1.0\nsave_only_model: true",
            *("sample_packing: true\npad_to_sequence_len: true\nfp8: true", FSDP2, ALPACA, USUAL),
        ),
        gpus=2,
    ),
    "three-ways-parallel": Shape(
        "sft",
        _of(
            "dp_shard_size: 2\ncontext_parallel_size: 2\ntensor_parallel_size: 2"
            "\nattn_implementation: flash_attention_2",
            *("sample_packing: true\nlr_scheduler: constant_with_warmup\nmicro_batch_size: 1", FSDP2, ALPACA, USUAL),
        ),
        gpus=8,
    ),
    "experts-parallel": Shape(
        "sft",
        _of(
            "plugins: [axolotl.integrations.expert_parallel.ExpertParallelPlugin]\nexpert_parallel_size: 2",
            "experts_implementation: grouped_mm\ndp_shard_size: 2\nmax_steps: 50\nwarmup_steps: 5\nwarmup_ratio:",
            *(FSDP2, ALPACA, USUAL),
        ),
        gpus=4,
    ),
    "old-fsdp": Shape("sft", _of(OLD_FSDP, ALPACA, QLORA, "save_safetensors: true", USUAL), gpus=8, plain=False),
    "long-texts-deepspeed": Shape(
        "sft",
        _of(
            "datasets:\n  - path: owner/books\n    type: completion\n    field: chapter\n    data_files:"
            "\n      - a/b.jsonl.zst",
            "sequence_len: 500_000\nmin_sample_len: 200_000\ntiled_mlp: true\nsequence_parallel_degree: 8",
            "activation_offloading: legacy\ndeepspeed: deepspeed_configs/zero3.json\nflash_attention: true",
            *("sample_packing: true\nmicro_batch_size: 1", USUAL),
        ),
        gpus=8,
        plain=False,
    ),
    "pretrain": Shape(
        "pretrain",
        _of(
            "pretraining_dataset:\n  - path: owner/crawl\n    name: en\n    type: pretrain\nmax_steps: 200",
            "reinit_weights: true\noptimizer: muon\nval_set_size: 0.0\nevals_per_epoch:\nattn_implementation: sdpa",
            *("sample_packing: true", USUAL),
        ),
    ),
    "diffusion": Shape(
        "pretrain",
        _of(
            "pretraining_dataset:\n  - path: owner/wiki\n    name: raw\n    type: completion\n    field: text",
            "plugins: [axolotl.integrations.diffusion.DiffusionPlugin]\nmax_steps: 10000\nsdp_attention: true",
            "diffusion:\n  noise_schedule: cosine\n  min_mask_ratio: 0.15\n  max_mask_ratio: 0.85\n  eps: 5e-4",
            "save_strategy: steps\nsave_steps: 1000\nsaves_per_epoch:\nevals_per_epoch:\nval_set_size: 0.0",
            *("sample_packing: true", USUAL),
        ),
    ),
    "dpo": Shape(
        "dpo",
        _of(
            "rl: dpo\nload_in_8bit: true\nchat_template: llama3\ndatasets:\n  - path: owner/pairs\n    split: train"
            "\n    type: chat_template.default\n    field_messages: conversation\n    field_chosen: chosen"
            "\n    field_rejected: rejected",
            *("sample_packing: false\nflash_attention: true", LORA, USUAL),
        ),
    ),
    "dpo-with-keys-that-axolotl-drops": Shape(
        "dpo",
        _of(
            "rl: dpo\ndatasets:\n  - path: owner/pairs\n    type: chat_template.default"
            "\n    field_messages: conversation"
            "\n    message_property_mappings: {role: role, content: content}\n    roles: {user: [user]}",
            *(LORA, USUAL),
        ),
        plain=False,
    ),
    "dpo-of-one-bit": Shape(
        "dpo",
        _of(
            "rl: dpo\nplugins: [axolotl.integrations.kernels.KernelsPlugin]\nuse_kernels: false\nuse_scattermoe: false",
            "use_sonicmoe: false\nuse_onebitllms: true\nchat_template: tokenizer_default\neot_tokens: ['<|im_end|>']",
            "datasets:\n  - path: owner/pairs\n    split: train\n    type: chatml.ultra\ndp_shard_size: 1",
            "accelerator_config: {gradient_accumulation_kwargs: {sync_each_batch: true}}\nadam_beta1: 0.9",
            "loss_watchdog_threshold: 15.0\nloss_watchdog_patience: 3\nevals_per_epoch: 0\nsave_steps: 500",
            "save_strategy: steps\nsaves_per_epoch:\nexperimental_skip_move_to_device: true",
            *(FSDP2, USUAL),
        ),
        gpus=4,
    ),
    "dpo-of-own-columns": Shape(
        "dpo",
        _of(
            "rl: dpo\ndpo_loss_type: [sigmoid, sft]\ndpo_loss_weights: [1.0, 0.1]\ndatasets:\n  - path: owner/pairs"
            "\n    type:\n      field_prompt: question\n      field_chosen: good\n      field_rejected: bad"
            "\n      prompt_format: '{prompt}'",
            USUAL,
        ),
    ),
    "kto": Shape(
        "kto",
        _of(
            "rl: kto\nrl_beta: 0.5\nkto_desirable_weight: 0.2\nremove_unused_columns: false\nsample_packing: false",
            "datasets:\n  - path: owner/liked\n    type: llama3.ultra\n    split: train\neval_sample_packing: false",
            *(QLORA, USUAL),
        ),
    ),
    "orpo": Shape(
        "orpo",
        _of(
            "rl: orpo\norpo_alpha: 0.1\nchat_template: chatml\ndatasets:\n  - path: owner/pairs"
            "\n    type: chat_template.argilla",
            USUAL,
        ),
    ),
    "reward": Shape(
        "reward",
        _of(
            "model_type: AutoModelForSequenceClassification\nnum_labels: 1\nreward_model: true\nchat_template: qwen3",
            "center_rewards_coefficient: 0.01\ndatasets:\n  - path: owner/pairs\n    type: bradley_terry.chat_template",
            *(
                "sample_packing: false\neval_sample_packing: false\npad_to_sequence_len: true\neval_batch_size: 2",
                USUAL,
            ),
        ),
    ),
    "process-reward": Shape(
        "process_reward",
        _of(
            "model_type: AutoModelForTokenClassification\nnum_labels: 2\nprocess_reward_model: true\nchat_template:",
            "datasets:\n  - path: owner/steps\n    type: stepwise_supervised\n    step_separator: ' '"
            "\n    max_completion_length:\n    train_on_last_step_only: false",
            *("remove_unused_columns: false\nevals_per_epoch:\neval_steps: 100", USUAL),
        ),
        plain=False,
    ),
    "grpo": Shape(
        "grpo",
        _of(
            "rl: grpo\nvllm:\n  tensor_parallel_size: 1\n  gpu_memory_utilization: 0.2\ntrl:\n  use_vllm: true"
            "\n  vllm_mode: colocate\n  beta: 0.0\n  max_completion_length: 512\n  num_generations: 16"
            "\n  reward_funcs: [rewards.correct, rewards.formatted]\n  reward_weights: [1.0, 0.5]",
            "chat_template: qwen_25\ndatasets:\n  - path: owner/sums\n    name: main\n    type: rewards.to_prompt",
            "skip_prepare_dataset: true\ndataloader_prefetch_factor: 32\ndataloader_num_workers: 2\ngc_steps: 1",
            *("micro_batch_size: 16\nmax_grad_norm: 1.0\ndataset_prepared_path: /workspace/data/prepared", USUAL),
        ),
    ),
    "gdpo": Shape(
        "gdpo",
        _of(
            "rl: gdpo\nchat_template: llama3\ntrl:\n  beta: 0.001\n  max_completion_length: 128\n  num_generations: 2"
            "\n  multi_objective_aggregation: normalize_then_sum\n  reward_funcs: [rewards.correct]"
            "\n  log_completions: true\n  num_completions_to_print: 3\n  scale_rewards: true\n  use_vllm: false",
            "datasets:\n  - path: owner/sums\n    name: main\n    split: train[:1000]\n    type: rewards.to_prompt",
            USUAL,
        ),
    ),
    "grpo-with-a-gym": Shape(
        "grpo",
        _of(
            "rl: grpo\nplugins: [axolotl.integrations.nemo_gym.NemoGymPlugin]\nnemo_gym_enabled: true",
            "nemo_gym_auto_start: false\nnemo_gym_head_port: 11000\nnemo_gym_multi_turn: true\nchat_template: chatml",
            "nemo_gym_datasets:\n  - path: resources/mini.jsonl\n    server_name: gym\n    max_samples: 2000",
            "trl:\n  use_vllm: true\n  vllm_mode: server\n  vllm_server_host: localhost\n  vllm_server_port: 8000"
            "\n  num_generations: 4\n  max_completion_length: 2048",
            "datasets:\n  - path: owner/gym\n    type: chat_template\n    field_messages: input"
            "\n    message_field_content: content\n    message_field_role: role\nmax_steps: 100",
            USUAL,
        ),
    ),
    "ebft": Shape(
        "ebft",
        _of(
            "rl: ebft\nebft:\n  feature_layers: [0.25, 0.5, 0.75]\n  embed_method: last_token\n  use_whitening: false",
            "trl:\n  num_generations: 4\n  max_completion_length: 256\n  temperature: 0.7\n  use_vllm: true"
            "\n  vllm_server_host: 0.0.0.0\n  scale_rewards: true\n  loss_type: grpo\n  epsilon: 0.2"
            "\n  generation_kwargs: {stop_token_ids: [1, 2]}\n  chat_template_kwargs: {enable_thinking: false}",
            "vllm: {gpu_memory_utilization: 0.5, max_model_len: 2048, enforce_eager: true}",
            "datasets:\n  - path: owner/code\n    type: ebft_opencode.transform\n    split: train[:500]",
            *(LORA, USUAL),
        ),
    ),
    "quantisation-aware": Shape(
        "sft",
        _of(
            "qat:\n  activation_dtype: int8\n  weight_dtype: int4\n  group_size: 32\n  fake_quant_after_n_steps: 1000",
            *("quantization: {weight_dtype: int4, activation_dtype: int8}", FSDP2, ALPACA, USUAL),
        ),
        gpus=2,
    ),
    "sparse": Shape(
        "sft",
        _of(
            "plugins: [axolotl.integrations.llm_compressor.LLMCompressorPlugin]\nllmcompressor:\n  recipe:"
            "\n    finetuning_stage:\n      finetuning_modifiers:\n        ConstantPruningModifier:"
            "\n          targets: ['re:.*q_proj.weight']\n          start: 0\n  save_compressed: true",
            *("xformers_attention:\neval_sample_packing: false", ALPACA, USUAL),
        ),
    ),
    "distilled": Shape(
        "sft",
        _of(
            "plugins: [axolotl.integrations.kd.KDPlugin]\nkd_trainer: true\nkd_ce_alpha: 0.1\nkd_alpha: 0.9",
            "kd_temperature: 1.0\ndatasets:\n  - path: owner/teacher\n    type: axolotl.integrations.kd.chat_template"
            "\n    field_messages: messages_combined\n    logprobs_field: teacher_logprobs",
            USUAL,
        ),
    ),
    "weighted-loss": Shape(
        "sft",
        _of(
            "use_eaft: true\neaft_alpha: 1.0\neaft_k: 20\nevaluation_strategy: 'no'\neot_tokens: [<end_of_turn>]",
            "cls_model_config: Gemma3TextConfig\nevals_per_epoch:\nval_set_size: 0\nmax_steps: 1000",
            *(CHAT, USUAL),
        ),
        plain=False,
    ),
    "telemetry": Shape(
        "sft",
        _of(
            "use_otel_metrics: true\notel_metrics_host: localhost\notel_metrics_port: 8000\nuse_wandb: false",
            *(ALPACA, QLORA, USUAL),
        ),
    ),
    "reported": Shape(
        "sft",
        _of(
            "use_mlflow: true\nmlflow_tracking_uri: http://host:5000\nmlflow_experiment_name: x\nuse_comet: true",
            "comet_project_name: x\nuse_trackio: true\ntrackio_project_name: x\nhub_model_id: me/model",
            *("hub_strategy: checkpoint\nuse_tensorboard: true", ALPACA, LORA, USUAL),
        ),
    ),
    "own-template": Shape(
        "sft",
        _of(
            "chat_template: jinja\nchat_template_jinja: '{% for m in messages %}{{ m.content }}{% endfor %}'",
            "datasets:\n  - path: owner/chat\n    type: chat_template\n  - path: json\n    data_files: data.jsonl"
            "\n    ds_type: json\n    type: chat_template\nspecial_tokens: {pad_token: <pad>}\ntokens: [<a>, <b>]",
            USUAL,
        ),
    ),
    "own-prompts": Shape(
        "sft",
        _of(
            "datasets:\n  - path: owner/tasks\n    type:\n      system_prompt: ''\n      field_instruction: q"
            "\n      field_output: a\n      format: 'Q: {instruction}'\n      no_input_format: '{instruction}'",
            *("test_datasets:\n  - path: owner/tasks\n    split: test\n    type: alpaca\nval_set_size:", USUAL),
        ),
    ),
    "tokens": Shape("sft", _of("datasets:\n  - path: owner/tokens\n    ds_type: parquet\n    type:", USUAL)),
    "curriculum": Shape(
        "sft",
        _of(
            "curriculum_sampling: true\nshuffle_merged_datasets: false\nsample_packing_sequentially: true",
            "dataset_exact_deduplication: true\nlora_modules_to_save: [embed_tokens, lm_head]\nloraplus_lr_ratio: 16",
            "peft_use_dora: true\nneftune_noise_alpha: 5\nlr_scheduler: rex\nadam_epsilon: 1e-8",
            *("sample_packing: true\nsdp_attention: true", ALPACA, LORA, USUAL),
        ),
    ),
}
