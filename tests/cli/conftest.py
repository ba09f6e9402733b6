"""`cw` as a user calls it: a process of its own, in a home of its own, without a cluster."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

RUNS = Path(__file__).with_name("runs.py")
LIMIT = 60.0
"""Seconds until a test gives up waiting; far more than any machine needs."""


@dataclass
class Said:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str


@dataclass
class User:
    """Somebody at a shell."""

    home: Path
    environment: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        dropped = (
            "CW_SETTINGS",
            "HF_TOKEN",
            "NO_COLOR",
            "FORCE_COLOR",
            "COLUMNS",
            "PYTHONPATH",
            "COVERAGE_PROCESS_START",
        )
        self.environment = {
            **{name: value for name, value in os.environ.items() if name not in dropped},
            "HOME": str(self.home),
            "XDG_CONFIG_HOME": str(self.home / "settings"),
            "XDG_STATE_HOME": str(self.home / "state"),
            "XDG_DATA_HOME": str(self.home / "data"),
            "KUBECONFIG": str(self.home / "no-kubeconfig"),
            "LOGNAME": "ada",
            "TERM": "xterm",
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
        }

    def __call__(self, *words: str | Path, stdin: str = "", cwd: Path | None = None, timeout: float = LIMIT) -> Said:
        """Run `cw` with these words to its end."""
        done = subprocess.run(
            self.command(*words),
            input=stdin,
            cwd=cwd or self.home,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Said(done.returncode, done.stdout, done.stderr)

    def command(self, *words: str | Path) -> list[str]:
        return [sys.executable, "-m", "cw_cli.cli.main", *map(str, words)]

    def start(self, *words: str | Path, **how: object) -> subprocess.Popen[str]:
        """Begin `cw` with these words."""
        return self._popen(self.command(*words), **how)

    def launch(
        self, run: str, *, steps: int = 3, pause: float = 0.0, code: int = 0, flags: str = ""
    ) -> subprocess.Popen[str]:
        """Begin a run whose trainer takes so many steps of so many seconds and ends with this code."""
        return self._popen(self.launching(run, steps=steps, pause=pause, code=code, flags=flags))

    def launching(self, run: str, *, steps: int, pause: float, code: int = 0, flags: str = "") -> list[str]:
        config = self.home / "config.yaml"
        config.write_text("model_name: owner/model\ndataset_name: owner/data\nuse_cpu: true\nbf16: false\n")
        words = ["trl", "sft", str(config), "--local", *flags.split()]
        return [sys.executable, str(RUNS), run, str(steps), str(pause), str(code), *words]

    def finished(self, run: str, **how: int) -> Said:
        """A run from its launch to its end."""
        process = self.launch(run, **how)  # type: ignore[arg-type]
        out, err = process.communicate(timeout=LIMIT)
        return Said(process.returncode, out, err)

    def _popen(self, command: list[str], **how: object) -> subprocess.Popen[str]:
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **how}
        return subprocess.Popen(command, cwd=self.home, env=self.environment, text=True, **pipes)  # type: ignore[call-overload, no-any-return]


def eventually(holds: Callable[[], bool], otherwise: str) -> None:
    end = time.monotonic() + LIMIT
    while not holds():
        assert time.monotonic() < end, otherwise
        time.sleep(0.05)


@pytest.fixture
def cw(tmp_path: Path) -> Iterator[User]:
    home = tmp_path / "home"
    home.mkdir()
    user = User(home)
    yield user
    for name in user("list", "-o", "name").out.split():
        user("cancel", name)


@pytest.fixture
def no_signals_ignored() -> Iterator[None]:
    """A test runner started in the background has SIGINT ignored, and its children with it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
