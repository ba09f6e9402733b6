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

from .any_values import settings, value  # noqa: E402

GROUPS = json.loads(FILE.read_text(encoding="utf-8"))["groups"]
KEYS = {name: {**spec, **OVERLAY.get(name, {})} for group in GROUPS.values() for name, spec in group["keys"].items()}
KEYS |= {accelerate.KEY: accelerate.SPEC}
CONFIGS = st.fixed_dictionaries({}, optional={name: value(spec) for name, spec in KEYS.items()})


@hypothesis.given(CONFIGS, st.sampled_from(list(OWN)), st.integers(0, 8), st.integers(1, 2))
@hypothesis.settings(settings, max_examples=90)
def test_every_config_gets_an_answer(values, training_type, gpus, nodes):
    found = cross_checks(Config("config.yaml", values=values), TrainingType(training_type), gpus=gpus, nodes=nodes)
    assert all(isinstance(problem, Problem) and problem.message and problem.remedy for problem in found)
