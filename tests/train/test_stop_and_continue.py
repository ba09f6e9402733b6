"""A run that is stopped, in whatever way, and started again ends as if it had not been stopped."""

from __future__ import annotations

import json
import shutil
import signal
import zipfile
from pathlib import Path

from training_lab import CONTAINERS, Ended, Lab, same_end


def test_killed_and_started_again_from_the_zip(lab: Lab, full: Ended) -> None:
    output = lab.folder / "killed"
    killed = lab.train(output, name="killed", stop=lambda message: message.get("event") == "checkpoint")
    assert killed.code == -signal.SIGKILL
    whole = killed.messages[-1] if "path" in killed.messages[-1] else killed.event("checkpoint")

    # Neither of these is to be continued from: one lost a file, the other is another run's.
    torn, foreign = output / "checkpoint-25", output / "checkpoint-28"
    shutil.copytree(whole["path"], torn)
    (torn / "optimizer.pt").unlink()
    shutil.copytree(whole["path"], foreign)
    marker = json.loads((foreign / "cw-checkpoint.json").read_text())
    (foreign / "cw-checkpoint.json").write_text(json.dumps(marker | {"run": "another"}))
    with (output / "metrics.jsonl").open("a") as file:
        file.write('{"step":11,"loss":9.9,"seconds":1.0}\n{"step":12,"lo')  # and the kill came amid a line

    archive = lab.folder / "cw_train.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for path in (CONTAINERS / "cw_train").glob("*.py"):
            packed.write(path, f"cw_train/{path.name}")
    resumed = lab.train(output, name="killed", environment={"PYTHONPATH": str(archive)})
    assert resumed.event("start") == {
        "event": "start",
        "total": 30,
        "resumed_from": whole["path"],
        "step": whole["step"],
    }
    assert f"continuing run killed from {whole['path']}" in resumed.out
    same_end(resumed, full)


def test_sigterm_leaves_a_checkpoint(lab: Lab, full: Ended) -> None:
    output = lab.folder / "preempted"
    stopped = lab.train(
        output,
        name="preempted",
        save_total_limit=1,
        stop=lambda message: message.get("step") == 11,
        with_signal=signal.SIGTERM,
    )
    assert stopped.code == 143, stopped.err
    last = stopped.messages[-1]
    assert last["event"] == "preempted"
    assert 11 <= last["step"] < 20
    assert [path.name for path in output.glob("checkpoint-*")] == [f"checkpoint-{last['step']}"]
    assert not (output / "model.safetensors").exists()

    resumed = lab.train(output, name="preempted", save_total_limit=1)
    assert resumed.event("start")["step"] == last["step"]
    same_end(resumed, full)
    assert [path.name for path in output.glob("checkpoint-*")] == ["checkpoint-30"]


def test_sigterm_before_the_first_step_ends_at_once(lab: Lab) -> None:
    output = lab.folder / "early"
    # The recipe listens first of all; a sleeping import stands for a slow one.
    slow = lab.folder / "slow"
    slow.mkdir()
    (slow / "datasets.py").write_text(
        "import sys, time\nprint('::cw:: {\"loading\":true}', flush=True)\ntime.sleep(60)\n"
    )
    path = f"{slow}:{CONTAINERS}"
    stopped = lab.train(
        output, environment={"PYTHONPATH": path}, stop=lambda message: "loading" in message, with_signal=signal.SIGTERM
    )
    assert stopped.code == 143, stopped.err
    assert stopped.messages[-1] == {"event": "preempted", "step": 0}


def test_another_run_in_the_same_folder_starts_afresh(lab: Lab, full: Ended) -> None:
    output = lab.folder / "shared"
    shutil.copytree(full.folder, output)
    other = lab.train(output, name="other", max_steps=4, save_steps=4, eval_strategy="no")
    assert other.code == 0, other.err
    assert other.event("start")["resumed_from"] is None
    assert "not whole ones of this run" in other.out
    assert [row["step"] for row in other.rows] == [1, 2, 3, 4]

    # When the config asks for it, the other run's newest checkpoint is taken, and the history with it.
    shutil.rmtree(output)
    shutil.copytree(full.folder, output)
    shutil.rmtree(output / "checkpoint-30")
    continued = lab.train(output, name="other", resume_from_checkpoint=True)
    assert continued.event("start")["step"] == 20
    same_end(continued, full)


def test_weights_alone_are_not_continued_from(lab: Lab) -> None:
    output = lab.folder / "weights"
    changes = {"save_only_model": True, "max_steps": 4, "save_steps": 2, "eval_strategy": "no"}
    first = lab.train(output, name="weights", **changes)
    assert first.code == 0, first.err
    assert not list(output.glob("checkpoint-*/cw-checkpoint.json"))


def test_a_named_checkpoint_that_is_not_there(lab: Lab) -> None:
    ended = lab.train(lab.folder / "nowhere", resume_from_checkpoint=str(Path("/nowhere/checkpoint-7")))
    assert ended.code == 2
    assert ended.last_line == "error: resume_from_checkpoint: there is no folder /nowhere/checkpoint-7"
