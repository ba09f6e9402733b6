"""A plugin loaded in a process of its own, so that whatever it does there (hangs, prints, ends Python) stays there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

from cw_cli.core.plugins.places import Place
from cw_cli.core.plugins.words import Words

PATIENCE = 30.0
"""Seconds that all plugins together may take."""
SLOW = 1.0
"""Seconds from which on a plugin is called slow: each of its commands waits that long before it begins."""


class Answer(NamedTuple):
    """What a plugin says once it is loaded, or why it cannot be."""

    words: Words | None = None
    framework: str = ""
    """Name of the framework's class."""
    seconds: float = 0.0
    prints: bool = False
    error: str = ""
    hint: str = ""


def ask(places: Sequence[Place]) -> list[Answer]:
    """Load each of the plugins, all at the same time."""
    command = [sys.executable, "-m", "cw_cli.workshop.probe"]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    started = [subprocess.Popen([*command, json.dumps(place)], text=True, **pipes) for place in places]  # type: ignore[call-overload]
    until = time.monotonic() + PATIENCE
    return [_answer(place, process, until) for place, process in zip(places, started, strict=True)]


def _answer(place: Place, process: subprocess.Popen[str], until: float) -> Answer:
    try:
        out, err = process.communicate(timeout=max(until - time.monotonic(), 0.1))
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return Answer(error=f"the plugin in {place} was still loading after {PATIENCE:.0f} s", hint=_LATER)
    try:
        said = json.loads(out)
    except ValueError:
        last = err.strip().splitlines()[-1:]
        ended = f"ended Python with exit code {process.returncode} while it was loading"
        return Answer(error=f"the plugin in {place} {ended}{': ' + last[0] if last else ''}", hint=_LATER)
    if words := said.pop("words"):
        name, version, description, types, _ = words
        return Answer(Words(name, version, description, tuple(types)), prints=bool(err.strip()), **said)
    return Answer(prints=bool(err.strip()), **said)


_LATER = "Put what takes time or may fail into the functions that need it."


def main() -> None:
    """In the process of its own: load, and tell on what was stdout; everything else that is printed goes to stderr."""
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    from cw_cli.core.exceptions import PluginError
    from cw_cli.core.plugins.load import load

    began = time.perf_counter()
    try:
        loaded = load(Place(*json.loads(sys.argv[1])))
    except PluginError as error:
        said = {"words": None, "error": error.message, "hint": error.hint}
    else:
        kind = type(loaded.framework).__name__
        said = {"words": loaded.words, "framework": kind, "seconds": time.perf_counter() - began}  # type: ignore[dict-item]
    with answer:
        json.dump(said, answer)


if __name__ == "__main__":
    main()
