"""Which checkpoint is continued from: decided from folders alone, without training."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from cw_train import RefusedError
from cw_train.checkpoints import MARKER, Owner, choose, looks_whole, mark, owned
from cw_train.progress import keep_rows, to_json

ME = Owner(run="me", start=None)


def checkpoint(folder: Path, step: int, owner: Owner | None = ME) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    for name in ("model.safetensors", "optimizer.pt", "scheduler.pt"):
        (path / name).write_bytes(b"12345")
    (path / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    if owner:
        mark(path, owner, step)
    return path


def test_the_newest_of_my_own(tmp_path: Path) -> None:
    checkpoint(tmp_path, 90)
    newest = checkpoint(tmp_path, 100)
    checkpoint(tmp_path, 110, Owner(run="you", start=None))
    checkpoint(tmp_path, 120, owner=None)
    assert choose(tmp_path, ME, None)[0] == str(newest)


def test_nothing_is_mine_without_a_name(tmp_path: Path) -> None:
    nobody = Owner(run=None, start=None)
    checkpoint(tmp_path, 10, nobody)
    assert choose(tmp_path, nobody, None)[0] is None


@pytest.mark.parametrize("harm", ["missing", "shorter", "no marker", "half a marker"])
def test_a_harmed_checkpoint_is_passed_over(tmp_path: Path, harm: str) -> None:
    good, bad = checkpoint(tmp_path, 1), checkpoint(tmp_path, 2)
    if harm == "missing":
        (bad / "optimizer.pt").unlink()
    elif harm == "shorter":
        (bad / "optimizer.pt").write_bytes(b"123")
    elif harm == "no marker":
        (bad / MARKER).unlink()
    else:
        (bad / MARKER).write_text((bad / MARKER).read_text()[:20])
    assert owned(tmp_path, ME) == [good]


def test_asked_to_resume_takes_whoever_wrote_it(tmp_path: Path) -> None:
    found = checkpoint(tmp_path, 10, owner=None)
    torn = checkpoint(tmp_path, 20, owner=None)
    (torn / "trainer_state.json").write_text('{"global')
    assert not looks_whole(torn)
    assert choose(tmp_path, ME, True)[0] == str(found)
    assert choose(tmp_path, ME, False)[0] is None
    path, sentence = choose(tmp_path / "empty", ME, True)
    assert path is None
    assert "from the beginning" in sentence


def test_a_named_start_comes_first_until_the_run_has_gone_on_from_it(tmp_path: Path) -> None:
    checkpoint(tmp_path, 30)
    start = checkpoint(tmp_path, 20)
    again = Owner(run="me", start=str(start))
    assert choose(tmp_path, again, str(start))[0] == str(start)
    newer = checkpoint(tmp_path, 25, again)
    assert choose(tmp_path, again, str(start))[0] == str(newer)
    with pytest.raises(RefusedError, match="there is no folder"):
        choose(tmp_path, Owner("me", "/nowhere"), "/nowhere")


def test_rows_after_the_step_go_and_half_a_row_too(tmp_path: Path) -> None:
    metrics = tmp_path / "metrics.jsonl"
    metrics.write_text('{"step":1,"loss":2.0}\n{"step":2,"loss":1.0}\n{"step":3,"lo')
    assert keep_rows(metrics, 1) == [{"step": 1, "loss": 2.0}]
    assert metrics.read_text() == '{"step":1,"loss":2.0}\n'


def test_what_is_no_number_is_null() -> None:
    assert to_json({"loss": math.nan, "lr": math.inf, "step": 1}) == '{"loss":null,"lr":null,"step":1}'


def test_numbers_of_yaml_1_2(tmp_path: Path) -> None:
    from cw_train.from_data import read_config

    config = tmp_path / "c.yaml"
    config.write_text("learning_rate: 1e-5\nlr_scheduler_kwargs: {min_lr: 1e-6}\nrun_name: e5\nmax_steps: 10\n")
    values = read_config(str(config))
    assert values == {
        "learning_rate": 1e-5,
        "lr_scheduler_kwargs": {"min_lr": 1e-6},
        "run_name": "e5",
        "max_steps": 10,
        "env": {},
    }
