"""A whole SFT run: the same numbers as TRL, and everything that it promises to write and print."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from cw_train.plot import draw
from training_lab import QUICKSTART, ROOT, Ended, Lab

COMPARED = ("step", "loss", "eval_loss", "grad_norm", "learning_rate", "mean_token_accuracy", "num_tokens")


def curve(folder: Path, step: int) -> list[dict[str, Any]]:
    """What the trainer itself logged up to a checkpoint, without what depends on the clock."""
    state = json.loads((folder / f"checkpoint-{step}" / "trainer_state.json").read_text(encoding="utf-8"))
    return [{key: row[key] for key in COMPARED if key in row} for row in state["log_history"]]


def test_the_losses_are_those_of_the_trl_command(lab: Lab, full: Ended) -> None:
    output = lab.folder / "trl"
    trl = lab.run(["-m", "trl.cli.main", "sft", "--config", str(lab.config(output))], output)
    assert trl.code == 0, trl.err
    assert curve(output, 30) == curve(full.folder, 30)
    assert sum("loss" in row for row in curve(output, 30)) == 30


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # peft's own
def test_adapters_packing_and_a_mixture_give_the_losses_of_trl_too(lab: Lab) -> None:
    changes = {
        "use_peft": True,
        "lora_r": 4,
        "lora_dropout": 0.1,
        "lora_target_modules": ["q_proj", "v_proj"],
        "packing": True,
        "packing_strategy": "wrapped",
        "dataset_name": None,
        "datasets": [{"path": "json", "data_files": str(QUICKSTART / "data" / "train.jsonl")}],
        "gradient_accumulation_steps": 2,
        "lr_scheduler_type": "cosine_with_min_lr",
        "lr_scheduler_kwargs": {"min_lr": 1e-4},
        "eval_strategy": "no",
        "max_steps": 8,
        "save_steps": 8,
        # No checkpoint is there yet: a sentence, and a run from the beginning. TRL itself would stop.
        "resume_from_checkpoint": True,
    }
    ours = lab.train(lab.folder / "peft", **changes)
    assert ours.code == 0, ours.err
    assert "starting from the beginning" in ours.out
    output = lab.folder / "trl-peft"
    config = lab.config(output, **changes | {"resume_from_checkpoint": None})
    theirs = lab.run(["-m", "trl.scripts.sft", "--config", str(config)], output)
    assert theirs.code == 0, theirs.err
    assert curve(ours.folder, 8) == curve(output, 8)

    from peft import AutoPeftModelForCausalLM

    model = AutoPeftModelForCausalLM.from_pretrained(str(ours.folder))
    assert "q_proj" in model.peft_config["default"].target_modules


def test_progress_lines(full: Ended) -> None:
    first, *between, last = full.messages
    assert first == {"event": "start", "total": 30, "resumed_from": None, "step": 0}
    logged = [message for message in between if "epoch" in message]
    assert [message["step"] for message in logged] == list(range(1, 31))
    assert all(
        list(message) == ["step", "total", "epoch", "loss", "lr", "grad_norm", "tokens_per_second", "eta_s"]
        for message in logged
    )
    assert all(message["total"] == 30 and message["tokens_per_second"] > 0 for message in logged)
    assert logged[-1]["eta_s"] == 0
    checkpoints = [message for message in between if message.get("event") == "checkpoint"]
    assert [message["step"] for message in checkpoints] == [10, 20, 30]
    assert all(Path(message["path"]).is_dir() for message in checkpoints)
    assert last == {
        "event": "done",
        "steps": 30,
        "seconds": last["seconds"],
        "first_loss": logged[0]["loss"],
        "last_loss": logged[-1]["loss"],
        "model": str(full.folder),
        "metrics": str(full.folder / "metrics.jsonl"),
        "plot": str(full.folder / "loss.png"),
    }
    assert last["last_loss"] < last["first_loss"] - 1


def test_metrics_and_plot(full: Ended) -> None:
    training = [row for row in full.rows if "loss" in row]
    keys = {"step", "epoch", "loss", "lr", "grad_norm", "tokens_per_second", "memory_bytes", "seconds", "time"}
    assert all(set(row) == keys for row in training)
    assert [row["step"] for row in training] == list(range(1, 31))
    assert all(row["memory_bytes"] > 1e8 for row in training)
    assert all(earlier["seconds"] <= later["seconds"] for earlier, later in pairwise(full.rows))
    evaluations = [row for row in full.rows if "eval_loss" in row]
    assert [row["step"] for row in evaluations] == [10, 20, 30]
    assert (full.folder / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_stdout_is_short(full: Ended) -> None:
    others = [line for line in full.out.splitlines() if not line.startswith("::cw:: ")]
    assert others == ["starting from the beginning"]
    assert "it/s" not in full.err


def test_the_model_loads_and_continues_a_text(full: Ended) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(full.folder)
    model = AutoModelForCausalLM.from_pretrained(full.folder)
    tokens = tokenizer("At night the red fox", return_tensors="pt", return_token_type_ids=False)
    written = model.generate(**tokens, max_new_tokens=8, do_sample=False)
    assert tokenizer.decode(written[0]).startswith("At night the red fox")


def test_a_finished_run_that_is_started_again_trains_no_further(lab: Lab, full: Ended) -> None:
    before = (full.folder / "model.safetensors").read_bytes()
    rows = full.rows
    (full.folder / "model.safetensors").unlink()  # as if it had been stopped just before the end
    again = lab.train(full.folder, name="full")
    assert again.code == 0, again.err
    assert again.event("start")["step"] == again.event("done")["steps"] == 30
    assert (full.folder / "model.safetensors").read_bytes() == before
    assert again.rows == rows


def test_two_processes_are_stopped_and_go_on_together(lab: Lab) -> None:
    import signal

    output = lab.folder / "two"
    changes: dict[str, Any] = {"name": "two", "processes": 2, "per_device_train_batch_size": 4}
    stopped = lab.train(output, **changes, stop=lambda message: message.get("step") == 11, with_signal=signal.SIGTERM)
    assert stopped.code != 0  # torchrun's own code; each rank ends with 143
    step = stopped.event("preempted")["step"]
    assert 11 < step < 30
    for rank in (0, 1):
        assert (output / f"checkpoint-{step}" / f"rng_state_{rank}.pth").is_file()
    resumed = lab.train(output, **changes)
    assert resumed.code == 0, resumed.err
    assert resumed.event("start")["step"] == step
    assert resumed.out.count("continuing run two") == 1
    assert [row["step"] for row in resumed.rows if "loss" in row] == list(range(1, 31))
    assert resumed.event("done")["last_loss"] < 4


def test_the_quickstart_learns(lab: Lab) -> None:
    values = yaml.safe_load((QUICKSTART / "sft.yaml").read_text(encoding="utf-8"))
    paths = {key: str(QUICKSTART / values[key]) for key in ("model_name_or_path", "dataset_name")}
    output = lab.folder / "quickstart"
    config = output.with_suffix(".yaml")
    config.write_text(yaml.safe_dump(values | paths | {"output_dir": str(output)}), encoding="utf-8")
    ended = lab.run(["-m", "cw_train", "trl_sft", "--config", str(config)], output)
    assert ended.code == 0, ended.err
    done = ended.event("done")
    assert done["first_loss"] > 5
    assert done["last_loss"] < 0.4


def test_the_quickstart_is_made_again_byte_for_byte(lab: Lab, tmp_path: Path) -> None:
    made = lab.run([str(ROOT / "scripts" / "make-quickstart"), str(tmp_path / "made")], tmp_path / "made")
    assert made.code == 0, made.err
    files = [path for kind in ("model", "data") for path in sorted((tmp_path / "made" / kind).iterdir())]
    kept = [path for kind in ("model", "data") for path in sorted((QUICKSTART / kind).iterdir())]
    assert [path.name for path in files] == [path.name for path in kept]
    assert all(made.read_bytes() == there.read_bytes() for made, there in zip(files, kept, strict=True))
    assert sum(path.stat().st_size for path in files) < 600_000


def test_a_loss_that_is_no_number_stays_json(lab: Lab) -> None:
    ended = lab.train(
        lab.folder / "nan",
        learning_rate=1e30,
        max_grad_norm=0,
        logging_nan_inf_filter=False,
        max_steps=4,
        eval_strategy="no",
        save_strategy="no",
    )
    assert ended.code == 0, ended.err
    assert ended.rows[-1]["loss"] is None
    assert ended.event("done")["last_loss"] is None
    assert all(value is None or math.isfinite(value) for row in ended.rows for value in row.values())


def test_gpu_check_says_that_there_is_no_gpu(lab: Lab) -> None:
    program = ROOT / "scripts" / "gpu-check"
    ended = subprocess.run(
        [sys.executable, program], env=lab.environment | {"CUDA_VISIBLE_DEVICES": ""}, capture_output=True, text=True
    )
    assert ended.returncode == 77
    assert "no GPU" in ended.stdout


def test_without_matplotlib_there_is_a_sentence_instead_of_a_picture(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert draw([{"step": 1, "loss": 2.0}], tmp_path / "loss.png") is None
    assert "matplotlib is not installed" in capsys.readouterr().out
