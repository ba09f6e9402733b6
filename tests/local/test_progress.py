"""The trainer's machine-readable lines, and the verdicts that are drawn from them and from how a run ended."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cw_cli.core.progress import PREFIX, Broken, CheckpointSaved, Preempted, Started, StepTaken, observe, parse_line
from cw_cli.core.status import Progress, State
from cw_cli.core.verdict import Facts, explain, find_exception

from .machines import patient


def told(**data: object) -> str:
    return PREFIX + json.dumps(data)


def test_events() -> None:
    assert parse_line(told(event="start", total=60, resumed_from=None, step=0)) == Started(60, None, 0)
    assert parse_line(told(event="checkpoint", path="/a", step=3)) == CheckpointSaved("/a", 3)
    assert parse_line(told(event="preempted", path="/a", step=3)) == Preempted("/a", 3)
    assert parse_line(told(event="failed", error="no data")) == Broken("no data")
    assert parse_line(told(step=1, loss=2, grad_norm=1.5, epoch=0.5)) == StepTaken(1, loss=2.0, epoch=0.5)
    assert parse_line("\r 10%|█ | 3/30" + told(step=3)) == StepTaken(3)
    assert parse_line("an ordinary line") is None
    assert parse_line(told(event="something new")) is None


@pytest.mark.parametrize(
    "rest", ["", "{", "[]", "3", "null", '{"step": "x"}', '{"step": true}', '{"step": 1e999}', "[" * 9999]
)
def test_nonsense_is_no_event(rest: str) -> None:
    assert parse_line(PREFIX + rest) is None


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
)
names = st.sampled_from(
    ["event", "step", "total", "loss", "lr", "eta_s", "memory_bytes", "steps", "path", "error", "first_loss", "model"]
)
kinds = st.sampled_from(["start", "checkpoint", "preempted", "done", "failed", None])


@patient
@given(st.lists(st.tuples(st.dictionaries(names, values, max_size=4), kinds), max_size=5))
def test_any_values_can_be_read(events: list[tuple[dict[str, object], str | None]]) -> None:
    observe(told(**{**data, "event": kind}) for data, kind in events)


@patient
@given(st.text())
def test_any_line_can_be_read(line: str) -> None:
    parse_line(line)
    parse_line(PREFIX + line)


def test_a_training_from_start_to_end() -> None:
    observed = observe(
        [
            told(event="start", total=4, resumed_from=None, step=0),
            told(step=2, total=4, loss=5.0, eta_s=9.5),
            "noise",
            told(event="checkpoint", path="/out/checkpoint-2", step=2),
            told(step=4, total=4, loss=3.0, eta_s=0),
            told(
                event="done", steps=4, seconds=1.5, first_loss=5.0, last_loss=3.0, model="/m", metrics="/j", plot="/p"
            ),
        ]
    )
    assert observed.progress and observed.outcome
    assert (observed.progress.step, observed.progress.first_loss, observed.progress.loss) == (4, 5.0, 3.0)
    assert observed.progress.fraction == 1.0
    assert observed.checkpoint == "/out/checkpoint-2"
    outcome = observed.outcome
    assert (outcome.model, outcome.metrics, outcome.plot, outcome.steps, outcome.seconds) == ("/m", "/j", "/p", 4, 1.5)


def test_a_checkpoint_tells_the_step_too() -> None:
    progress = observe([told(step=2, total=9, loss=1.0), told(event="preempted", step=4)]).progress
    assert progress and (progress.step, progress.total, progress.loss) == (4, 9, 1.0)


def test_an_attempt_that_resumes_keeps_the_first_loss_and_one_from_the_start_does_not() -> None:
    first = [told(event="start", total=4, step=0), told(step=2, loss=5.0), told(event="failed", error="x")]
    resumed = observe([*first, told(event="start", total=4, step=2, resumed_from="/c"), told(step=3, loss=4.0)])
    afresh = observe([*first, told(event="start", total=4, step=0), told(step=1, loss=4.5)])
    assert resumed.progress and resumed.progress.first_loss == 5.0
    assert afresh.progress and afresh.progress.first_loss == 4.5
    assert resumed.error is None


TRACEBACK = """starting
Traceback (most recent call last):
  File "/a/inner.py", line 3, in load
    return data["x"]
           ~~~~^^^^^
KeyError: 'x'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/a/train.py", line 7, in main
    load()
  File "/a/train.py", line 9, in load
    raise ValueError("no column x")
ValueError: no column x
bye""".splitlines()

TORCHRUN = [f"[rank0]: {line}" for line in TRACEBACK] + [
    "Traceback (most recent call last):",
    '  File "/bin/torchrun", line 8, in <module>',
    "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: ",
]


def test_the_exception_of_a_log() -> None:
    for log in (TRACEBACK, TORCHRUN):
        raised = find_exception(log)
        assert raised and (raised.line, raised.place) == ("ValueError: no column x", "/a/train.py:9")
    assert find_exception(["ValueError: a line like this alone is not one"]) is None


def failed(**facts: object) -> Facts:
    values: dict[str, object] = {"exit_code": 1, "reason": "exit code 1", "progress": Progress(step=3, total=9)}
    return Facts(run="one", state=State.FAILED, **{**values, **facts})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        (Facts("one", State.RUNNING, progress=Progress(3, 9)), "Running at step 3 of 9."),
        (Facts("one", State.RUNNING), "Running."),
        (Facts("one", State.RUNNING, progress=Progress(0, 9)), "Running before the first step."),
        (Facts("one", State.SUCCEEDED), "Finished."),
        (failed(reason="cancelled"), "Cancelled at step 3 of 9."),
        (failed(reason="DeadlineExceeded"), "time limit"),
        (failed(reason="process lost", exit_code=None), "gone"),
        (
            failed(log=("torch.OutOfMemoryError: CUDA out of memory. Tried",)),
            "The GPU ran out of memory at step 3 of 9.",
        ),
        (failed(log=("Traceback (most recent call last):", "ModuleNotFoundError: No module named 'trl'")), "`trl`"),
        (failed(log=("error: there is no file x", "more")), "The trainer gave up at step 3 of 9: there is no file x."),
        (failed(error="the data is empty."), "The trainer gave up at step 3 of 9: the data is empty."),
        (failed(log=tuple(TRACEBACK)), "broke at step 3 of 9 at /a/train.py:9: ValueError: no column x."),
        (failed(exit_code=None, reason="process lost", log=("OSError: [Errno 28] No space left on device",)), "disk"),
        (failed(exit_code=137, signal=9), "SIGKILL"),
        (failed(exit_code=137), "SIGKILL"),
        (failed(exit_code=1, log=("  exitcode  : -9 (pid: 33)",)), "SIGKILL"),
        (failed(exit_code=139, signal=11), "SIGSEGV"),
        (failed(exit_code=143, preempted=True), "saved a checkpoint"),
        (failed(exit_code=143), "not by cw"),
        (failed(exit_code=3), "The trainer ended at step 3 of 9 with exit code 3."),
        (failed(exit_code=None, reason="cannot start: gone"), "cannot start: gone."),
    ],
)
def test_verdicts(facts: Facts, sentence: str) -> None:
    verdict = explain(facts)
    assert sentence in verdict.sentence
    assert verdict.remedy or facts.state is State.SUCCEEDED
