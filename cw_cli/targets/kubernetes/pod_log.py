"""The log of one container, line by line: none is lost, doubled or split when the connection breaks."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from cw_cli.targets.kubernetes.connection import Connection
from cw_cli.targets.kubernetes.pods import Pod, phase, terminated, trainer_status
from cw_cli.targets.kubernetes.refusals import ApiError

QUIET_SECONDS = 120.0
"""A followed log that is silent for so long is asked for again: its connection may be dead."""
PATIENCE_SECONDS = 300.0
"""How long the server may be away while a log is followed."""
PAUSE_SECONDS = 1.0
SETTLE_SECONDS = 0.2
"""A pod's state lags a little behind the end of its log."""
_WHOLE_SECONDS = len("2026-01-31T12:00:00")


class Line(NamedTuple):
    """A line of a log and when it was written, as the server says it."""

    stamp: str
    text: str


class _Place:
    """How far a log was read: `sinceTime` knows whole seconds, so lines of the last one come again and are skipped."""

    def __init__(self) -> None:
        self.newest = ""
        self.in_second = 0

    def query(self) -> dict[str, str]:
        """Where to go on. The stamp's zone is kept, its fraction is not."""
        if not self.newest:
            return {}
        return {"sinceTime": self.newest[:_WHOLE_SECONDS] + self.newest[_WHOLE_SECONDS:].lstrip(".0123456789")}

    def new(self, lines: Iterator[Line]) -> Iterator[Line]:
        """Those of `lines` that were not read before."""
        known, newest = self.in_second, self.newest
        for line in lines:
            # Two streams of one container can be a moment out of order, so lines are counted; and where the log was
            # rotated fewer come again than were read, so a newer stamp ends the skipping.
            if known and line.stamp <= newest:
                known -= 1
                continue
            known = 0
            self._note(line.stamp)
            yield line

    def _note(self, stamp: str) -> None:
        if stamp[:_WHOLE_SECONDS] > self.newest[:_WHOLE_SECONDS]:
            self.newest, self.in_second = stamp, 1
        elif stamp[:_WHOLE_SECONDS] == self.newest[:_WHOLE_SECONDS]:
            self.newest, self.in_second = max(stamp, self.newest), self.in_second + 1


def read_pod(connection: Connection, pod: Pod, *, follow: bool, tail: int | None = None) -> Iterator[Line]:
    """The lines of the pod's trainer, of earlier starts of its container too where they are kept; with `follow`,
    until it has ended. Nothing when the log is gone."""
    name = pod["metadata"]["name"]
    container = pod["spec"]["containers"][0]["name"]
    if tail is None and trainer_status(pod).get("restartCount"):
        yield from _kept(_lines(connection, name, {"container": container, "previous": "true"}, whole=True))
    place, away_since = _Place(), None
    while True:
        # Asked before reading, so that what was written before the end is read.
        over = not follow or _ended(connection, name)
        query = {"container": container, **place.query(), **({} if over else {"follow": "true"})}
        if tail is not None and not place.newest:
            query["tailLines"] = str(tail)
        try:
            for line in place.new(_lines(connection, name, query, whole=over)):
                away_since = None
                yield line
        except ApiError as error:
            away_since = away_since or time.monotonic()
            if error.status in (400, 404):
                return
            if (over and not follow) or not _passing(error) or time.monotonic() - away_since > PATIENCE_SECONDS:
                raise
            time.sleep(PAUSE_SECONDS)
            continue
        if over:
            return
        time.sleep(SETTLE_SECONDS)


def _passing(error: ApiError) -> bool:
    return error.passing or error.reason in ("broken", "timeout", "unreachable")


def _ended(connection: Connection, name: str) -> bool:
    """Whether the container has written its last line."""
    try:
        pod = connection.get("Pod", name)
    except ApiError as error:
        if not _passing(error):
            raise
        return False
    if pod is None or phase(pod) in ("Succeeded", "Failed"):
        return True
    return bool(terminated(pod)) and pod["spec"].get("restartPolicy") == "Never"


def _kept(lines: Iterator[Line]) -> Iterator[Line]:
    """The lines of a log that may be gone."""
    try:
        yield from lines
    except ApiError as error:
        if error.status not in (400, 404):
            raise


def _lines(connection: Connection, pod: str, query: Mapping[str, str], *, whole: bool) -> Iterator[Line]:
    """Lines as they come. What follows the last line end is a line only of a log that is `whole`."""
    rest = b""
    for chunk in connection.stream(
        connection.path("Pod", pod, "log"), {**query, "timestamps": "true"}, quiet=QUIET_SECONDS
    ):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield _line(line)
    if rest and whole:
        yield _line(rest)


def _line(data: bytes) -> Line:
    """A line as a terminal would leave it: of a progress bar's many versions the last."""
    stamp, _, text = data.partition(b" ")
    text = text.rstrip(b"\r")
    return Line(stamp.decode("ascii", "replace"), text[text.rfind(b"\r") + 1 :].decode("utf-8", "replace"))
