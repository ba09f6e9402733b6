"""The generated keys of verifiers: what the file promises, and that it says what the installed verifiers says."""

import importlib.metadata
import importlib.util
import json
import subprocess
import sys
import sysconfig

import pytest

from cw_cli.schemas import generate_verifiers

SCHEMA = json.loads(generate_verifiers.FILE.read_text(encoding="utf-8"))
KEYS = SCHEMA["groups"]["eval"]["keys"]


def test_every_key_of_an_eval_is_there():
    assert set(KEYS) == {
        *("env", "run", "model", "client", "sampling", "select", "num_rollouts", "max_concurrent", "verbose"),
        *("dry_run", "clean", "rich", "push", "output_dir", "resume"),
    }
    assert SCHEMA["aliases"] == {"group_size": "num_rollouts", "rollouts_per_example": "num_rollouts"}


def test_blocks_are_closed_but_for_those_that_a_plugin_extends():
    env = KEYS["env"]
    agent = env["properties"]["agent"]
    assert KEYS["client"]["additionalProperties"] is agent["additionalProperties"] is False
    blocks = (env, env["properties"]["taskset"], agent["properties"]["harness"])
    assert all(block["additionalProperties"] is True for block in blocks)


def test_a_block_of_several_kinds_says_which_keys_are_for_which():
    runtime = KEYS["env"]["properties"]["agent"]["properties"]["runtime"]["properties"]
    assert runtime["type"]["enum"] == ["subprocess", "docker", "podman", "apptainer", "prime", "modal", "e2b"]
    assert runtime["checkpoint"]["for"] == ["prime"]
    assert "for" not in runtime["type"]
    assert KEYS["client"]["properties"]["renderer"]["for"] == ["train"]


def test_what_a_key_takes_and_what_it_is_for():
    assert KEYS["num_rollouts"]["minimum"] == 1
    assert KEYS["max_concurrent"]["type"] == ["integer", "null"]
    assert KEYS["push"]["default"] is True
    assert KEYS["push"]["description"].startswith("Upload the finished run")


def test_what_ships_with_verifiers_is_listed():
    assert {"null", "bash"} <= set(SCHEMA["harnesses"])
    assert {"best-of-n", "single-agent"} <= set(SCHEMA["environments"])
    assert "threshold" in SCHEMA["environments"]["best-of-n"]["keys"]
    assert SCHEMA["environments"]["user-sim"]["roles"] == {"assistant": None, "user": "null"}


def test_of_a_harness_it_says_what_it_holds_and_where_it_may_work():
    assert [name for name, harness in SCHEMA["harnesses"].items() if not harness["runs_commands"]] == ["null"]
    contained = [name for name, harness in SCHEMA["harnesses"].items() if not harness["needs_container"]]
    assert contained == ["bash", "null"]
    assert {"id", "version", "multi_agent"} <= set(SCHEMA["harnesses"]["codex"]["keys"])


@pytest.mark.skipif(importlib.util.find_spec("verifiers") is None, reason="the verifiers extra is not installed")
def test_the_installed_verifiers_says_the_same():
    if importlib.metadata.version("verifiers") != SCHEMA["versions"]["verifiers"]:
        pytest.skip(f"the data is of {SCHEMA['versions']}")
    site = sysconfig.get_paths()["purelib"]
    check = [sys.executable, "-m", "cw_cli.schemas.generate_verifiers", "--check", "--from", site]
    result = subprocess.run(check, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
