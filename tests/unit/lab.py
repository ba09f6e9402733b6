"""Short ways to the values under test."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from cw_cli.core.checks import CheckedConfig, check_config
from cw_cli.core.config import Config, parse_config
from cw_cli.core.exceptions import ConfigError
from cw_cli.core.framework import BaseTrainingFramework, TrainingType
from cw_cli.core.launch_keys import LaunchKeys, launch_schema
from cw_cli.core.launch_reader import read_keys
from cw_cli.core.overrides import Override
from cw_cli.core.plan import Plan, make_plan
from cw_cli.core.problems import Problem
from cw_cli.core.record import Launch
from cw_cli.core.registry import FrameworkRegistry

ROOT = Path(__file__).resolve().parents[2]
QUICKSTART = ROOT / "examples" / "quickstart"

patient = settings(deadline=None, suppress_health_check=list(HealthCheck))
"""For properties: a slow machine is no reason to fail, and a home for each test is enough."""

BASE = "model_name: owner/model\ndataset_name: owner/data\n"
"""The least that a config for TRL says."""


def trl() -> BaseTrainingFramework:
    return FrameworkRegistry().get("trl")


def checked(
    text: str,
    *overrides: str,
    framework: BaseTrainingFramework | None = None,
    source: str = "config.yaml",
    settings: str = "",
) -> CheckedConfig:
    """A config through all checks; `overrides` are written as `key=value`."""
    typed = [Override(*override.split("=", 1), f"--set {override}") for override in overrides]
    defaults = parse_config(settings, "settings.yaml")
    return check_config(framework or trl(), TrainingType.SFT, parse_config(text, source), typed, defaults)


def problems(text: str, *overrides: str, **how: Any) -> list[Problem]:
    """What is said about a config, errors and warnings."""
    try:
        return list(checked(text, *overrides, **how).warnings)
    except ConfigError as error:
        return list(error.problems)


def only_problem(text: str, *overrides: str, **how: Any) -> Problem:
    (found,) = problems(text, *overrides, **how)
    return found


def planned(text: str, *overrides: str, target: str = "kubernetes", **how: Any) -> Plan:
    launch = {key: how.pop(key) for key in ("name", "namespace", "user") if key in how}
    return make_plan(checked(text, *overrides, **how), Launch(target=target, **{"user": "ada", **launch}))


def job_of(plan: Plan) -> Mapping[str, Any]:
    (job,) = [item for item in plan.objects if item["kind"] == "Job"]
    return job


def pod_of(plan: Plan) -> Mapping[str, Any]:
    return job_of(plan)["spec"]["template"]["spec"]


def container_of(plan: Plan) -> Mapping[str, Any]:
    return pod_of(plan)["containers"][0]


def env_of(plan: Plan) -> dict[str, Any]:
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container_of(plan)["env"]}


def keys(text: str) -> tuple[LaunchKeys, list[Problem]]:
    """cw's own keys of a config, with what its schema and its reader say."""
    schema = launch_schema()
    config, found = schema.canonical(parse_config(text, "config.yaml"))
    found += schema.check(config)
    if found:
        return LaunchKeys(), found
    return read_keys(config)


def good_keys(text: str) -> LaunchKeys:
    found, wrong = keys(text)
    assert wrong == []
    return found


def refused(raises: Any) -> ConfigError:
    assert isinstance(raises, pytest.ExceptionInfo)
    error = raises.value
    assert isinstance(error, ConfigError)
    return error


def strings(value: Any) -> Iterator[str]:
    """Every text in plain data, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from strings(key)
            yield from strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from strings(item)


def config_of(plan: Plan) -> Config:
    """The config as the container will see it."""
    text = next(item for item in plan.objects if item["metadata"]["name"].endswith("-config"))["data"]["config.yaml"]
    return parse_config(text, "config.yaml")
