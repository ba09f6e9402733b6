"""What `cw doctor` has to say: one sentence for each thing it looked at."""

from __future__ import annotations

from typing import Literal, NamedTuple

Level = Literal["ok", "warning", "problem", "skipped"]


class Finding(NamedTuple):
    """One check and what came of it. Only a problem would stop a run; what was skipped could not be seen."""

    check: str
    level: Level
    sentence: str
    remedy: str = ""


def ok(check: str, sentence: str) -> Finding:
    return Finding(check, "ok", sentence)


def warning(check: str, sentence: str, remedy: str) -> Finding:
    return Finding(check, "warning", sentence, remedy)


def problem(check: str, sentence: str, remedy: str) -> Finding:
    return Finding(check, "problem", sentence, remedy)


def skipped(check: str, sentence: str, remedy: str = "") -> Finding:
    return Finding(check, "skipped", sentence, remedy)
