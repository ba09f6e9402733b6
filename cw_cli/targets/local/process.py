"""One process of a run: started, started again, ended, and what became of it. Standard library only.

A job comes to an end, well or badly; `service.py` has the other kind.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from cw_cli.targets.local import folder as run_folder

FIRST_RETRY_DELAY = 1.0
LONGEST_RETRY_DELAY = 60.0
NEVER = float("inf")


class Process:
    """One role's process, its attempts so far and how it ended. Times are of the monotonic clock."""

    def __init__(self, spec: dict[str, Any], folder: Path) -> None:
        self.spec = spec
        self.name = run_folder.process_name(spec)
        self.log = run_folder.log_path(folder, self.name)
        self.state = "Pending"
        self.reason = ""
        self.exit_code: int | None = None
        self.signal: int | None = None
        self.attempts = 0
        self.process: subprocess.Popen[bytes] | None = None
        self.stopping: tuple[str, str] | None = None
        """State and reason that the process was asked to end with; None while it may run."""
        self.start_at = time.monotonic()
        self.kill_at: float | None = None

    @property
    def ended(self) -> bool:
        return self.state in run_folder.ENDED

    @property
    def fault(self) -> str:
        """Why it failed, or is being ended as failed; empty while all is well."""
        state, reason = self.stopping or (self.state, self.reason)
        return reason if state == "Failed" else ""

    def start(self) -> None:
        """Start the next attempt; an OSError says that the program cannot be started at all."""
        self.attempts += 1
        self.exit_code, self.signal = None, None
        if self.attempts > 1:
            self.note(f"{run_folder.ATTEMPT}{self.attempts}{self._of_how_many()}")
        environment = {**os.environ, **self.spec["env"], run_folder.LOG_VARIABLE: str(self.log)}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.spec["argv"],
                cwd=self.spec["cwd"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
                preexec_fn=_die_with_parent,
            )
        self.state = "Running"

    def poll(self, now: float) -> None:
        """Do what is due: note an exit, start the next attempt, end what is over its time."""
        if self.ended:
            return
        if self.process is None:
            if now >= self.start_at:
                self._start_again()
        elif (code := self.process.poll()) is not None:
            self._exited(code, now)
        elif self.kill_at is not None and now >= self.kill_at:
            self.note("cw: still there after the grace time; killed")
            self._signal_group(signal.SIGKILL)
            self.kill_at = None

    def stop(self, reason: str, now: float, state: str = "Failed") -> None:
        """Ask the process to end, once; what is left after the grace time is killed."""
        if self.ended or self.stopping:
            return
        self.stopping = (state, reason)
        if self.process is None:
            self._end(state, reason)
            return
        self.ask_to_end(reason, now)

    def kill(self) -> None:
        """End everything of it at once."""
        if self.process is not None:
            self._signal_group(signal.SIGKILL)
            self.process.wait()
            run_folder.end_strays(self.log)

    def due(self) -> float | None:
        """When `poll` has to look again though nothing happens."""
        waiting = self.start_at if self.process is None and self.start_at != NEVER else None
        return min((due for due in (waiting, self.kill_at) if due is not None), default=None)

    def note(self, text: str) -> None:
        """A line of cw's own in the role's log, never in the middle of one of the role's."""
        with contextlib.suppress(OSError), self.log.open("a+b") as log:  # A full disk is no reason to stop keeping.
            size = log.seek(0, os.SEEK_END)
            log.seek(max(size - 1, 0))
            cut = log.read(1) not in (b"", b"\n")
            log.write(b"\n" * cut + f"{text}\n".encode())

    def report(self) -> dict[str, Any]:
        return {
            "role": self.spec["role"],
            "replica": self.spec["replica"],
            "state": self.state,
            "reason": self.reason,
            "exit_code": self.exit_code,
            "signal": self.signal,
            "attempts": self.attempts,
        }

    def ask_to_end(self, reason: str, now: float) -> None:
        """SIGTERM now, SIGKILL when the grace time is over."""
        self.note(f"cw: {reason}; asked to stop")
        # Only the main process is told, as in a container: its workers end when it says so, not amid a batch.
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGTERM)
        self.kill_at = now + self.spec["grace"]

    def _start_again(self) -> None:
        try:
            self.start()
        except (OSError, subprocess.SubprocessError) as error:
            self._end("Failed", f"cannot start: {error}")

    def _exited(self, code: int, now: float) -> None:
        """Settle an attempt. As in a container, nothing outlives the main process."""
        self._signal_group(signal.SIGKILL)
        run_folder.end_strays(self.log)
        self.process, self.kill_at = None, None
        self.signal = -code if code < 0 else None
        self.exit_code = 128 - code if code < 0 else code
        if self.stopping:
            self._end(*self.stopping)
        else:
            self._left(f"exit code {code}" if code >= 0 else _signal_name(-code), now)

    def _left(self, how: str, now: float) -> None:
        """What it means that an attempt is over which nobody asked to end."""
        raise NotImplementedError

    def _of_how_many(self) -> str:
        return ""

    def _end(self, state: str, reason: str) -> None:
        self.state, self.reason = state, reason

    def _signal_group(self, number: signal.Signals) -> None:
        if self.process is not None:
            # Gone already, or (macOS) nothing but a zombie left of it.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, number)


class Job(Process):
    """A process with an end: the trainer. It may be tried again, and its time is limited from the run's start on."""

    def __init__(self, spec: dict[str, Any], folder: Path) -> None:
        super().__init__(spec, folder)
        self.limit_at = self.start_at + spec["time_limit"] if spec["time_limit"] is not None else None

    def poll(self, now: float) -> None:
        super().poll(now)
        if self.limit_at is not None and now >= self.limit_at:
            self.stop("DeadlineExceeded", now)

    def due(self) -> float | None:
        limit = None if self.stopping else self.limit_at
        return min((due for due in (super().due(), limit) if due is not None), default=None)

    def _left(self, how: str, now: float) -> None:
        if self.exit_code == 0:
            self._end("Succeeded", "")
        elif self.attempts > self.spec["retries"]:
            self._end("Failed", how)
        else:
            self.start_at = now + delay(self.attempts)

    def _of_how_many(self) -> str:
        return f" of {self.spec['retries'] + 1}"


def delay(attempts: int) -> float:
    """Seconds to wait after so many attempts in a row that failed."""
    return min(FIRST_RETRY_DELAY * 2.0 ** min(attempts - 1, 10), LONGEST_RETRY_DELAY)


def _die_with_parent() -> None:
    """Linux kills this process when its supervisor is gone, even by SIGKILL; harmless elsewhere."""
    if _prctl is not None:
        _prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG


_prctl = getattr(ctypes.CDLL(None), "prctl", None)  # Looked up here: loading is not safe between fork and exec.


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
