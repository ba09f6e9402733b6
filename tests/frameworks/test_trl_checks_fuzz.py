"""No values of the right types make the cross-checks fail."""

import json

import pytest

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies

from cw_cli.core.config import Config  # noqa: E402
from cw_cli.core.framework import TrainingType  # noqa: E402
from cw_cli.core.problems import Problem  # noqa: E402
from cw_cli.frameworks.trl import accelerate  # noqa: E402
from cw_cli.frameworks.trl.checks import OWN, cross_checks  # noqa: E402
from cw_cli.frameworks.trl.rules import OVERLAY  # noqa: E402
from cw_cli.schemas.generate_trl import FILE  # noqa: E402

GROUPS = json.loads(FILE.read_text(encoding="utf-8"))["groups"]
KEYS = {name: {**spec, **OVERLAY.get(name, {})} for group in GROUPS.values() for name, spec in group["keys"].items()}
KEYS |= {accelerate.KEY: accelerate.SPEC}
WORDS = st.one_of(
    st.text(max_size=8), st.sampled_from(["~", "./a", "/", "json", "a*", "train+", "x" * 300, "no", "cw://"])
)
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORDS, inner, max_size=2),
    max_leaves=4,
)


def value(spec):
    simple = {
        "string": WORDS,
        "integer": st.integers(-3, 5),
        "number": st.floats(),
        "boolean": st.booleans(),
        "null": st.none(),
    }
    if "properties" in spec:
        return st.fixed_dictionaries({}, optional={name: value(item) for name, item in spec["properties"].items()})
    if "enum" in spec:
        return st.sampled_from(spec["enum"])
    types = [spec["type"]] if isinstance(spec["type"], str) else spec["type"]
    lists = st.lists(value(spec["items"]), max_size=3) if "items" in spec else st.lists(ANY, max_size=2)
    choices = {**simple, "array": lists, "object": st.dictionaries(WORDS, ANY, max_size=2)}
    return st.one_of([choices[name] for name in types])


CONFIGS = st.fixed_dictionaries({}, optional={name: value(spec) for name, spec in KEYS.items()})


@hypothesis.given(CONFIGS, st.sampled_from(list(OWN)), st.integers(0, 8), st.integers(1, 2))
@hypothesis.settings(max_examples=90, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
def test_every_config_gets_an_answer(values, training_type, gpus, nodes):
    found = cross_checks(Config("config.yaml", values=values), TrainingType(training_type), gpus=gpus, nodes=nodes)
    assert all(isinstance(problem, Problem) and problem.message and problem.remedy for problem in found)
