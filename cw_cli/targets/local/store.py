"""Where this machine keeps its runs, and what is on record there: find, list, observe, delete."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cw_cli.core.exceptions import RunNotFoundError, TargetError
from cw_cli.targets.local import folder as run_folder

_RUN_NAME = re.compile(r"[A-Za-z0-9][-A-Za-z0-9_.]*")
LOST = "process lost"


@dataclass(frozen=True, slots=True)
class StoredRun:
    """One run folder and the identity that was written into it at its launch."""

    folder: Path
    unit: Mapping[str, Any]

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def processes(self) -> list[str]:
        """Their names, the trainer's first: `trainer`, `reward`, `reward-1`."""
        return [run_folder.process_name(role) for role in self.unit.get("roles", ())]

    @property
    def roles(self) -> list[str]:
        return list(dict.fromkeys(role["role"] for role in self.unit.get("roles", ())))

    @property
    def is_elsewhere(self) -> bool:
        """A home folder shared by machines holds runs that only their own machine can judge."""
        return bool(self.unit.get("host", host()) != host())

    def log(self, process: str) -> Path:
        return run_folder.log_path(self.folder, process)

    def status(self) -> dict[str, Any]:
        """The status as it is now: a run that lost its supervisor is settled by whoever looks first."""
        # The lock comes first: once it is free, nobody writes the status any more.
        alive = self.is_elsewhere or run_folder.is_held(self.folder)
        status = run_folder.read_json(self.folder / run_folder.STATUS)
        if alive or status.get("state") in run_folder.ENDED:
            return status
        return self._settle(status)

    def _settle(self, status: dict[str, Any]) -> dict[str, Any]:
        """Write down that the run is over though nobody saw how, after ending what is left of it."""
        for process in self.processes:
            run_folder.end_strays(self.log(process))
        ended = {"state": "Failed", "reason": LOST}
        roles = [{**role, **ended} for role in status.get("roles", ()) if role["state"] not in run_folder.ENDED]
        settled = {**status, **ended, "roles": roles, "finished": self._last_sign_of_life()}
        with contextlib.suppress(OSError):  # A full disk or a deleted folder: what is known can still be said.
            run_folder.write_json(self.folder / run_folder.STATUS, settled)
        return settled

    def _last_sign_of_life(self) -> str | None:
        times = []
        for path in (*map(self.log, self.processes), self.folder / run_folder.STATUS):
            with contextlib.suppress(OSError):
                times.append(path.stat().st_mtime)
        return datetime.fromtimestamp(max(times), UTC).isoformat() if times else None


class Store:
    """The run folders and volumes of one user, under the XDG folders of `environment`."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.root = _xdg(environment, "XDG_STATE_HOME", ".local/state") / "cw"
        self.runs = self.root / "runs"
        self.volumes = _xdg(environment, "XDG_DATA_HOME", ".local/share") / "cw" / "volumes"

    def folder(self, run: str) -> Path:
        return self.runs / run

    def names(self) -> list[str]:
        """Names of all runs, newest first."""
        try:
            entries = list(os.scandir(self.runs))
        except FileNotFoundError:
            return []
        created = {}
        for entry in entries:
            if _RUN_NAME.fullmatch(entry.name):
                with contextlib.suppress(OSError):  # Deleted at this moment, or no run at all.
                    created[entry.name] = os.stat(os.path.join(entry.path, run_folder.UNIT)).st_mtime_ns
        return sorted(created, key=created.__getitem__, reverse=True)

    def find(self, run: str) -> StoredRun:
        folder = self.folder(run)
        if not _RUN_NAME.fullmatch(run) or not (folder / run_folder.UNIT).is_file():
            raise RunNotFoundError(f"There is no run `{run}` on this machine.", "`cw list` shows the runs there are.")
        return StoredRun(folder, run_folder.read_json(folder / run_folder.UNIT))

    def with_services(self, run: str) -> StoredRun:
        """A live run whose services another may use; raises `TargetError` where there are none."""
        try:
            found = self.find(run)
        except RunNotFoundError:
            raise TargetError(
                f"There is no run `{run}` on this machine whose services could be used.",
                "`cw list` shows the runs there are; --services starts services alone.",
            ) from None
        if not found.unit.get("addresses"):
            raise TargetError(f"The run `{run}` has no services.", "Name one that was started with --services.")
        if found.is_elsewhere:
            raise TargetError(f"The services of `{run}` are on another machine, {found.unit['host']}.", "Train there.")
        if not run_folder.is_held(found.folder) or found.status().get("state") in run_folder.ENDED:
            raise TargetError(f"The services of the run `{run}` have ended.", f"Start them again: cw rerun {run}")
        return found

    def live(self) -> Iterator[StoredRun]:
        """Runs that have a process on this machine."""
        for name in self.names():
            if run_folder.is_held(self.folder(name)):
                with contextlib.suppress(RunNotFoundError):
                    run = self.find(name)
                    if not run.is_elsewhere:
                        yield run

    def taken_gpus(self) -> dict[str, str]:
        """The uuid of each GPU that a live run holds, and the run's name."""
        return {uuid: run.name for run in self.live() for role in run.unit.get("roles", ()) for uuid in role["gpu_ids"]}

    def taken_ports(self) -> set[int]:
        """Ports that a live run's services have, whether or not they listen at this moment."""
        return {port for run in self.live() for given in run.unit.get("addresses", {}).values() for port in given}

    def delete(self, run: StoredRun) -> None:
        """Remove the run folder; it is out of every listing before the first of its files goes."""
        doomed = self.runs / f".{run.name}.deleted"
        shutil.rmtree(doomed, ignore_errors=True)
        os.rename(run.folder, doomed)
        shutil.rmtree(doomed)

    @contextlib.contextmanager
    def launch_lock(self) -> Iterator[None]:
        """One launch at a time decides about names and GPUs."""
        self.runs.mkdir(parents=True, exist_ok=True)
        with (self.root / "launch.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def host() -> str:
    return os.uname().nodename


def _xdg(environment: Mapping[str, str], variable: str, default: str) -> Path:
    """The folder that the variable names; the standard has relative ones ignored."""
    value = environment.get(variable, "")
    return Path(value) if os.path.isabs(value) else Path(environment.get("HOME") or os.path.expanduser("~"), default)
