"""A framework whose own keys are called as some of cw's."""

from __future__ import annotations

from typing import Any

from cw_cli.core.framework import TrainingType
from cw_cli.core.key import Key
from cw_cli.core.schema import Schema

from .lab import BASE, checked, only_problem
from .static_framework import StaticFramework


class Taking(StaticFramework):
    """Has an `env` of its own."""

    def get_schema(self, training_type: TrainingType) -> Any:
        keys = {name: Key(name) for name in ("model_name", "dataset_name", "output_dir", "env")}
        return Schema("the test", keys, taken=("env",))


def test_the_framework_keeps_its_key_and_cw_has_another_name_for_its_own() -> None:
    text = BASE + "env: {taskset: {id: words}}\nenvironment: {A: 1}\n"
    found = checked(text, "env.taskset.id=other", framework=Taking(), settings="env: {B: 2}")
    assert found.config.get("env") == {"taskset": {"id": "other"}}
    assert found.keys.env == {"A": "1", "B": "2"}


def test_a_mistake_in_it_has_its_place() -> None:
    problem = only_problem(BASE + "environment:\n  A: [1]\n", framework=Taking())
    assert problem.message.startswith("environment.A is a list")
    assert problem.origin is not None and problem.origin.line == 4


def test_elsewhere_the_other_name_is_unknown() -> None:
    assert only_problem(BASE + "environment: {A: 1}\n").message.startswith("environment is not a key")
