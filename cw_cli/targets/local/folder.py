"""What is inside a run folder and how it is touched: file names, atomic writes, the lock that proves life, and the
processes that belong to it. Standard library only: the supervisor lives on it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

UNIT = "unit.json"
"""What was started, and the run's identity; never rewritten."""
STATUS = "status.json"
"""How the run is; written by its supervisor."""
RECORD = "record.json"
OBJECTS = "objects.json"
ALIVE = "alive"
SUPERVISOR_LOG = "supervisor.log"

LOG_VARIABLE = "CW_LOG"
"""Tells a process of a run where its output goes, and cw whose process it is."""

ATTEMPT = "cw: attempt "
"""How the line begins that parts two attempts in a log."""

RESTART = "restart-"
"""How the name of an empty file begins that asks for a service to be started anew; its role or process follows."""

ENDED = ("Succeeded", "Failed")


def process_name(spec: Mapping[str, Any]) -> str:
    """What the process of a role is called: `reward`, and `reward-1` for its second replica."""
    replica = spec.get("replica", 0)
    return f"{spec['role']}-{replica}" if replica else str(spec["role"])


def log_path(folder: Path, process: str) -> Path:
    return folder / f"{process}.log"


def write_json(path: Path, data: object) -> None:
    """Replace `path` in one step, so that a reader sees the old content or the new and nothing between."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_text(json.dumps(data, indent=1, ensure_ascii=False), encoding="utf-8")
        os.replace(draft, path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise


def read_json(path: Path) -> dict[str, Any]:
    """The object in `path`; empty where there is none or it cannot be read as JSON."""
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def hold(folder: Path) -> int:
    """Take the folder's lock; it is held until every copy of the returned descriptor is closed."""
    descriptor = os.open(folder / ALIVE, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def is_held(folder: Path) -> bool:
    """Whether a supervisor (or the launch that is starting it) lives. Free of process ids, which are used again."""
    try:
        # Opened for writing because NFS refuses locks on files that were not.
        descriptor = os.open(folder / ALIVE, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def wait_until_free(folder: Path, limit: float) -> bool:
    """Wait for the folder's supervisor to be gone; False when `limit` seconds were not enough."""
    return wait_until(lambda: not is_held(folder), limit)


def wait_until(holds: Callable[[], bool], limit: float) -> bool:
    """Wait for something; False when `limit` seconds were not enough."""
    end = time.monotonic() + limit
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def end_strays(log: Path) -> None:
    """Kill every process that still belongs to the role that writes `log`, wherever it moved itself.

    A process group is not enough: torchrun gives each worker a session of its own.
    """
    end = time.monotonic() + 5.0
    while time.monotonic() < end:
        strays = list(_processes_of(log))
        if not strays:
            return
        for pid in strays:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def _processes_of(log: Path) -> Iterator[int]:
    """Processes whose standard output or error is `log`, or that were started with its path in their environment.

    Linux only; elsewhere none are found.
    """
    outputs = {str(log), os.path.realpath(log)}
    mark = f"\0{LOG_VARIABLE}={log}\0".encode(errors="surrogateescape")
    for entry in Path("/proc").glob("[0-9]*"):
        pid = int(entry.name)
        if pid == os.getpid():
            continue
        # Somebody else's process is closed to us, a finished one is gone: neither is ours.
        with contextlib.suppress(OSError):
            if mark in b"\0" + (entry / "environ").read_bytes() or outputs & set(_outputs(entry)):
                yield pid


def _outputs(process: Path) -> Iterator[str]:
    for stream in ("1", "2"):
        with contextlib.suppress(OSError):
            yield os.readlink(process / "fd" / stream)
