"""Configs in the shapes of those published for TRL: its own are taken, others up to the keys that are none of TRL's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from cw_cli.core.checks import check_config
from cw_cli.core.config import parse_config
from cw_cli.core.exceptions import ConfigError
from cw_cli.core.framework import TrainingType
from cw_cli.core.overrides import Override
from cw_cli.core.problems import Problem, errors, warnings
from cw_cli.core.registry import FrameworkRegistry

from .trl_shapes import OF_OTHERS, OF_TRL, SHAPES

PROFILE = """
compute_environment: LOCAL_MACHINE
distributed_type: FSDP
mixed_precision: bf16
fsdp_config:
  fsdp_activation_checkpointing: false
  fsdp_auto_wrap_policy: TRANSFORMER_BASED_WRAP
  fsdp_reshard_after_forward: true
  fsdp_state_dict_type: FULL_STATE_DICT
  fsdp_version: 2
num_processes: 2
parallelism_config:
  parallelism_config_dp_replicate_size: 1
  parallelism_config_dp_shard_size: 1
  parallelism_config_tp_size: 1
  parallelism_config_cp_size: 2
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What lies beside the configs."""
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles/context_parallel.yaml").write_text(PROFILE)
    return tmp_path


def said(name: str, folder: Path, image: str | None = None) -> list[Problem]:
    shape, framework = SHAPES[name], FrameworkRegistry().get("trl")
    given = parse_config(shape.text, str(folder / "config.yaml"))
    overrides = [Override("gpu", str(shape.gpus), "--gpu")]
    overrides += [Override("image", image, "--image")] if image else []
    try:
        return list(check_config(framework, TrainingType(shape.kind), given, overrides).warnings)
    except ConfigError as error:
        return list(error.problems)


def by_key(problems: list[Problem]) -> dict[str, str]:
    """What is said, by what stands before the colon of its line."""
    found: dict[str, str] = {}
    for problem in problems:
        assert problem.origin is not None
        key = (problem.origin.text or "").split(":")[0].strip()
        found[key] = f"{found.get(key, '')} {problem.message}"
    return found


def assert_says(expected: Mapping[str, str], found: dict[str, str]) -> None:
    assert found.keys() == expected.keys()
    for key, words in expected.items():
        assert words in found[key]


@pytest.mark.parametrize("name", SHAPES)
def test_what_is_refused_is_what_this_trl_does_not_know(name: str, folder: Path) -> None:
    found = said(name, folder)
    assert_says(SHAPES[name].refused, by_key(errors(found)))
    about_keys = [problem for problem in warnings(found) if " image" not in problem.message]
    assert_says(SHAPES[name].mentioned, by_key(about_keys))


@pytest.mark.parametrize("name", SHAPES)
def test_the_image_with_an_older_pair_takes_the_same(name: str, folder: Path) -> None:
    found = said(name, folder, "localhost/cw-trl:1.16.0-vllm")
    assert by_key(errors(found)).keys() == SHAPES[name].refused.keys()
    assert not any("5.23.0" in problem.message for problem in found)


def test_all_of_trls_own_are_taken_and_few_of_others() -> None:
    assert not [name for name, shape in OF_TRL.items() if shape.refused]
    taken = [name for name, shape in OF_OTHERS.items() if not shape.refused]
    assert (len(OF_TRL), len(taken), len(OF_OTHERS)) == (38, 3, 14)
