"""The process that keeps one run: starts its roles, retries them, ends them, and writes down what became of them.

Standard library only. It is started by `start.py` in a session of its own, as `FOLDER LOCK READY LEASH`: the run
folder and three inherited descriptors. LOCK is the run's lock, held until this process is gone. READY takes the word
`ok` or a sentence once the roles were started. LEASH is a pipe from the launching process: its end of file means that
the launcher is gone and cancels the run, one byte before it lets the run go on alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from cw_cli.targets.local import folder as run_folder

FIRST_RETRY_DELAY = 1.0
LONGEST_RETRY_DELAY = 60.0

CANCELLED = "cancelled"
LAUNCHER_GONE = "the program that launched it ended"


class RoleProcess:
    """One role: its process, the attempts so far and how it ended. Times are of the monotonic clock."""

    def __init__(self, spec: dict[str, Any], folder: Path) -> None:
        self.spec = spec
        self.log = run_folder.log_path(folder, spec["role"])
        self.state = "Pending"
        self.reason = ""
        self.exit_code: int | None = None
        self.signal: int | None = None
        self.attempts = 0
        self.process: subprocess.Popen[bytes] | None = None
        self.stopping = ""
        """Why the process was asked to stop; empty while it may run."""
        self.start_at = time.monotonic()
        self.limit_at = self.start_at + spec["time_limit"] if spec["time_limit"] is not None else None
        self.kill_at: float | None = None

    @property
    def ended(self) -> bool:
        return self.state in run_folder.ENDED

    def start(self) -> None:
        """Start the next attempt; an OSError says that the program cannot be started at all."""
        self.attempts += 1
        self.exit_code, self.signal = None, None
        if self.attempts > 1:
            self.note(f"{run_folder.ATTEMPT}{self.attempts} of {self.spec['retries'] + 1}")
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
        if self.limit_at is not None and now >= self.limit_at:
            self.stop("DeadlineExceeded", now)

    def stop(self, reason: str, now: float) -> None:
        """Ask the process to end, once; what is left after the grace time is killed."""
        if self.ended or self.stopping:
            return
        self.stopping = reason
        if self.process is None:
            self._end("Failed", reason)
            return
        self.note(f"cw: {reason}; asked to stop")
        # Only the main process is told, as in a container: its workers end when it says so, not amid a batch.
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        self.kill_at = now + self.spec["grace"]

    def due(self) -> float | None:
        """When `poll` has to look again though nothing happens."""
        waiting = self.start_at if self.process is None else None
        limit = None if self.stopping else self.limit_at
        return min((due for due in (waiting, limit, self.kill_at) if due is not None), default=None)

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
            "state": self.state,
            "reason": self.reason,
            "exit_code": self.exit_code,
            "signal": self.signal,
            "attempts": self.attempts,
        }

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
            self._end("Failed", self.stopping)
        elif code == 0:
            self._end("Succeeded", "")
        elif self.attempts > self.spec["retries"]:
            self._end("Failed", f"exit code {code}" if code > 0 else _signal_name(-code))
        else:
            self.start_at = now + min(FIRST_RETRY_DELAY * 2 ** (self.attempts - 1), LONGEST_RETRY_DELAY)

    def _end(self, state: str, reason: str) -> None:
        self.state, self.reason = state, reason

    def _signal_group(self, number: signal.Signals) -> None:
        if self.process is not None:
            # Gone already, or (macOS) nothing but a zombie left of it.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, number)


class Supervisor:
    """One run from its first process to its last word."""

    def __init__(self, folder: Path, leash: int) -> None:
        self.folder = folder
        self.leash: int | None = leash
        self.roles = [RoleProcess(spec, folder) for spec in run_folder.read_json(folder / run_folder.UNIT)["roles"]]
        self.cancelled: str | None = None
        """The circumstance of a cancellation, perhaps empty; None while nobody cancelled."""
        self.failure: RoleProcess | None = None
        self.started = _utc_now()
        self.written: dict[str, Any] = {}
        self.wake = self._catch_signals()

    def start(self) -> str:
        """Start every role; returns `ok`, or why that is impossible."""
        for role in self.roles:
            try:
                role.start()
            except (OSError, ValueError, subprocess.SubprocessError) as error:
                return f"`{role.spec['argv'][0]}` cannot be started: {error}"
        self.write_status()
        return "ok"

    def run(self) -> None:
        """Keep the roles until all have ended."""
        while not all(role.ended for role in self.roles):
            self._wait()
            now = time.monotonic()
            for role in self.roles:
                role.poll(now)
            if self.cancelled is not None:
                self._stop_all(CANCELLED, now)
            for role in self.roles:
                if role.reason and self.failure is None:
                    self.failure = role
                    self._stop_all(f"{role.spec['role']} failed", now)
            self.write_status()

    def write_status(self) -> None:
        failed, ended = self.failure, all(role.ended for role in self.roles)
        status = {
            "state": "Running" if not ended else "Failed" if failed else "Succeeded",
            "reason": failed.reason if failed else "",
            "detail": self.cancelled or "",
            "exit_code": failed.exit_code if failed else 0 if ended else None,
            "signal": failed.signal if failed else None,
            "started": self.started,
            "supervisor": os.getpid(),
            "roles": [role.report() for role in self.roles],
        }
        if status != self.written:
            finished = _utc_now() if ended else None
            with contextlib.suppress(OSError):  # A full disk: the next change tries again.
                run_folder.write_json(self.folder / run_folder.STATUS, {**status, "finished": finished})
                self.written = status

    def _stop_all(self, reason: str, now: float) -> None:
        for role in self.roles:
            role.stop(reason, now)

    def _wait(self) -> None:
        """Sleep until a signal, the leash or the clock asks for something."""
        dues = [due for role in self.roles if (due := role.due()) is not None]
        timeout = max(min(dues) - time.monotonic(), 0.0) if dues else None
        sources = [self.wake] if self.leash is None else [self.wake, self.leash]
        ready, _, _ = select.select(sources, [], [], timeout)
        if self.wake in ready:
            os.read(self.wake, 4096)
        if self.leash is not None and self.leash in ready:
            if not os.read(self.leash, 1) and self.cancelled is None:
                self.cancelled = LAUNCHER_GONE
            os.close(self.leash)
            self.leash = None

    def _catch_signals(self) -> int:
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._cancel)
        return reader

    def _cancel(self, *_: object) -> None:
        self.cancelled = self.cancelled or ""


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


def _utc_now() -> str:
    return datetime.now(UTC).isoformat()


def main(arguments: Sequence[str]) -> NoReturn:
    folder, (_, ready, leash) = Path(arguments[0]), map(int, arguments[1:])
    if os.fork():
        os._exit(0)  # The launcher waits for this one; the run's own process is nobody's child.
    supervisor = Supervisor(folder, leash)
    answer = supervisor.start()
    with contextlib.suppress(BrokenPipeError):  # A launcher that was killed does not ask any more.
        os.write(ready, answer.encode())
    os.close(ready)
    if answer == "ok":
        supervisor.run()
    sys.exit(0)
