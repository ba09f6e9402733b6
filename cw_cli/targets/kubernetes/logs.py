"""A run's log: the lines of its pods, attempt after attempt, followed without losing or splitting any."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from cw_cli.core.names import ROLE, RUN, selector
from cw_cli.targets.kubernetes.connection import ApiError, Connection
from cw_cli.targets.kubernetes.observe import job_state

TAIL_LINES = 400
"""Enough to find the trainer's last progress and its last words."""
POLL_SECONDS = 1.0


def tail_of(connection: Connection, pod: str, lines: int = TAIL_LINES) -> list[str]:
    """The pod's last lines; none when its log is gone."""
    try:
        return [line for line, _ in _lines(connection, pod, {"tailLines": str(lines)})]
    except ApiError as error:
        if error.status in (400, 404):
            return []
        raise


def read_logs(connection: Connection, run: str, *, role: str | None, follow: bool, tail: int | None) -> Iterator[str]:
    """The log of the run's pods, the oldest first; with `follow`, of those that are still to come as well."""
    seen: set[str] = set()
    while True:
        pods = sorted(_pods(connection, run, role), key=lambda pod: pod["metadata"]["creationTimestamp"])
        for pod in pods:
            name = pod["metadata"]["name"]
            if name in seen or not _has_log(pod):
                continue
            seen.add(name)
            if len(pods) > 1:
                yield f"--- {name} ---"
            yield from _pod_lines(connection, name, follow, tail)
        if not follow or _over(connection, run):
            return
        time.sleep(POLL_SECONDS)


def _pods(connection: Connection, run: str, role: str | None) -> Iterator[dict[str, Any]]:
    return connection.list("Pod", labels=selector({RUN: run, **({ROLE: role} if role else {})}))


def _has_log(pod: Mapping[str, Any]) -> bool:
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    return any("running" in (item.get("state") or {}) or "terminated" in (item.get("state") or {}) for item in statuses)


def _over(connection: Connection, run: str) -> bool:
    job = connection.get("Job", run)
    return job is None or job_state(job)[0].ended


def _pod_lines(connection: Connection, pod: str, follow: bool, tail: int | None) -> Iterator[str]:
    """The pod's lines; a connection that breaks is opened again where it broke."""
    since: str | None = None
    while True:
        query = {"timestamps": "true", **({"follow": "true"} if follow else {})}
        if since is not None:
            query["sinceTime"] = since[:19] + "Z"
        elif tail is not None:
            query["tailLines"] = str(tail)
        try:
            for line, stamp in _lines(connection, pod, query, stamped=True):
                # `sinceTime` knows whole seconds: what was read in the last one comes again.
                if since is None or stamp > since:
                    since = stamp
                    yield line
            return
        except ApiError as error:
            if error.status in (400, 404):
                return
            if not follow or error.reason != "broken":
                raise
            time.sleep(POLL_SECONDS)


def _lines(
    connection: Connection, pod: str, query: Mapping[str, str], *, stamped: bool = False
) -> Iterator[tuple[str, str]]:
    """Lines and their times."""
    rest = b""
    for chunk in connection.stream(connection.path("Pod", pod, "log"), query):
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield _split(line, stamped)
    if rest:
        yield _split(rest, stamped)


def _split(line: bytes, stamped: bool) -> tuple[str, str]:
    text = line.decode("utf-8", "replace").rstrip("\r")
    if not stamped:
        return text, ""
    stamp, _, rest = text.partition(" ")
    return rest, stamp
