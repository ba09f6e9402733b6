"""The recipes around Axolotl: the config that it reads, and, where Axolotl is installed, whole runs."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cw_train import RefusedError
from cw_train.axolotl_config import importable, prepared_config

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples" / "axolotl"


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the recipe does to this process is undone."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    bars = ("TQDM_DISABLE", "HF_DATASETS_DISABLE_PROGRESS_BARS", "HF_HUB_DISABLE_PROGRESS_BARS")
    for name in ("PYTHONPATH", "CW_PREPARED", "CW_VLLM", "AXOLOTL_DO_NOT_TRACK", *bars):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "rewards_of_mine.py").write_text("def mine(completions, **columns):\n    return [1.0]\n")
    file = tmp_path / "config.yaml"
    file.write_text(
        f"base_model: x\noutput_dir: {tmp_path}/models/run\nlearning_rate: 1e-5\n"
        f"trl:\n  num_generations: 4\n  reward_funcs: ['{tmp_path}/rewards_of_mine.py:mine', owner/model]\n"
    )
    return file


def test_a_function_in_a_file_can_be_imported(config: Path) -> None:
    values = prepared_config(str(config))
    assert values["trl"]["reward_funcs"] == ["rewards_of_mine.mine", "owner/model"]
    module = importlib.import_module("rewards_of_mine")
    assert module.mine(["x"]) == [1.0]
    assert os.environ["PYTHONPATH"].split(os.pathsep)[0] == str(config.parent)


def test_a_file_that_is_not_there_is_refused() -> None:
    with pytest.raises(RefusedError, match=r"there is no file /nowhere/x\.py"):
        importable(["/nowhere/x.py:f"])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("", "{folder}/models/prepared/abc"),
        ("last_run_prepared", "{folder}/models/prepared/abc"),
        ("/data/p", "/data/p"),
    ],
)
def test_where_prepared_data_lies(given: str, expected: str, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CW_PREPARED", "abc")
    config.write_text(f"{config.read_text()}dataset_prepared_path: {given}\n")
    assert prepared_config(str(config))["dataset_prepared_path"] == expected.format(folder=config.parent)


def test_prepared_data_that_was_never_finished_is_discarded(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filelock = pytest.importorskip("filelock")
    monkeypatch.setenv("CW_PREPARED", "abc")
    folder = config.parent / "models" / "prepared" / "abc"
    for name, file in (("whole", "state.json"), ("part", "data-00000-of-00001.arrow")):
        (folder / name).mkdir(parents=True)
        (folder / name / file).write_text("")
    with filelock.FileLock(folder / "datasets_prep.lock"):
        prepared_config(str(config))
        assert (folder / "part").is_dir()  # somebody is writing it
    prepared_config(str(config))
    assert not (folder / "part").exists()
    assert (folder / "whole").is_dir()


def test_the_server_of_the_run_is_named(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CW_VLLM", "run-vllm:8000")
    settings = prepared_config(str(config))["trl"]
    assert (settings["vllm_server_host"], settings["vllm_server_port"]) == ("run-vllm", 8000)
    assert settings["num_generations"] == 4


def test_nobody_is_told_of_the_run(config: Path) -> None:
    prepared_config(str(config))
    assert os.environ["AXOLOTL_DO_NOT_TRACK"] == "1"


# Without an `__init__`, a folder of the same name is no module of this name.
found = importlib.util.find_spec("axolotl")
needs_axolotl = pytest.mark.skipif(found is None or found.origin is None, reason="Axolotl is not installed")


def run(recipe: str, config: Path, name: str) -> tuple[str, list[dict[str, Any]]]:
    assert found is not None
    assert found.origin is not None
    path = os.pathsep.join([str(ROOT / "containers"), str(Path(found.origin).parents[1])])
    environment = {**os.environ, "PYTHONPATH": path, "CW_RUN": name, "CW_PREPARED": "abc"}
    command = [sys.executable, "-m", "cw_train", recipe, "--config", str(config)]
    done = subprocess.run(command, env=environment, cwd=config.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    lines = (line.removeprefix("::cw:: ") for line in done.stdout.splitlines() if line.startswith("::cw:: "))
    return done.stdout, [json.loads(line) for line in lines]


def of_example(name: str, folder: Path, **changes: Any) -> Path:
    import yaml

    values = yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text())
    values |= {"bf16": False, "fp16": False, "output_dir": str(folder / "out"), "learning_rate": 1e-3} | changes
    values["base_model"] = str(ROOT / "examples/quickstart/model")
    for entry in [*values["datasets"], *values.get("test_datasets", [])]:
        entry["path"] = str((EXAMPLES / entry["path"]).resolve())
    if "trl" in values:
        values["trl"]["reward_funcs"] = [f"{EXAMPLES}/rewards.py:short_words"]
    del values["gpu"]
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(values))
    return file


@needs_axolotl
def test_a_restart_goes_on_from_the_runs_newest_checkpoint(tmp_path: Path) -> None:
    _, events = run("axolotl_preprocess", of_example("sft", tmp_path), "prepare")
    assert events[-1]["prepared"] == str(tmp_path / "prepared" / "abc")
    first, events = run("axolotl_train", of_example("sft", tmp_path, max_steps=20, save_steps=10), "one")
    assert "starting from the beginning" in first and "Loading prepared dataset from disk" in first
    assert events[-1]["event"] == "done" and events[-1]["last_loss"] < events[-1]["first_loss"]
    again, events = run("axolotl_train", of_example("sft", tmp_path, max_steps=30, save_steps=10), "one")
    assert f"continuing run one from {tmp_path}/out/checkpoint-20" in again
    assert next(item for item in events if item.get("event") == "start")["step"] == 20
    other, _ = run("axolotl_train", of_example("sft", tmp_path, max_steps=5, save_steps=10), "two")
    assert "the checkpoints that are there are not whole ones of this run" in other


@needs_axolotl
@pytest.mark.parametrize("name", ["dpo", "grpo"])
def test_an_example_trains(name: str, tmp_path: Path) -> None:
    _, events = run("axolotl_train", of_example(name, tmp_path, max_steps=4, save_steps=2), name)
    assert (events[-1]["event"], events[-1]["steps"]) == ("done", 4)
    assert (tmp_path / "out" / "model.safetensors").is_file()
