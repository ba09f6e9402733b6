"""Verifiers' configs at the command line: where they may run, and what is said before."""

from __future__ import annotations

import json

import pytest

from .conftest import User

CONFIG = """\
model = "owner/model"
num_tasks = 3

[env.taskset]
id = "textarena"
"""


@pytest.mark.parametrize(("training_type", "here"), [("eval", " --local"), ("grpo", "")])
def test_init_says_how_its_config_runs(cw: User, training_type: str, here: str) -> None:
    made = cw("init", "verifiers", training_type)
    assert made.err == f"hint: Write it to a file and run it: cw verifiers {training_type} config.yaml{here}\n"
    (cw.home / "config.yaml").write_text(made.out)
    assert cw("validate", "verifiers", training_type, "config.yaml").code == 0


def test_cw_warns_of_commands_that_a_model_runs_on_this_machine(cw: User) -> None:
    (cw.home / "eval.toml").write_text(CONFIG)
    said = cw("verifiers", "eval", "eval.toml", "--local", "--dry-run")
    assert said.code == 0, said.err
    assert "env.agent: its harness (bash, if the taskset has no other) runs commands that the model writes" in said.err
    assert "run it on the cluster, or in containers of this machine: `env.agent.runtime.type` docker" in said.err
    assert "commands" not in cw("verifiers", "eval", "eval.toml", "--dry-run").err
    assert "commands" not in cw("validate", "verifiers", "eval", "eval.toml").err


def test_a_key_of_an_older_verifiers_is_explained_at_its_place(cw: User) -> None:
    assert cw("schema", "verifiers", "eval", "num_tasks").out.startswith("select.limit: ")
    properties = json.loads(cw("schema", "verifiers", "eval", "--json").out)["properties"]
    assert properties["num_tasks"] == {"description": "Now called select.limit.", "deprecated": True}
