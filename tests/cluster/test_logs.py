"""`cw logs` and a followed run on a real cluster: nothing is lost, doubled or left out."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import QUICK, Run

CONFIG = """
model_name_or_path: Qwen/Qwen3-0.6B
dataset_name: trl-lib/Capybara
max_steps: 1
volumes: {model-checkpoints: null}
"""
SMALL = ("--gpu", "0", "--cpu", "5m", "--memory", "64Mi", "--image", "busybox:1.36")
LINES = 600_000
RATE = 50_000


@pytest.fixture
def start(cw: Callable[..., Run], tmp_path: Path) -> Callable[..., str]:
    """Launch a run whose trainer is a shell script; returns its name."""
    (tmp_path / "sft.yaml").write_text(CONFIG)

    def launch(script: str, *flags: str, **pod: Any) -> str:
        said = cw(*words(script, *flags, **pod))
        assert said.code == 0, said.err
        return said.out.strip()

    return launch


def words(script: str, *flags: str, **pod: Any) -> tuple[str, ...]:
    """The command that launches a run with this script for a trainer."""
    patch = json.dumps({"containers": [{"name": "trainer", "command": ["sh", "-c", script], **QUICK}], **pod})
    return ("trl", "sft", "sft.yaml", *SMALL, "--set", f"pod={patch}", *flags)


@pytest.fixture
def begin(cw_environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a cw command and leave it running."""
    (tmp_path / "sft.yaml").write_text(CONFIG)
    begun: list[subprocess.Popen[str]] = []

    def run(*arguments: str, stdout: Any = subprocess.PIPE) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "cw_cli.cli.main", *arguments],
            cwd=tmp_path,
            env=cw_environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
        )
        begun.append(process)
        return process

    yield run
    for process in begun:
        process.kill()
        process.communicate()


def test_fifty_thousand_lines_a_second_are_all_followed(start: Callable[..., str], cw: Callable[..., Run]) -> None:
    """The node keeps some tens of megabytes of a log: what is not read in time is gone."""
    seconds = LINES // RATE
    burst = f"awk -v s=$i 'BEGIN {{ for (n = s * {RATE}; n < (s + 1) * {RATE}; n++) print \"line\", n }}'"
    run = start(f"i=0; while [ $i -lt {seconds} ]; do {burst}; i=$((i + 1)); sleep 0.5; done", "--cpu", "500m")
    said = cw("logs", run, "-f", timeout=200)
    assert said.code == 0, said.err
    lines = said.out.splitlines()
    assert len(lines) == LINES
    assert all(line == f"line {number}" for number, line in enumerate(lines))


def test_attempts_come_in_order(start: Callable[..., str], cw: Callable[..., Run]) -> None:
    run = start('echo "from $HOSTNAME"; echo last words; exit 3', "--set", "retries=1")
    followed = cw("logs", run, "-f")
    assert followed.code == 0, followed.err
    kept = cw("logs", run)
    assert kept.out == followed.out
    first, words, heading, second, _ = kept.out.splitlines()
    assert first.startswith("from ") and second.startswith("from ") and first != second
    assert words == "last words"
    assert heading == f"cw: attempt 2 ({second.removeprefix('from ')})"
    assert cw("logs", run, "--tail", "1").out == "last words\n"
    assert cw("wait", run).code == 3


def test_nodes_of_a_run_are_told_apart(start: Callable[..., str], cw: Callable[..., Run]) -> None:
    run = start("for n in 1 2 3; do echo $JOB_COMPLETION_INDEX says $n; sleep 0.3; done", "--nodes", "2")
    followed = cw("logs", run, "-f")
    expected = sorted(f"[trainer-{node}] {node} says {number}" for node in (0, 1) for number in (1, 2, 3))
    assert sorted(followed.out.splitlines()) == expected
    assert sorted(cw("logs", run).out.splitlines()) == expected


def test_what_has_no_log_says_so(start: Callable[..., str], cw: Callable[..., Run], kube: Callable[..., Any]) -> None:
    queued = start("true", "--queue", "somewhere")
    said = cw("logs", queued)
    assert said.code == 1
    assert f"{queued} has written nothing yet: it has not started" in said.err
    gone = start("echo hello")
    assert cw("wait", gone).code == 0
    assert cw("logs", gone, "--role", "reward").err.startswith(
        f"error: {gone} has no role reward\nhint: It has trainer"
    )
    kube("delete", "job", gone)
    kube("wait", "--for=delete", "pod", "-l", f"cw.dev/run={gone}", "--timeout=30s")
    said = cw("logs", gone, "-f")
    assert said.code == 1
    assert f"the log of {gone} is gone: its Job and pods were deleted" in said.err


def test_a_followed_run_says_why_it_waits_and_ends_with_the_trainers_code(
    begin: Callable[..., subprocess.Popen[str]], kube: Callable[..., Any]
) -> None:
    process = begin(*words("echo training; exit 7", "--follow", "--set", "secrets={TOKEN: later/key}"))
    assert process.stderr is not None
    said = read_until(process, "There is no Secret later in the namespace")
    assert said.count("waiting: ") <= 2
    kube("create", "secret", "generic", "later", "--from-literal=key=1")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 7
    assert out == "training\n"
    assert "failed: The trainer ended with exit code 7." in err
    assert err.count("There is no Secret") == 0


def test_an_interrupt_detaches_and_the_run_goes_on(
    begin: Callable[..., subprocess.Popen[str]], cw: Callable[..., Run]
) -> None:
    process = begin(*words("echo training; sleep 600", "--follow", "--name", "kept"))
    assert process.stdout is not None
    assert process.stdout.readline() == "training\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert re.search(r"detached: \S+ goes on; cw logs \S+ -f follows it again", err)
    assert "Running" in cw("list").out


def test_an_interrupt_detaches_from_a_run_that_waits(
    begin: Callable[..., subprocess.Popen[str]], cw: Callable[..., Run]
) -> None:
    process = begin(*words("true", "--follow", "--queue", "somewhere"))
    read_until(process, "waiting: It waits in the queue somewhere")
    process.send_signal(signal.SIGINT)
    assert "detached: " in process.communicate(timeout=20)[1]
    assert process.returncode == 130
    assert "Suspended" in cw("list").out


def test_the_list_shows_how_far_running_runs_are(start: Callable[..., str], cw: Callable[..., Run]) -> None:
    event = json.dumps({"step": 3, "total": 12, "loss": 2.5, "eta_s": 90})
    run = start(f"echo '::cw:: {event}'; sleep 600")
    limit = time.monotonic() + 45
    while not re.search(rf"{run}\s+Running\s+-\s+\S+\s+0\s+3/12 25%\s+1m 30s\s+2.5", said := cw("list").out):
        assert time.monotonic() < limit, said
        time.sleep(0.5)


def read_until(process: subprocess.Popen[str], text: str) -> str:
    """What the process says on stderr up to this text."""
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        if text in line:
            return said
    raise AssertionError(f"{text!r} was not said: {said}")
