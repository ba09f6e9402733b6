"""Configs in the shapes of Axolotl's published ones are taken as they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cw_cli.core.checks import check_config
from cw_cli.core.config import parse_config
from cw_cli.core.exceptions import ConfigError
from cw_cli.core.framework import TrainingType
from cw_cli.core.overrides import Override
from cw_cli.core.problems import Problem
from cw_cli.core.registry import FrameworkRegistry

from .axolotl_shapes import SHAPES

REWARDS = """
def correct(prompts, completions, **columns):
    return [0.0]

def formatted(completions, **columns):
    return [0.0]

def to_prompt(cfg, *args, **kwargs):
    return lambda example, tokenizer=None: example
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What lies beside the configs."""
    (tmp_path / "rewards.py").write_text(REWARDS)
    (tmp_path / "deepspeed_configs").mkdir()
    (tmp_path / "deepspeed_configs/zero3.json").write_text(json.dumps({"zero_optimization": {"stage": 3}}))
    (tmp_path / "data.jsonl").write_text(json.dumps({"messages": [{"role": "user", "content": "Hi"}]}) + "\n")
    return tmp_path


def said(kind: str, text: str, folder: Path, gpus: int) -> list[Problem]:
    framework = FrameworkRegistry().get("axolotl")
    given = parse_config(text, str(folder / "config.yaml"))
    overrides = [Override("gpu", str(gpus), f"--gpu {gpus}")]
    try:
        return list(check_config(framework, TrainingType(kind), given, overrides).warnings)
    except ConfigError as error:
        return list(error.problems)


@pytest.mark.parametrize("name", SHAPES)
def test_a_published_shape_is_taken(name: str, folder: Path) -> None:
    shape = SHAPES[name]
    found = said(shape.kind, shape.text, folder, shape.gpus)
    assert [problem for problem in found if problem.severity == "error"] == []
    assert bool(found) is not shape.plain, found


@pytest.mark.parametrize("name", SHAPES)
def test_its_data_can_be_prepared_first(name: str, folder: Path) -> None:
    shape = SHAPES[name]
    found = [item.message for item in said("preprocess", shape.text, folder, 0) if item.severity == "error"]
    assert all("nothing to prepare" in message for message in found)
    assert bool(found) is ("pretraining_dataset" in shape.text or "skip_prepare_dataset" in shape.text)
