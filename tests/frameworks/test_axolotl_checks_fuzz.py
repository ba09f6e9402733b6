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

WORDS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(["~", "./a", "/", "json", "a.b", "x.py:y", "x" * 300, "no", "cw://", "lora", "(", "sharegpt:x"]),
)
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORDS, inner, max_size=2),
    max_leaves=4,
)


def value(spec: Any) -> Any:
    simple = {
        "string": WORDS,
        "integer": st.integers(-3, 5),
        "number": st.floats(),
        "boolean": st.booleans(),
        "null": st.none(),
    }
    types = [spec["type"]] if isinstance(spec.get("type"), str) else spec.get("type", ["string"])
    if "enum" in spec:
        return st.sampled_from(spec["enum"])
    held = {name: value(item) for name, item in spec.get("properties", {}).items()}
    mapping = st.fixed_dictionaries({}, optional=held) if held else st.dictionaries(WORDS, ANY, max_size=2)
    lists = st.lists(value(spec["items"]), max_size=3) if "items" in spec else st.lists(ANY, max_size=2)
    choices = {**simple, "array": lists, "object": mapping}
    return st.one_of([choices[name] for name in types])


ALL = {name: value(key.spec) for name, key in schema().keys.items()}
CONFIGS = st.lists(st.sampled_from(sorted(ALL)), max_size=40, unique=True).flatmap(
    lambda names: st.fixed_dictionaries({name: ALL[name] for name in names})
)


@hypothesis.given(CONFIGS, st.sampled_from(kinds.TYPES), st.integers(0, 8), st.integers(1, 2))
@hypothesis.settings(max_examples=200, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
def test_every_config_gets_an_answer(values: dict[str, Any], kind: str, gpus: int, nodes: int) -> None:
    framework, config = FrameworkRegistry().get("axolotl"), Config("config.yaml", values=values)
    keys = LaunchKeys(resources=Resources(gpu=gpus, nodes=nodes))
    found = framework.cross_checks(config, keys, TrainingType(kind))
    assert all(isinstance(problem, Problem) and problem.message and problem.remedy for problem in found)
    if not any(problem.severity == "error" for problem in found):
        framework.template_variables(config, TrainingType(kind))
        framework.file_keys(config, TrainingType(kind))
        framework.service_resources("vllm", config, gpus)
