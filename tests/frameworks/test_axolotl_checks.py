"""Mistakes in configs for Axolotl: those that it refuses late, and those that it never speaks of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cw_cli.core.problems import Problem

from .test_axolotl_shapes import folder as folder
from .test_axolotl_shapes import said

BASE = (
    "base_model: owner/model\ndatasets:\n  - path: owner/data\n    type: alpaca\nlearning_rate: 1e-4\n"
    "micro_batch_size: 1\ngradient_accumulation_steps: 1\n"
)
LORA = "adapter: lora\nlora_r: 8\nlora_alpha: 16\nlora_target_linear: true\n"
REFUSED = (
    "warmup_steps: 10\nwarmup_ratio: 0.1",
    "save_strategy: epoch\nsave_steps: 10",
    "saves_per_epoch: 2\nsave_steps: 10",
    "evals_per_epoch: 2\neval_steps: 10\nval_set_size: 0.1",
    "val_set_size: 0\neval_steps: 10",
    "val_set_size: 0.1\ntest_datasets: [{path: owner/data, type: alpaca}]",
    "load_in_8bit: true",
    "adapter: qlora\nlora_r: 8\nlora_alpha: 16\nlora_target_linear: true",
    "adapter: nothing\nlora_r: 8",
    f"{LORA}lora_target_parameters: [a]\nlora_dropout: 0.1",
    f"{LORA}lora_mlp_kernel: true\nload_in_8bit: true",
    "peft_layers_pattern: [a]",
    "attn_implementation: flash",
    "attn_implementation: flash_attention_9",
    "attn_implementation: sdpa\nflash_attention: true",
    "scaling_softmax: true",
    "activation_offloading: true",
    "save_strategy: best",
    "streaming: true",
    "push_dataset_to_hub: me/x",
    "chat_template: jinja",
    "fp8_config: {recipe: tensorwise}",
    "torch_compile_options: {shape_padding: true}",
    "fp32_norms: true",
    "max_memory: {0: 10GB}\ngpu_memory_limit: 10",
    "relora: true",
    "optimizer: muon\nfsdp_config: {offload_params: false}\nfsdp_version: 1",
    "optimizer: polora",
    "dpo_loss_type: [sigmoid]",
    "rl: dpo\nsample_packing: true",
    "rl: dpo\ndpo_loss_weights: [1.0]",
    "rl: kto",
    "rl: ebft",
    "rl: simpo\nwarmup_ratio: 0.1",
    "rl: grpo\ntrl: {num_generations: 1, reward_funcs: [rewards.correct]}",
    "rl: grpo\ntrl: {num_generations: 3, reward_funcs: [rewards.correct]}",
    "rl: nothing",
    "neftune_noise_alpha: 0",
    "early_stopping_patience: 2",
    "s2_attention: true",
    "rpo_alpha: 1.0",
    "unsloth_rope: true",
    "sequence_len: long",
    f"{LORA}lora_target_modules: ['(']",
    "chat_template: lama3",
)
"""What Axolotl refuses once it has a GPU."""

SILENT = (
    ("sft", "num_train_epochs: 3"),
    ("sft", "per_device_train_batch_size: 8"),
    ("sft", "lora_rank: 8"),
    ("sft", "liger_rope: true"),
    ("sft", "plugins: [axolotl.integrations.ligr.LigerPlugin]"),
    ("sft", "deepspeed: nowhere.json"),
    ("sft", "adapter: lora\nlora_r: 8\nlora_alpha: 16"),
    ("sft", "test_datasets: [{path: owner/data, type: chat_templat}]"),
    ("sft", "trl: {max_prompt_length: 5}"),
    ("sft", "optimizer: adamww"),
    ("sft", "lr_scheduler: cosin"),
    ("grpo", "rl: grpo"),
    ("grpo", "rl: grpo\ntrl: {reward_funcs: [rewards.corect]}"),
)
"""What Axolotl takes, and trains something else or fails late."""


def kind_of(lines: str) -> str:
    rl = next((line.split()[1] for line in lines.splitlines() if line.startswith("rl:")), "sft")
    return rl if rl != "nothing" else "dpo"


def errors(kind: str, lines: str, folder: Path, gpus: int = 1) -> list[Problem]:
    return [item for item in said(kind, f"{BASE}{lines}\n", folder, gpus) if item.severity == "error"]


@pytest.mark.parametrize("lines", REFUSED, ids=lambda text: text.splitlines()[-1])
def test_what_axolotl_refuses_is_refused(lines: str, folder: Path) -> None:
    found = errors(kind_of(lines), lines, folder, 2)
    assert found
    assert all(item.remedy or "no longer exists" in item.message for item in found)


@pytest.mark.parametrize(("kind", "lines"), SILENT, ids=lambda text: text.splitlines()[-1])
def test_what_axolotl_drops_is_refused(kind: str, lines: str, folder: Path) -> None:
    text = BASE.replace("    type: alpaca\n", "") if lines.startswith("rl:") or kind == "grpo" else BASE
    assert len([item for item in said(kind, f"{text}{lines}\n", folder, 1) if item.severity == "error"]) == 1


@pytest.mark.parametrize(
    ("kind", "lines", "message", "remedy"),
    [
        (
            "sft",
            "micro_batch_sizes: 4",
            "micro_batch_sizes is not a key of Axolotl 0.19.0",
            "did you mean micro_batch_size?",
        ),
        (
            "sft",
            "num_gpus: 4",
            "num_gpus cannot stand in a config: cw counts processes and nodes: write `gpu:` and `nodes:`",
            "",
        ),
        ("sft", "trl: {vllm_server_bse: x}", "trl has no key vllm_server_bse", "did you mean vllm_server_host?"),
        (
            "sft",
            "liger_rope: true",
            "liger_rope belongs to a plugin that is not listed, and Axolotl drops it",
            "add `axolotl.integrations.liger.LigerPlugin` to `plugins:`",
        ),
        (
            "sft",
            "plugins: [axolotl.integrations.liger.LigrPlugin]",
            "Axolotl has no plugin axolotl.integrations.liger.LigrPlugin, and would go on without it",
            "did you mean axolotl.integrations.liger.LigerPlugin?",
        ),
        (
            "sft",
            "deepspeed: deepspeed_configs/zero2_torch_compile.json",
            "deepspeed: there is no deepspeed_configs/zero2_torch_compile.json",
            "`axolotl fetch deepspeed_configs` brings Axolotl's own; cw has zero1, zero2, zero3, zero3_bf16, "
            "zero3_bf16_cpuoffload_all, zero3_bf16_cpuoffload_params",
        ),
        ("sft", "deepspeed: zero3_b16", "deepspeed: there is no config zero3_b16", "did you mean zero3_bf16?"),
        (
            "dpo",
            "rl: kto\nremove_unused_columns: false",
            "this config is for kto (rl: kto), not for dpo",
            "run `cw axolotl kto`, or change rl",
        ),
        ("dpo", "", "nothing in this config asks for dpo: Axolotl would train on texts (sft)", "add `rl: dpo`"),
        (
            "grpo",
            "rl: grpo",
            "rl: grpo has no rewards, and Axolotl starts without them",
            "add `trl: {reward_funcs: [rewards.my_reward]}`, with rewards.py beside the config",
        ),
        (
            "grpo",
            "rl: grpo\ntrl: {reward_funcs: [rewards.corect]}",
            "rewards.py has no function corect",
            "did you mean correct?",
        ),
        (
            "sft",
            "adapter: lora\nlora_r: 8\nlora_alpha: 16",
            "lora has nothing to work on: the config names no modules",
            "add `lora_target_linear: true`, or `lora_target_modules: […]`",
        ),
        (
            "sft",
            "tensor_parallel_size: 4",
            "tensor_parallel_size is 4, and the run has 1 GPU",
            "ask for a multiple of 4 with `gpu:` and `nodes:`",
        ),
        (
            "sft",
            "comet_api_key: abc",
            "comet_api_key would be written into the cluster for all to read",
            "write `secrets: {COMET_API_KEY: my-secret/key}` instead",
        ),
    ],
)
def test_what_is_said(kind: str, lines: str, message: str, remedy: str, folder: Path) -> None:
    text = BASE.replace("    type: alpaca\n", "") if lines.startswith("rl:") or kind == "grpo" else BASE
    (found,) = [item for item in said(kind, f"{text}{lines}\n", folder, 1) if item.severity == "error"]
    assert (found.message, found.remedy) == (message, remedy)


def test_groups_are_counted_over_all_gpus(folder: Path) -> None:
    lines = "rl: grpo\ntrl: {reward_funcs: [rewards.correct], num_generations: 4}\n"
    text = BASE.replace("    type: alpaca\n", "").replace("micro_batch_size: 1", "micro_batch_size: 4") + lines
    assert said("grpo", text, folder, 1) == []
    (found,) = said("grpo", text, folder, 2)
    assert found.remedy == "write `gradient_accumulation_steps: 2`"


@pytest.mark.parametrize(
    ("row", "entry", "message"),
    [
        ({"text": "x"}, "type: chat_template", "data.jsonl has no column messages; it has text"),
        ({"conversations": []}, "type: chat_template", "data.jsonl has no column messages; it has conversations"),
        (
            {"messages": [{"from": "human", "value": "x"}]},
            "type: chat_template",
            "turns in data.jsonl have no role; they have from, value",
        ),
        ({"instruction": "x"}, "type: alpaca", "data.jsonl has no column output; it has instruction"),
        ({"body": "x"}, "type: completion", "data.jsonl has no column text; it has body"),
    ],
)
def test_rows_are_looked_at(row: dict[str, object], entry: str, message: str, folder: Path) -> None:
    (folder / "data.jsonl").write_text(json.dumps(row) + "\n")
    text = f"base_model: owner/model\nlearning_rate: 1e-4\ndatasets:\n  - path: data.jsonl\n    {entry}\n"
    (found,) = said("sft", text, folder, 1)
    assert found.message == message


@pytest.mark.parametrize("entry", ["type: completion\n    field: body", "type:", "type: sharegpt"])
def test_rows_that_fit(entry: str, folder: Path) -> None:
    (folder / "data.jsonl").write_text(json.dumps({"body": "x"}) + "\n")
    text = f"base_model: owner/model\nlearning_rate: 1e-4\ndatasets:\n  - path: data.jsonl\n    {entry}\n"
    assert bool(said("sft", text, folder, 1)) is entry.endswith("sharegpt")


def test_a_reward_model_wants_a_column_for_the_system(folder: Path) -> None:
    (folder / "data.jsonl").write_text(json.dumps({"input": "x", "chosen": "y", "rejected": "z"}) + "\n")
    entry = "{path: data.jsonl, type: bradley_terry.chat_template}"
    text = f"base_model: owner/model\nlearning_rate: 1e-4\nreward_model: true\ndatasets: [{entry}]\n"
    (found,) = said("reward", text, folder, 1)
    assert found.remedy == "rename a column to system, or add it"


def test_keys_of_a_plugin_from_elsewhere_are_only_mentioned(folder: Path) -> None:
    (found,) = said("sft", f"{BASE}plugins: [mine.plugin.Mine]\nmy_key: 1\n", folder, 1)
    assert (found.severity, found.message) == (
        "warning",
        "my_key is not a key of Axolotl 0.19.0; is it one of mine.plugin.Mine?",
    )


def test_an_optimizer_that_was_meant_is_taken(folder: Path) -> None:
    (found,) = said("sft", f"{BASE}optimizer: adamw\n", folder, 1)
    assert (found.severity, found.remedy) == ("warning", "write adamw_torch_fused")


def test_empty_lines_of_old_configs_say_nothing(folder: Path) -> None:
    assert (
        said("sft", f"{BASE}s2_attention:\ndebug:\nevaluation_strategy:\nflash_attn_fuse_qkv: false\n", folder, 1) == []
    )


def test_own_columns_are_for_some_kinds_only(folder: Path) -> None:
    text = BASE.replace("type: alpaca", "type: {field_prompt: q}") + "rl: orpo\n"
    (found,) = said("orpo", text, folder, 1)
    assert found.message == "for orpo, a dataset's type is a name"


def test_what_computes_on_gpus_alone_is_refused_without_one(folder: Path) -> None:
    text = f"{BASE.replace('    type: alpaca', '')}rl: ebft\nebft: {{mode: strided}}\n"
    found = [said("ebft", text, folder, gpus) for gpus in (0, 1)]
    without, with_one = ([item.message for item in items if item.severity == "error"] for items in found)
    assert (without, with_one) == (["ebft.mode: strided needs a GPU, and this run has none"], [])
