"""A run's log: the lines of its pods, attempt after attempt, those of several nodes beside each other."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator, Sequence
from heapq import merge
from itertools import chain
from typing import Any

from cw_cli.core.exceptions import TargetError
from cw_cli.core.names import ROLE, RUN, selector
from cw_cli.core.roles import TRAINER
from cw_cli.targets.kubernetes.connection import Connection
from cw_cli.targets.kubernetes.observe import job_state
from cw_cli.targets.kubernetes.pod_log import Line, read_pod
from cw_cli.targets.kubernetes.pods import Pod, has_log, index
from cw_cli.targets.kubernetes.refusals import ApiError
from cw_cli.targets.kubernetes.services import deployments_of

TAIL_LINES = 400
"""Enough to find the trainer's last progress and its last words."""
POLL_SECONDS = 1.0
LOOK_SECONDS = 5.0
"""Between two looks for pods that came later, while others are read."""
WAITING_LINES = 10_000


def tail_of(connection: Connection, pod: str, lines: int = TAIL_LINES, *, container: str | None = None) -> list[str]:
    """The last lines of a pod's container, its only one if it is not named; none when the log is gone."""
    path = connection.path("Pod", pod, "log")
    query = {"tailLines": str(lines), **({"container": container} if container else {})}
    try:
        data = b"".join(connection.stream(path, query, quiet=20.0))
    except ApiError as error:
        if error.status in (400, 404):
            return []
        raise
    return [line[line.rfind("\r", 0, -1) + 1 :].rstrip("\r") for line in data.decode("utf-8", "replace").split("\n")]


def read_logs(connection: Connection, run: str, *, role: str | None, follow: bool, tail: int | None) -> Iterator[str]:
    """The log of the run's pods, the oldest attempt first; with `follow`, of those that are still to come as well.

    Raises `TargetError` when there is nothing to read and nothing will come.
    """
    lines = _followed(connection, run, role, tail) if follow else _read(connection, run, role, tail)
    first = next(lines, None)
    if first is not None:
        yield first
        yield from lines
    elif not any(map(has_log, _pods(connection, run, role))):
        raise _no_log(connection, run, role)


def _no_log(connection: Connection, run: str, role: str | None) -> TargetError:
    job = connection.get("Job", run)
    if job is not None and role not in (None, TRAINER, *_roles(connection, run)):
        return TargetError(f"{run} has no role {role}", f"It has {', '.join(_roles(connection, run)) or 'no pod'}.")
    if job is None:
        message = f"the log of {run} is gone: its Job and pods were deleted"
        return TargetError(message, f"cw describe {run} shows what is left.")
    if job_state(job)[0].ended:
        return TargetError(f"{run} left no log: its pod never started, or was deleted", f"cw why {run} says more.")
    return TargetError(f"{run} has written nothing yet: it has not started", f"cw why {run} says what it waits for.")


def _roles(connection: Connection, run: str) -> list[str]:
    return sorted({str(pod["metadata"]["labels"].get(ROLE, "")) for pod in _pods(connection, run, None)})


def _pods(connection: Connection, run: str, role: str | None) -> list[dict[str, Any]]:
    """The run's pods, the oldest first."""
    pods = connection.list("Pod", labels=selector({RUN: run, **({ROLE: role} if role else {})}))
    return sorted(pods, key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]))


def _stream(pod: Pod) -> str:
    """What goes on from pod to pod: one node of the trainer. Each pod of a service is one of its own."""
    role, number = str(pod["metadata"]["labels"].get(ROLE, "")), index(pod)
    if role == TRAINER:
        return role if number is None else f"{role}-{number}"
    return f"{role}-{pod['metadata']['name'].rpartition('-')[2]}"


def _read(connection: Connection, run: str, role: str | None, tail: int | None) -> Iterator[str]:
    """What is there: attempts one after the other, nodes side by side in the order of their times."""
    streams: dict[str, list[Pod]] = {}
    for pod in filter(has_log, _pods(connection, run, role)):
        streams.setdefault(_stream(pod), []).append(pod)
    several = len(streams) > 1

    def stream(name: str, pods: Sequence[Pod]) -> Iterator[Line]:
        lines = _attempts(connection, pods) if tail is None else _last(connection, pods, tail)
        return (_prefixed(line, name) for line in lines) if several else lines

    found = [stream(name, pods) for name, pods in sorted(streams.items())]
    for line in merge(*found, key=lambda line: line.stamp):
        yield line.text


def _attempts(connection: Connection, pods: Sequence[Pod]) -> Iterator[Line]:
    """All attempts of one node, the oldest first."""
    stamp = ""
    for number, pod in enumerate(pods, 1):
        if number > 1:
            yield Line(stamp, _heading(number, pod))
        for line in read_pod(connection, pod, follow=False):
            stamp = line.stamp
            yield line


def _last(connection: Connection, pods: Sequence[Pod], count: int) -> Iterator[Line]:
    """The last lines of one node, from as many attempts as it takes."""
    found: list[list[Line]] = []
    for pod in reversed(pods):
        missing = count - sum(map(len, found))
        if missing <= 0:
            break
        found.append(list(read_pod(connection, pod, follow=False, tail=missing)))
    return chain(*reversed(found))


def _prefixed(line: Line, stream: str) -> Line:
    return Line(line.stamp, f"[{stream}] {line.text}")


def _heading(attempt: int, pod: Pod) -> str:
    return f"cw: attempt {attempt} ({pod['metadata']['name']})"


def _followed(connection: Connection, run: str, role: str | None, tail: int | None) -> Iterator[str]:
    """Everything until the run has ended and all of it was read."""
    if _nodes(connection, run) > 1 or role != TRAINER:
        return _Followed(connection, run, role, tail).lines()
    return _followed_alone(connection, run, role, tail)


def _nodes(connection: Connection, run: str) -> int:
    job = connection.get("Job", run)
    return int(job["spec"].get("parallelism") or 1) if job else 1


def _over(connection: Connection, run: str) -> bool:
    job = connection.get("Job", run)
    return job_state(job)[0].ended if job else not deployments_of(connection, run)


def _followed_alone(connection: Connection, run: str, role: str | None, tail: int | None) -> Iterator[str]:
    """The pods of a run of one node, one after the other."""
    seen: set[str] = set()
    while True:
        over = _over(connection, run)
        pods = _pods(connection, run, role)
        for number, pod in enumerate(pods, 1):
            name = pod["metadata"]["name"]
            if name in seen or not has_log(pod):
                continue
            if tail is not None and not seen and any(map(has_log, pods[number:])):
                continue  # the last lines are the newest attempt's
            seen.add(name)
            if (number > 1 and tail is None) or len(seen) > 1:
                yield _heading(number, pod)
            for line in read_pod(connection, pod, follow=True, tail=tail if len(seen) == 1 else None):
                yield line.text
        if over:
            return
        time.sleep(POLL_SECONDS)


class _Followed:
    """Several pods at a time, each read by a thread of its own; a slow reader slows them down and loses nothing."""

    def __init__(self, connection: Connection, run: str, role: str | None, tail: int | None) -> None:
        self.connection, self.run, self.role, self.tail = connection, run, role, tail
        self.waiting: queue.Queue[str | ApiError | None] = queue.Queue(WAITING_LINES)
        """Lines, an error, and None where a pod's log is at its end."""
        self.begun: set[str] = set()
        self.reading = 0

    def lines(self) -> Iterator[str]:
        while True:
            over = _over(self.connection, self.run)
            self._begin()
            if over and not self.reading:
                return
            yield from self._next_lines()

    def _begin(self) -> None:
        """Read the pods that are new."""
        for pod in filter(has_log, _pods(self.connection, self.run, self.role)):
            name = pod["metadata"]["name"]
            if name not in self.begun:
                self.begun.add(name)
                self.reading += 1
                threading.Thread(target=self._read, args=(pod,), daemon=True).start()

    def _next_lines(self) -> Iterator[str]:
        """What comes before it is time to look for new pods, or until all have ended."""
        until = time.monotonic() + (LOOK_SECONDS if self.reading else POLL_SECONDS)
        while (left := until - time.monotonic()) > 0:
            try:
                item = self.waiting.get(timeout=left)
            except queue.Empty:
                return
            if isinstance(item, ApiError):
                raise item
            if item is not None:
                yield item
                continue
            self.reading -= 1
            if not self.reading:
                return

    def _read(self, pod: Pod) -> None:
        prefix = f"[{_stream(pod)}] "
        try:
            for line in read_pod(self.connection, pod, follow=True, tail=self.tail):
                self.waiting.put(prefix + line.text)
            self.waiting.put(None)
        except ApiError as error:
            self.waiting.put(error)
