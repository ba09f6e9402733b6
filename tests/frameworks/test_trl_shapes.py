"""Configs in the shapes of those published for TRL: its own are taken, others up to the keys that are none of TRL's."""

from __future__ import annotations

import importlib
import importlib.util
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
from cw_cli.frameworks.trl import accelerate

from .trl_shapes import NAMED, OF_OTHERS, OF_TRL, OLD_PROFILE, PROFILES, SHAPES, Shape


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What lies beside the configs."""
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles/context_parallel.yaml").write_text(PROFILES["fsdp2"].replace("8", "2"))
    return tmp_path


def said(shape: Shape, folder: Path, image: str | None = None) -> list[Problem]:
    framework = FrameworkRegistry().get("trl")
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
    found = said(SHAPES[name], folder)
    assert_says(SHAPES[name].refused, by_key(errors(found)))
    about_keys = [problem for problem in warnings(found) if " image" not in problem.message]
    assert_says(SHAPES[name].mentioned, by_key(about_keys))


@pytest.mark.parametrize("name", SHAPES)
def test_the_image_with_an_older_pair_takes_the_same(name: str, folder: Path) -> None:
    found = said(SHAPES[name], folder, "localhost/cw-trl:1.16.0-vllm")
    assert by_key(errors(found)).keys() == SHAPES[name].refused.keys()
    assert not any("5.23.0" in problem.message for problem in found)


def test_all_of_trls_own_are_taken_and_few_of_others() -> None:
    assert not [name for name, shape in OF_TRL.items() if shape.refused]
    taken = [name for name, shape in OF_OTHERS.items() if not shape.refused]
    assert (len(OF_TRL), len(taken), len(OF_OTHERS)) == (38, 3, 14)


@pytest.mark.parametrize("name", PROFILES)
def test_a_published_profile_is_taken(name: str, folder: Path) -> None:
    (folder / "profiles/published.yaml").write_text(PROFILES[name])
    text = f"{NAMED}accelerate_config: profiles/published.yaml\n"
    assert said(Shape("sft", text, 1 if name == "single_gpu" else 8), folder) == []


def test_a_profile_of_which_accelerate_drops_a_part_is_refused(folder: Path) -> None:
    (folder / "profiles/published.yaml").write_text(OLD_PROFILE)
    found = said(Shape("sft", f"{NAMED}accelerate_config: profiles/published.yaml\n", 8), folder)
    assert [problem.message.split(": ")[1].split(",")[0] for problem in found] == [
        "Accelerate does not read parallelism_config_cp_seq_length_is_variable",
        "Accelerate does not read parallelism_config_cp_attn_implementation",
        "parallelism_config_cp_backend of profiles/published.yaml cannot be deepspeed",
    ]
    assert found[0].remedy == "did you mean parallelism_config_sp_seq_length_is_variable?"


@pytest.mark.skipif(importlib.util.find_spec("accelerate") is None, reason="the train extra is not installed")
def test_accelerate_reads_what_we_say_it_reads() -> None:
    launch = importlib.import_module("accelerate.commands.launch")
    flags = {word for action in launch.launch_command_parser()._actions for word in action.option_strings}
    assert {flag[2:] for flag in flags if flag.startswith("--parallelism_config_")} == set(accelerate.PARALLEL)
