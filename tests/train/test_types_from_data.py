"""Runs of DPO, KTO, reward models and distillation: the numbers of TRL's own scripts, also when a run is stopped."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from training_lab import ROOT, Ended, Lab, same_end

EXAMPLES = ROOT / "examples"
PREFERENCES = EXAMPLES / "preferences"
STEPS = 12
SETTINGS: dict[str, Any] = {
    # Dropout makes every random number count; these trainers turn it off unless told otherwise.
    "disable_dropout": False,
    "gradient_checkpointing": None,  # on, as TRL has it
    "learning_rate": 2e-3,
    "max_steps": STEPS,
    "eval_steps": 6,
    "save_steps": 6,
}
OF_TYPE: dict[str, dict[str, Any]] = {
    "dpo": {"dataset_name": str(PREFERENCES / "pairs")},
    "kto": {"dataset_name": str(PREFERENCES / "labelled")},
    "reward": {"dataset_name": str(PREFERENCES / "pairs")},
    "distillation": {
        "teacher_model_name_or_path": str(EXAMPLES / "distillation" / "teacher"),
        "dataset_name": None,
        "datasets": [{"path": "json", "data_files": str(EXAMPLES / "rlhf" / "prompts.jsonl")}],
        "beta": 0.0,
        "max_length": None,
        "max_completion_length": 4,
        "eval_strategy": "no",
    },
}
CLOCK = ("runtime", "per_second", "step_time")


def settings(training_type: str) -> dict[str, Any]:
    return SETTINGS | OF_TYPE[training_type]


def history(folder: Path) -> list[dict[str, Any]]:
    """All that the trainer itself logged, without what depends on the clock."""
    state = json.loads((folder / f"checkpoint-{STEPS}" / "trainer_state.json").read_text(encoding="utf-8"))
    return [
        {key: value for key, value in row.items() if not any(word in key for word in CLOCK)}
        for row in state["log_history"]
    ]


@pytest.fixture(scope="module", params=list(OF_TYPE))
def run(lab: Lab, request: pytest.FixtureRequest) -> tuple[str, Ended]:
    """A run of each type from beginning to end."""
    training_type: str = request.param
    ended = lab.train(
        lab.folder / training_type, recipe=f"trl_{training_type}", name=training_type, **settings(training_type)
    )
    assert ended.code == 0, ended.err
    return training_type, ended


def test_the_numbers_are_those_of_trl(lab: Lab, run: tuple[str, Ended]) -> None:
    training_type, ours = run
    output = lab.folder / f"trl-{training_type}"
    config = lab.config(output, **settings(training_type))
    theirs = lab.run(["-m", f"trl.scripts.{training_type}", "--config", str(config)], output)
    assert theirs.code == 0, theirs.err
    assert history(ours.folder) == history(output)
    assert sum("loss" in row for row in history(output)) == STEPS
    assert ours.folder.joinpath("model.safetensors").read_bytes() == (output / "model.safetensors").read_bytes()


def test_the_screen_is_quiet_and_the_loss_falls(run: tuple[str, Ended]) -> None:
    training_type, ended = run
    assert "Warning" not in ended.err
    others = [line for line in ended.out.splitlines() if not line.startswith("::cw:: ")]
    assert others == ["starting from the beginning"]
    done = ended.event("done")
    if training_type != "distillation":  # which takes longer to
        assert done["last_loss"] < done["first_loss"] * 0.8


def test_a_run_that_was_stopped_ends_as_one_that_was_not(lab: Lab, run: tuple[str, Ended]) -> None:
    training_type, full = run
    output = lab.folder / f"stopped-{training_type}"
    how: dict[str, Any] = {"recipe": f"trl_{training_type}", "name": "stopped", **settings(training_type)}
    stopped = lab.train(output, **how, stop=lambda said: said.get("step") == 3, with_signal=signal.SIGTERM)
    assert stopped.code == 143, stopped.err
    step = stopped.event("preempted")["step"]
    assert 3 <= step < STEPS
    resumed = lab.train(output, **how)
    assert resumed.event("start")["step"] == step
    same_end(resumed, full)


def test_the_data_is_made_again_byte_for_byte(lab: Lab, tmp_path: Path) -> None:
    program = tmp_path / "scripts" / "make-preferences"
    made = tmp_path / "examples" / "preferences"
    for folder in (program.parent, made / "pairs", made / "labelled"):
        folder.mkdir(parents=True)
    program.write_bytes((ROOT / "scripts" / "make-preferences").read_bytes())
    assert lab.run([str(program)], tmp_path / "made").code == 0
    for file in ("pairs/train.jsonl", "pairs/test.jsonl", "labelled/train.jsonl", "labelled/test.jsonl"):
        assert (made / file).read_bytes() == (PREFERENCES / file).read_bytes()
