"""A first evaluation on this machine: the model as a service, verifiers' own eval, and what is shown of it."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from pathlib import Path

import pytest

from .conftest import User

ROOT = Path(__file__).resolve().parents[2]
MISSING = [name for name in ("torch", "transformers", "verifiers") if importlib.util.find_spec(name) is None]
PATIENT = 280.0

pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"an evaluation needs {', '.join(MISSING)}: install train and verifiers"),
    pytest.mark.timeout(600),
]

CONFIG = """\
# An evaluation, in verifiers' own keys.
model = "model"
num_rollouts = 2

[sampling]
temperature = 0
max_tokens = 2

[env.taskset]
id = "counting"   # has a harness of its own, which asks no package index
count = 3
"""


def somebody(home: Path) -> tuple[User, Path]:
    shutil.copytree(ROOT / "examples" / "quickstart" / "model", home / "work" / "model")
    leave = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "tests" / "train" / "tasksets" / "counting", home / "work" / "counting", ignore=leave)
    config = home / "work" / "eval.toml"
    config.write_text(CONFIG)
    return User(home), config


def test_a_model_is_served_and_evaluated(tmp_path: Path) -> None:
    user, config = somebody(tmp_path)
    said = user("verifiers", "eval", config, "--local", timeout=PATIENT)
    assert said.code == 0, said.err
    assert re.search(r"^  inference no GPU", said.err, re.MULTILINE)
    assert re.search(r"step 6/6 \(100%\), reward 0\b", said.err)
    assert "  reward   0\n" in said.err
    (run,) = json.loads(user("list", "-o", "json").out)
    assert run["state"] == "Succeeded"
    folder = Path(run["output_dir"])
    assert len((folder / "traces.jsonl").read_text().splitlines()) == 6
    assert json.loads((folder / "results.json").read_text())["failed"] == 0
    described = user("describe", run["name"])
    assert "results.json" in described.out + described.err
    assert user("rerun", run["name"], "--dry-run").code == 0  # the config is read again as the TOML that it was


def test_a_server_that_does_not_answer_fails_the_run_with_its_reason(tmp_path: Path) -> None:
    user, config = somebody(tmp_path)
    said = user(
        "verifiers", "eval", config, "--local", "--set", "client.base_url=http://127.0.0.1:9/v1", timeout=PATIENT
    )
    assert said.code == 1
    assert "6 of 6 rollouts failed, most of them with ProviderError" in said.err
    (name,) = user("list", "-o", "name").out.split()
    why = user("why", name)
    assert "6 of 6 rollouts failed" in why.out + why.err
