"""A user's first minutes: the quickstart trained on this machine by TRL itself, and the verbs on that run."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cw_cli.frameworks.trl.framework import TRLFramework

from .conftest import Said, User, eventually

ROOT = Path(__file__).resolve().parents[2]
MISSING = [name for name in ("torch", "trl", "datasets", "matplotlib") if importlib.util.find_spec(name) is None]
SHORT = ("--max_steps", "6", "--save_steps", "3", "--eval_steps", "3", "--logging_steps", "2")
LONG = ("--max_steps", "100000", "--eval_strategy", "no", "--logging_steps", "1")
PATIENT = 280.0

pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"training needs {', '.join(MISSING)}: install the train extra"),
    pytest.mark.timeout(600),
]


class Trainee(User):
    """Somebody with a copy of the quickstart."""

    @property
    def config(self) -> Path:
        return self.home / "quickstart" / "sft.yaml"

    def train(self, *words: str) -> Said:
        return self("trl", "sft", self.config, *words, timeout=PATIENT)

    def runs(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self("list", "-o", "json").out)
        return found


def trainee(home: Path) -> Trainee:
    shutil.copytree(ROOT / "examples" / "quickstart", home / "quickstart")
    return Trainee(home)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trainee, Said]:
    """The quickstart as the README has it, from beginning to end."""
    user = trainee(tmp_path_factory.mktemp("trained"))
    return user, user.train("--local")


@pytest.fixture
def someone(tmp_path: Path) -> Iterator[Trainee]:
    user = trainee(tmp_path)
    yield user
    for name in user("list", "-o", "name").out.split():
        user("cancel", name)


def shown(said: Said, word: str) -> str:
    match = re.search(rf"^  {word} +(.+)$", said.err, re.MULTILINE)
    assert match, said.err
    return match[1]


def test_the_screen_says_what_ran_and_what_came_of_it(trained: tuple[Trainee, Said]) -> None:
    user, said = trained
    assert said.code == 0, said.err
    assert "where    this machine" in said.err
    assert re.search(r"step \d+/150 \(\d+%\), loss [\d.]+, lr [\d.e-]+, [\d,]+ tokens/s", said.err)
    assert "succeeded: cw-trl-train-sft-" in said.err
    first, last = (float(number) for number in shown(said, "loss").split(" → "))
    assert first > 5
    assert last < 1
    assert Path(shown(said, "plot")).read_bytes().startswith(b"\x89PNG")
    rows = [json.loads(line) for line in Path(shown(said, "metrics")).read_text().splitlines()]
    assert {"step", "loss"} <= set(rows[0])
    command = shown(said, "next").split()
    assert command[:2] == ["cw", "describe"]
    assert user(*command[1:]).code == 0
    assert "::cw::" not in said.out + said.err


def test_the_model_loads_as_any_other(trained: tuple[Trainee, Said]) -> None:
    _, said = trained
    program = """
import sys
from transformers import AutoModelForCausalLM, AutoTokenizer
model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
ids = tokenizer("The", return_tensors="pt").input_ids
print(model.generate(ids, max_new_tokens=3).shape[1] > ids.shape[1])
"""
    command = [sys.executable, "-c", program, shown(said, "model")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENT)
    assert done.stdout == "True\n", done.stderr


def test_the_verbs_know_the_run(trained: tuple[Trainee, Said]) -> None:
    user, said = trained
    (run,) = [run for run in user.runs() if run["progress"]["total"] == 150]
    assert (run["state"], run["exit_code"], run["progress"]["step"]) == ("Succeeded", 0, 150)
    assert run["outcome"]["model"] == shown(said, "model")
    assert user("why", run["name"]).out.startswith("Finished after 150 steps, loss from ")
    described = user("describe", run["name"]).out
    assert shown(said, "model") in described
    assert str(user.config) in described
    assert user("logs", run["name"]).code == 0


def test_a_rerun_takes_changes(trained: tuple[Trainee, Said]) -> None:
    user, said = trained
    first = said.err[said.err.index("succeeded: ") :].split()[1]
    again = user("rerun", first, "--set", "max_steps=5", timeout=PATIENT)
    assert again.code == 0, again.err
    newest = user.runs()[0]
    assert newest["name"] != first
    assert (newest["state"], newest["progress"]["step"], newest["progress"]["total"]) == ("Succeeded", 5, 5)
    assert newest["outcome"]["model"] != shown(said, "model"), "a rerun overwrites nothing"


@pytest.mark.parametrize("training_type", TRLFramework(ROOT).get_training_types())
def test_the_config_of_init_trains_and_without_a_kubeconfig_it_does_so_here(
    someone: Trainee, training_type: str
) -> None:
    made = someone.home / "config.yaml"
    made.write_text(someone("init", "trl", training_type).out)
    said = someone("trl", training_type, made, *SHORT[:4], timeout=PATIENT)
    assert said.code == 0, said.err
    assert "note: no kubeconfig was found, so the run starts on this machine" in said.err


@pytest.mark.parametrize("folder", ["preferences", "distillation"])
def test_the_first_line_of_an_example_trains(someone: Trainee, folder: str) -> None:
    shutil.copytree(ROOT / "examples", someone.home / "examples")
    readme = someone.home / "examples" / folder / "README.md"
    cw, *words = readme.read_text(encoding="utf-8").splitlines()[0].strip("`").split()
    assert cw == "cw"
    said = someone(*words, *SHORT[:4], timeout=PATIENT)
    assert said.code == 0, said.err
    assert "warning" not in said.err.lower()


def test_a_failing_trainer_is_explained(someone: Trainee) -> None:
    (someone.config.parent / "model" / "model.safetensors").write_bytes(b"this is no model")
    said = someone.train("--local", *SHORT)
    assert said.code not in (0, 2)
    assert "failed: " in said.err
    (run,) = someone.runs()
    assert (run["state"], run["exit_code"]) == ("Failed", said.code)
    why = someone("why", run["name"])
    assert re.search("safetensors|model|header", why.out, re.IGNORECASE)
    assert why.out.strip() in said.err


def test_a_dataset_that_is_gone_is_noticed_before_anything_starts(someone: Trainee) -> None:
    shutil.rmtree(someone.config.parent / "data")
    (someone.config.parent / "data").mkdir()
    said = someone.train("--local")
    assert said.code == 2
    assert f"{someone.config}:5:15: " in said.err
    assert someone.runs() == []


@pytest.mark.usefixtures("no_signals_ignored")
def test_ctrl_c_saves_a_checkpoint_and_a_rerun_can_follow(someone: Trainee) -> None:
    process = someone.start("trl", "sft", someone.config, "--local", *LONG, start_new_session=True)
    eventually(lambda: any((run["progress"] or {}).get("step", 0) >= 2 for run in someone.runs()), "it never trains")
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=PATIENT)
    assert process.returncode == 130
    assert "Traceback" not in err
    (run,) = someone.runs()
    assert (run["state"], run["reason"]) == ("Failed", "cancelled")
    assert list(Path(run["output_dir"]).glob("checkpoint-*")), "a checkpoint was saved on the way out"
    assert someone("why", run["name"]).out.startswith("Cancelled at step")


def test_two_runs_at_once(someone: Trainee) -> None:
    processes = [
        someone.start("trl", "sft", someone.config, "--local", "--name", name, *SHORT, "--learning_rate", rate)
        for name, rate in (("one", "1e-3"), ("two", "5e-3"))
    ]
    for process in processes:
        _, err = process.communicate(timeout=PATIENT)
        assert process.returncode == 0, err
    one, two = sorted(someone.runs(), key=lambda run: run["name"])
    assert one["outcome"]["model"] != two["outcome"]["model"]
    assert one["progress"]["loss"] != two["progress"]["loss"]
    assert (one["state"], two["state"]) == ("Succeeded", "Succeeded")
