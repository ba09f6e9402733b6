"""Axolotl at the command line: from its YAML to Kubernetes objects, or to every mistake at once."""

from __future__ import annotations

import importlib.util

import pytest
import yaml

from .conftest import User

CONFIG = """\
base_model: owner/model
datasets:
  - path: owner/data
    type: alpaka
adapter: lora
lora_r: 16
lora_alpha: 32
learning_rate: 2e-4
micro_batch_size: 2
num_train_epochs: 3
optimizer: paged_adamw_8bits
trl:
  vllm_sever_host: here
"""

found = importlib.util.find_spec("axolotl")
KINDS = ("sft", "pretrain", "dpo", "ipo", "simpo", "orpo", "kto", "grpo", "gdpo", "reward", "preprocess")


def test_all_mistakes_are_told_at_once_with_their_lines(cw: User) -> None:
    (cw.home / "config.yaml").write_text(CONFIG)
    said = cw("validate", "axolotl", "sft", "config.yaml")
    assert said.code != 0
    lines = [line for line in said.err.splitlines() if line.startswith(("config.yaml:", "error:"))]
    assert [line.partition(" One ")[0] for line in lines] == [
        "config.yaml:4:11: there is no dataset type alpaka",
        "config.yaml:5:10: lora has nothing to work on: the config names no modules",
        "config.yaml:10:1: num_train_epochs cannot stand in a config: write num_epochs",
        "config.yaml:11:12: optimizer cannot be paged_adamw_8bits",
        "config.yaml:13:3: trl has no key vllm_sever_host",
        "error: config.yaml has 5 mistakes (checked against Axolotl 0.19.0); nothing was started",
    ]
    for remedy in ("did you mean alpaca?", "did you mean paged_adamw_8bit?", "did you mean vllm_server_host?"):
        assert remedy in said.err


def test_a_config_becomes_objects(cw: User) -> None:
    text = CONFIG.replace("alpaka", "alpaca").replace("num_train_epochs", "num_epochs").replace("8bits", "8bit")
    (cw.home / "config.yaml").write_text(text.partition("trl:")[0] + "lora_target_linear: true\n")
    said = cw("axolotl", "sft", "config.yaml", "--gpu", "2", "--lora_r", "8", "--dry-run")
    assert said.code == 0, said.err
    *_, job = yaml.safe_load_all(said.out)
    assert job["metadata"]["labels"]["cw.dev/framework"] == "axolotl"
    config = yaml.safe_load(next(yaml.safe_load_all(said.out))["data"]["config.yaml"])
    assert (config["lora_r"], config["learning_rate"]) == (8, 2e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_config_to_begin_with_is_valid(cw: User, kind: str) -> None:
    said = cw("init", "axolotl", kind)
    assert said.code == 0, said.err
    (cw.home / "config.yaml").write_text(said.out)
    assert cw("validate", "axolotl", kind, "config.yaml").err == "valid: config.yaml fits Axolotl 0.19.0\n"


@pytest.mark.skipif(found is not None and found.origin is not None, reason="Axolotl is installed")
def test_without_axolotl_nothing_starts_here(cw: User) -> None:
    (cw.home / "config.yaml").write_text(cw("init", "axolotl", "sft").out)
    said = cw("axolotl", "sft", "config.yaml", "--local")
    assert said.code == 2
    assert "Training on this machine needs" in said.err and "axolotl" in said.err
    assert said.err.endswith("error: this run cannot start on this machine; nothing was started\n")
