"""The key `accelerate`: which profiles cw takes, by name or file, and that TRL brings the same ones."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from cw_cli.core.config import parse_config
from cw_cli.core.framework import TrainingType
from cw_cli.core.problems import Problem
from cw_cli.frameworks.trl import accelerate
from cw_cli.frameworks.trl.checks import cross_checks
from cw_cli.frameworks.trl.framework import TRLFramework

BASE = {"model_name_or_path": "owner/model", "dataset_name": "owner/data"}
PROFILE = {"distributed_type": "FSDP", "num_processes": 4, "fsdp_config": {"fsdp_version": 2}}


def problems(folder: Path, settings: dict[str, Any], gpus: int = 4, nodes: int = 1) -> list[Problem]:
    text = "".join(f"{key}: {json.dumps(value)}\n" for key, value in (BASE | settings).items())
    schema = TRLFramework(folder).get_schema(TrainingType.SFT)
    config, found = schema.canonical(parse_config(text, str(folder / "config.yaml")))
    return [*found, *schema.check(config), *cross_checks(config, TrainingType.SFT, gpus=gpus, nodes=nodes)]


@pytest.mark.parametrize(
    "settings",
    [
        *({"accelerate": name} for name in accelerate.NAMES),
        {"accelerate_config": "fsdp2"},
        {"accelerate": "profiles/mine.yaml"},
        {"deepspeed": "zero3"},
    ],
    ids=str,
)
def test_nothing_is_said_about_what_works(tmp_path: Path, settings: dict[str, Any]) -> None:
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "mine.yaml").write_text(yaml.safe_dump(PROFILE))
    assert problems(tmp_path, settings) == []


@pytest.mark.parametrize(
    ("settings", "gpus", "message", "remedy"),
    [
        ({"accelerate": "zero4"}, 4, "accelerate: there is no profile zero4", "did you mean zero"),
        ({"accelerate": "tensor"}, 4, "accelerate: there is no profile tensor", "write one of fsdp1, fsdp2"),
        ({"accelerate": "./mine.yaml"}, 4, "accelerate: there is no ./mine.yaml", "write the path from the folder"),
        ({"accelerate": "fsdp2"}, 1, "accelerate: fsdp2 spreads a model over several GPUs", "delete accelerate, or"),
        ({"deepspeed": "zero4"}, 4, "deepspeed: there is no zero4", "write the path"),
        ({"accelerate": "zero2", "fsdp": True}, 4, "fsdp and accelerate both say", "keep one of them"),
        ({"accelerate": "fsdp2", "deepspeed": {"zero_optimization": {"stage": 2}}}, 4, "deepspeed and", "keep one"),
    ],
)
def test_mistakes(tmp_path: Path, settings: dict[str, Any], gpus: int, message: str, remedy: str) -> None:
    (problem,) = problems(tmp_path, settings, gpus=gpus)
    assert problem.severity == "error"
    assert problem.message.startswith(message)
    assert problem.remedy.startswith(remedy)


@pytest.mark.parametrize("settings", [{"accelerate": "zero3"}, {"deepspeed": "zero3"}])
def test_deepspeed_needs_a_gpu(tmp_path: Path, settings: dict[str, Any]) -> None:
    (problem,) = problems(tmp_path, settings | {"use_cpu": True, "bf16": False}, gpus=0)
    assert problem.message == f"{next(iter(settings))}: zero3 is DeepSpeed, which needs a GPU"


def test_two_nodes_of_one_gpu_are_several(tmp_path: Path) -> None:
    assert problems(tmp_path, {"accelerate": "fsdp2"}, gpus=1, nodes=2) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (PROFILE | {"num_processes": 8}, "num_processes: 8 of mine.yaml is not used: this run has 4"),
        ({"model": "x"}, "accelerate: mine.yaml is no profile of Accelerate: it has no distributed_type"),
        (["FSDP"], "accelerate: mine.yaml is no profile of Accelerate: it has no distributed_type"),
        (PROFILE | {"distributed_type": "XLA"}, "accelerate: mine.yaml is for XLA, which cw does not start"),
        (PROFILE | {"compute_environment": "AMAZON_SAGEMAKER"}, "accelerate: mine.yaml is for AMAZON_SAGEMAKER"),
        (
            {"distributed_type": "DEEPSPEED", "deepspeed_config": {"deepspeed_config_file": "ds.json"}},
            "accelerate: mine.yaml names another file, which does not travel with it",
        ),
        (
            PROFILE | {"fsdp_config": {"fsdp_activation_checkpointing": True}},
            "accelerate: mine.yaml turns checkpointing on, and so does the trainer",
        ),
    ],
    ids=str,
)
def test_what_a_file_cannot_say(tmp_path: Path, content: Any, message: str) -> None:
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
    (problem,) = problems(tmp_path, {"accelerate": "mine.yaml"})
    assert problem.message == message
    assert problem.severity == ("warning" if message.startswith("num_processes") else "error")


def test_a_file_that_is_not_yaml_keeps_its_own_place(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("distributed_type: [FSDP\n")
    (problem,) = problems(tmp_path, {"accelerate": "mine.yaml"})
    assert str(problem.origin).startswith(f"{tmp_path}/mine.yaml:")


@pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="the train extra is not installed")
def test_the_names_are_those_of_trl() -> None:
    spec = importlib.util.find_spec("trl")
    assert spec is not None and spec.origin is not None
    files = (Path(spec.origin).parent / "accelerate_configs").glob("*.yaml")
    kinds = {file.stem: str(yaml.safe_load(file.read_text())["distributed_type"]) for file in files}
    assert kinds | {"single_gpu": "NO"} == accelerate.NAMES
    assert set(accelerate.BY_NAME["deepspeed"]) == {name for name, kind in kinds.items() if kind == "DEEPSPEED"}
