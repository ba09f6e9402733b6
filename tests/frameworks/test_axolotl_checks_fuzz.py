"""No values of the right types make Axolotl's cross-checks fail, nor what is asked of a config afterwards."""

from __future__ import annotations

from typing import Any

import pytest

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies

from cw_cli.core.config import Config  # noqa: E402
from cw_cli.core.framework import TrainingType  # noqa: E402
from cw_cli.core.launch_keys import LaunchKeys  # noqa: E402
from cw_cli.core.problems import Problem  # noqa: E402
from cw_cli.core.registry import FrameworkRegistry  # noqa: E402
from cw_cli.core.resources import Resources  # noqa: E402
from cw_cli.frameworks.axolotl import kinds  # noqa: E402
from cw_cli.frameworks.axolotl.keys import schema  # noqa: E402

from .any_values import settings, value  # noqa: E402

ALL = {name: value(key.spec) for name, key in schema().keys.items()}
CONFIGS = st.lists(st.sampled_from(sorted(ALL)), max_size=40, unique=True).flatmap(
    lambda names: st.fixed_dictionaries({name: ALL[name] for name in names})
)


@hypothesis.given(CONFIGS, st.sampled_from(kinds.TYPES), st.integers(0, 8), st.integers(1, 2))
@hypothesis.settings(settings, max_examples=200)
def test_every_config_gets_an_answer(values: dict[str, Any], kind: str, gpus: int, nodes: int) -> None:
    framework, config = FrameworkRegistry().get("axolotl"), Config("config.yaml", values=values)
    keys = LaunchKeys(resources=Resources(gpu=gpus, nodes=nodes))
    found = framework.cross_checks(config, keys, TrainingType(kind))
    assert all(isinstance(problem, Problem) and problem.message and problem.remedy for problem in found)
    if not any(problem.severity == "error" for problem in found):
        framework.template_variables(config, TrainingType(kind))
        framework.file_keys(config, TrainingType(kind))
        framework.service_resources("vllm", config, gpus)
