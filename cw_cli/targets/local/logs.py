"""Reading a role's log: lines from the end or as they come, and what its head and tail tell of the training."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from cw_cli.core.progress import PREFIX, Observed, observe

_BLOCK = 64 * 1024
_POLL = 0.1
_WINDOW = 32 * 1024
_WIDEST_WINDOW = 2 * 1024 * 1024


def read_lines(path: Path, *, tail: int | None, ended: Callable[[], bool] | None = None) -> Iterator[str]:
    """The lines of `path`, the last `tail` of them or all; with `ended`, also those to come until it says True."""
    with path.open("rb") as log:
        log.seek(0 if tail is None else _start_of_last(log, tail))
        rest = b""
        while True:
            # Asked before reading, so that whatever was written before the end is read.
            over = ended is None or ended()
            while block := log.read(_BLOCK):
                *lines, rest = (rest + block).split(b"\n")
                yield from map(_shown, lines)
                rest = _newest_of_bar(rest)
            if over:
                break
            time.sleep(_POLL)
        if rest:
            yield _shown(rest)


def observe_log(path: Path) -> tuple[Observed, list[str]]:
    """What the log tells of the training, and its last lines; of a big log only head and tail are read."""
    try:
        with path.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(0)
            if size <= 2 * _WINDOW:
                lines = _split(log.read())
                return observe(lines), lines
            head = observe(_split(log.read(_WINDOW)))
            lines = _tail(log, size)
    except FileNotFoundError:
        return Observed(), []
    return _joined(head, observe(lines, head)), lines


def _joined(head: Observed, whole: Observed) -> Observed:
    """Where the head ends before the first loss, the first one of the tail is not the training's first."""
    if whole.progress and (head.progress is None or head.progress.first_loss is None):
        first_loss = whole.outcome.first_loss if whole.outcome else None
        return whole._replace(progress=whole.progress._replace(first_loss=first_loss))
    return whole


def _tail(log: BinaryIO, size: int) -> list[str]:
    """The last lines, as many as it takes to find one of the trainer's machine-readable ones, within limits."""
    window = _WINDOW
    while True:
        log.seek(max(size - window, 0))
        # The first line is probably cut.
        lines = _split(log.read(window))[1:]
        if window >= min(size, _WIDEST_WINDOW) or any(PREFIX in line for line in lines):
            return lines
        window *= 8


def _split(data: bytes) -> list[str]:
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return [_shown(line) for line in lines]


def _shown(line: bytes) -> str:
    """A line as a terminal would leave it: of a progress bar's many versions the last."""
    return _newest_of_bar(line.rstrip(b"\r")).decode(errors="replace")


def _newest_of_bar(line: bytes) -> bytes:
    """Drop what a carriage return overwrote; one at the very end has not been overwritten yet."""
    start = line.rfind(b"\r", 0, len(line) - 1) + 1
    return line[start:]


def _start_of_last(log: BinaryIO, count: int) -> int:
    """Where the last `count` lines begin. A line that is still being written counts, and is never begun half-way."""
    size = position = log.seek(0, os.SEEK_END)
    if size == 0:
        return 0
    log.seek(size - 1)
    wanted = count + 1 if log.read(1) == b"\n" else max(count, 1)
    while position > 0:
        start = max(position - _BLOCK, 0)
        log.seek(start)
        block = log.read(position - start)
        newlines = block.count(b"\n")
        if newlines >= wanted:
            end = len(block)
            for _ in range(wanted):
                end = block.rfind(b"\n", 0, end)
            return start + end + 1
        wanted -= newlines
        position = start
    return 0
