"""What a config asks for and an image of cw's own does not have; of other images nothing is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from cw_cli.core.checks import check_config
from cw_cli.core.config import parse_config
from cw_cli.core.framework import TrainingType
from cw_cli.core.problems import Problem
from cw_cli.core.registry import FrameworkRegistry

TRL = {"model_name": "owner/model", "dataset_name": "owner/data", "gpu": 1}
AXOLOTL = {
    "base_model": "owner/model",
    "learning_rate": 1e-4,
    "datasets": [{"path": "owner/data", "type": "alpaca"}],
    "output_dir": "/model-checkpoints/out",
}
PEFT = {"use_peft": True, "lora_target_modules": "all-linear"}


def warnings(framework: str, kind: str, values: dict[str, Any], folder: Path) -> list[Problem]:
    config = parse_config(yaml.safe_dump(values, sort_keys=False), str(folder / "config.yaml"))
    checked = check_config(FrameworkRegistry().get(framework), TrainingType(kind), config)
    return [problem for problem in checked.warnings if "cw-" in problem.message]


@pytest.mark.parametrize(
    ("settings", "variant", "key", "words", "remedy"),
    [
        ({"load_in_4bit": True, **PEFT}, "cpu", "load_in_4bit", "the package bitsandbytes", "cw images build trl"),
        ({"optim": "paged_adamw_8bit"}, "cpu", "optim", "the package bitsandbytes", "cw images build trl"),
        ({"deepspeed": "zero2"}, "cpu", "deepspeed", "the package deepspeed", "cw images build trl"),
        ({"accelerate": "zero3"}, "cpu", "accelerate", "the package deepspeed", "cw images build trl"),
        ({"use_liger_kernel": True}, "cpu", "use_liger_kernel", "liger-kernel", "cw images build trl"),
        ({"attn_implementation": "flash_attention_2"}, "cpu", "attn_", "flash-attn or kernels", "cw images build trl"),
        ({"report_to": "wandb"}, "cpu", "report_to", "the package wandb", "cw images build trl"),
        ({"report_to": "mlflow"}, "cuda", "report_to", "the package mlflow", "name another image"),
        ({"optim": "galore_adamw", "optim_target_modules": "all-linear"}, "cuda", "optim", "galore-torch", "another"),
    ],
)
def test_a_package_that_a_trl_image_lacks_is_told_at_its_key(
    settings: dict[str, Any], variant: str, key: str, words: str, remedy: str, tmp_path: Path
) -> None:
    image = f"registry.example.com/team/cw-trl:2.0-{variant}"
    found = warnings("trl", "sft", {**TRL, **settings, "image": image}, tmp_path)
    (told,) = [problem for problem in found if problem.message.startswith(key)]
    assert words in told.message
    assert remedy in told.remedy
    assert told.origin is not None
    assert (told.origin.text or "").startswith(key)


@pytest.mark.parametrize("image", ["localhost/cw-trl:1.16.0-cuda", "localhost/cw-trl:mine", "cw-trl@sha256:0"])
def test_what_an_image_has_is_not_mentioned(image: str, tmp_path: Path) -> None:
    settings = {**PEFT, "load_in_4bit": True, "use_liger_kernel": True, "report_to": "wandb", "image": image}
    assert warnings("trl", "sft", {**TRL, **settings}, tmp_path) == []


@pytest.mark.parametrize("image", [None, "huggingface/trl:1.16.0", "localhost/cw-lora:1", "cw-trl-of-mine:1-cpu"])
def test_nothing_is_said_of_an_image_that_is_not_ours(image: str | None, tmp_path: Path) -> None:
    settings = {"report_to": "mlflow", "deepspeed": "zero2", "image": image}
    assert warnings("trl", "sft", {**TRL, **settings}, tmp_path) == []


def test_vllm_is_in_an_image_of_its_own(tmp_path: Path) -> None:
    online = {**TRL, "reward_funcs": ["numeric_answer"], "use_vllm": True, "vllm_mode": "server"}
    (lacks,) = warnings("trl", "grpo", {**online, "image": "cw-trl:1.16.0-cuda"}, tmp_path)
    assert (lacks.message.split(",")[0], lacks.remedy) == (
        "use_vllm needs the package vllm",
        "build the image that has it: cw images build trl --vllm",
    )
    assert warnings("trl", "grpo", {**online, "image": "cw-trl:1.16.0-vllm"}, tmp_path) == []


def test_gpus_are_of_no_use_to_an_image_for_processors(tmp_path: Path) -> None:
    (told,) = warnings("trl", "sft", {**TRL, "image": "cw-trl:1.16.0-cpu"}, tmp_path)
    assert "is for processors only" in told.message
    without = {**TRL, "gpu": 0, "use_cpu": True, "bf16": False, "image": "cw-trl:1.16.0-cpu"}
    assert warnings("trl", "sft", without, tmp_path) == []


def test_another_frameworks_image_is_told(tmp_path: Path) -> None:
    (told,) = warnings("axolotl", "sft", {**AXOLOTL, "image": "localhost/cw-trl:1.16.0-cuda"}, tmp_path)
    assert told.message == "localhost/cw-trl:1.16.0-cuda is an image for trl, and this run needs axolotl"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"use_mlflow": True}, "use_mlflow needs the package mlflow"),
        ({"optimizer": "came_pytorch"}, "optimizer needs the package came-pytorch"),
        ({"plugins": ["axolotl.integrations.cut_cross_entropy.CutCrossEntropyPlugin"]}, "cut-cross-entropy"),
        ({"attn_implementation": "sage"}, "sageattention"),
    ],
)
def test_a_package_that_an_axolotl_image_lacks_is_told(settings: dict[str, Any], words: str, tmp_path: Path) -> None:
    values = {**AXOLOTL, **settings, "image": "localhost/cw-axolotl:0.19.0-cuda"}
    (told,) = warnings("axolotl", "sft", values, tmp_path)
    assert words in told.message


def test_axolotls_own_packages_are_there(tmp_path: Path) -> None:
    adapter = {"adapter": "qlora", "load_in_4bit": True, "lora_target_linear": True, "lora_r": 8, "lora_alpha": 16}
    plugin = {"plugins": ["axolotl.integrations.liger.LigerPlugin"], "wandb_project": "mine"}
    settings = {**adapter, **plugin, "optimizer": "paged_adamw_8bit", "attn_implementation": "flash_attention_2"}
    assert warnings("axolotl", "sft", {**AXOLOTL, **settings, "image": "cw-axolotl:0.19.0-cuda"}, tmp_path) == []
