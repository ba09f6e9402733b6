"""The process that keeps one run: starts its services, then its trainer, ends them, and writes down what became of
them.

Standard library only. It is started by `start.py` in a session of its own, as `FOLDER LOCK READY LEASH`: the run
folder and three inherited descriptors. LOCK is the run's lock, held until this process is gone. READY takes the word
`ok` or a sentence once the first processes were started. LEASH is a pipe from the launching process: its end of file
means that the launcher is gone and cancels the run, one byte before it lets the run go on alone. SIGTERM cancels the
run too; SIGUSR1 says that somebody left a request in the folder.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from cw_cli.targets.local import folder as run_folder
from cw_cli.targets.local.health import Health
from cw_cli.targets.local.process import NEVER, Job, Process
from cw_cli.targets.local.service import Service

CANCELLED = "cancelled"
LAUNCHER_GONE = "the program that launched it ended"
NEVER_HEALTHY = 3
"""Exit code of a run whose services did not answer; that of the gate in a cluster."""


class Awaited:
    """A service of another run, which has to answer before the trainer starts."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.role = spec["role"]
        self.health = Health(spec["health"])
        self.limit = spec["start_limit"]
        self.limit_at = time.monotonic() + self.limit


class Failure(NamedTuple):
    """Why the run failed. `blame` is the role at fault, where it is not the trainer's own."""

    reason: str
    detail: str = ""
    exit_code: int | None = None
    signal: int | None = None
    blame: str | None = None


class Supervisor:
    """One run from its first process to its last word."""

    def __init__(self, folder: Path, leash: int) -> None:
        self.folder = folder
        self.leash: int | None = leash
        unit = run_folder.read_json(folder / run_folder.UNIT)
        self.jobs = [Job(spec, folder) for spec in unit["roles"] if not spec["service"]]
        self.services = [Service(spec, folder) for spec in unit["roles"] if spec["service"]]
        self.awaited = [Awaited(spec) for spec in unit["awaited"]]
        self.begun = False
        """Whether everything answered, so that the trainer could start."""
        self.cancelled: str | None = None
        """The circumstance of a cancellation, perhaps empty; None while nobody cancelled."""
        self.asked = False
        self.failure: Failure | None = None
        self.started = _utc_now()
        self.written: dict[str, Any] = {}
        self.wake = self._catch_signals()

    @property
    def processes(self) -> Sequence[Process]:
        return [*self.jobs, *self.services]

    @property
    def waiting(self) -> list[str]:
        """Roles that do not answer yet."""
        slow = [service.spec["role"] for service in self.services if not service.healthy]
        return list(dict.fromkeys([*slow, *(each.role for each in self.awaited if not each.health.ok)]))

    def start(self) -> str:
        """Start what waits for nobody; returns `ok`, or why that is impossible."""
        gated = self.services or self.awaited
        if gated:
            for job in self.jobs:
                job.start_at = NEVER
        self.begun = not gated
        for process in self.services if gated else self.jobs:
            try:
                process.start()
            except (OSError, ValueError, subprocess.SubprocessError) as error:
                for other in self.processes:
                    other.kill()
                return f"`{process.spec['argv'][0]}` cannot be started: {error}"
        self.write_status()
        return "ok"

    def run(self) -> None:
        """Keep the processes until all have ended."""
        while True:
            now = time.monotonic()
            self._heed_requests(now)
            for process in self.processes:
                process.poll(now)
            for each in self.awaited if not self.begun else ():
                each.health.poll(now)
            self._decide(now)
            self.write_status()
            if all(process.ended for process in self.processes):
                return
            self._wait()

    def write_status(self) -> None:
        failed, ended = self.failure, all(process.ended for process in self.processes)
        waiting = [] if self.begun else self.waiting
        state = "Running" if self.begun else "Pending"
        status = {
            "state": state if not ended else "Failed" if failed else "Succeeded",
            "reason": failed.reason if failed else f"waiting for {', '.join(waiting)}" if waiting else "",
            "detail": failed.detail if failed else self._trouble() if waiting else "",
            "exit_code": failed.exit_code if failed else 0 if ended else None,
            "signal": failed.signal if failed else None,
            "blame": failed.blame if failed else None,
            "started": self.started,
            "supervisor": os.getpid(),
            "roles": [process.report() for process in self.processes],
        }
        if status != self.written:
            finished = _utc_now() if ended else None
            with contextlib.suppress(OSError):  # A full disk: the next change tries again.
                run_folder.write_json(self.folder / run_folder.STATUS, {**status, "finished": finished})
                self.written = status

    def _decide(self, now: float) -> None:
        """What follows from how the processes are."""
        self.failure = self.failure or self._find_failure(now)
        if self.cancelled is not None:
            self._end_jobs(CANCELLED, now)
        elif self.failure:
            self._end_jobs(f"{self.failure.blame or self.jobs[0].name} failed", now)
        elif not self.begun and not self.waiting:
            self.begun = True
            for job in self.jobs:
                job.start_at = now
        # Until its last moment the trainer may ask them something: it is about to save.
        over = self.cancelled is not None or self.failure is not None or bool(self.jobs)
        if over and all(job.ended for job in self.jobs):
            self._end_services(now)
        self.failure = self.failure or self._find_failure(now)

    def _find_failure(self, now: float) -> Failure | None:
        """What went wrong first; None while nothing did."""
        for process in self.processes:
            if process.fault == CANCELLED and process.ended:
                return Failure(CANCELLED, self.cancelled or "", process.exit_code, process.signal)
        for job in self.jobs:
            if job.fault and job.ended:
                return self._failure_of(job)
        for service in self.services:
            if service.fault and service.fault != CANCELLED:
                role = service.spec["role"]
                return Failure(f"{role} {service.fault}", service.trouble, NEVER_HEALTHY, blame=role)
        for each in self.awaited if not self.begun else ():
            if now >= each.limit_at:
                reason = f"{each.role} not healthy within {each.limit} s"
                return Failure(reason, each.health.trouble, NEVER_HEALTHY, blame=each.role)
        return None

    def _failure_of(self, job: Job) -> Failure:
        """A trainer that gave up while a service was away most likely did so for that."""
        away = [service for service in self.services if not service.healthy] if not job.stopping else []
        blame, detail = (away[0].spec["role"], away[0].trouble) if away else (None, "")
        return Failure(job.reason, detail, job.exit_code, job.signal, blame)

    def _end_jobs(self, reason: str, now: float) -> None:
        for job in self.jobs:
            job.stop(reason, now)

    def _end_services(self, now: float) -> None:
        for service in self.services:
            if self.cancelled is not None:
                service.stop(CANCELLED, now)
            else:
                service.stop("no longer needed", now, state="Succeeded")

    def _trouble(self) -> str:
        """Why the trainer has not begun, in a few words."""
        own = [service.trouble for service in self.services if not service.healthy]
        return next(filter(None, [*own, *(each.health.trouble for each in self.awaited)]), "")

    def _heed_requests(self, now: float) -> None:
        """Start services anew that somebody asked for."""
        if not self.asked:
            return
        self.asked = False
        for path in self.folder.glob(f"{run_folder.RESTART}*"):
            path.unlink(missing_ok=True)
            for service in self.services:
                if path.name.removeprefix(run_folder.RESTART) in (service.name, service.spec["role"]):
                    service.restart(now)

    def _wait(self) -> None:
        """Sleep until a process, a signal, the leash, an answer or the clock asks for something."""
        asking = [service.health for service in self.services]
        asking += [each.health for each in self.awaited if not self.begun]
        dues = [process.due() for process in self.processes]
        if not self.begun:
            dues += [due for each in self.awaited for due in (each.health.due(), each.limit_at)]
        known = [due for due in dues if due is not None]
        timeout = max(min(known) - time.monotonic(), 0.0) if known else None
        sources = [self.wake] if self.leash is None else [self.wake, self.leash]
        readers = [each.fileno() for health in asking for each in health.reading]
        writers = [each.fileno() for health in asking for each in health.connecting]
        ready, _, _ = select.select([*sources, *readers], writers, [], timeout)
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
        signal.signal(signal.SIGUSR1, self._ask)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._cancel)
        return reader

    def _cancel(self, *_: object) -> None:
        self.cancelled = self.cancelled or ""

    def _ask(self, *_: object) -> None:
        self.asked = True


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
