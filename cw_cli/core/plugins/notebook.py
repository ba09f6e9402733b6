"""What was found out about plugins and stays true until a file changes, so that starting stays fast."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

_MANY = 500


class Notebook:
    """Plain JSON values, each with the stamp of the files that it was read from.

    It only saves time: without it, or when it cannot be written, everything is found out again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._notes = _read(path)
        self._used: set[str] = set()
        self._changed = False

    def recall(self, key: str, stamp: str, find: Callable[[], Any]) -> Any:
        """What was noted under `key` with the same stamp, or else what `find` finds now."""
        self._used.add(key)
        if (note := self._notes.get(key)) is None or note[0] != stamp:
            self.note(key, stamp, find())
        return self._notes[key][1]

    def note(self, key: str, stamp: str, value: Any) -> None:
        """Keep `value` under `key` as long as the stamp is the same."""
        if self._notes.get(key) != [stamp, value]:
            self._notes[key] = [stamp, value]
            self._changed = True

    def close(self) -> None:
        """Write down what is new."""
        if not self._changed:
            return
        self._changed = False
        unfinished = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            unfinished.write_text(json.dumps(self._kept()), "utf-8")
            unfinished.replace(self.path)
        except OSError:
            return

    def _kept(self) -> dict[str, list[Any]]:
        """All notes, or those of this time once there are many: what they are about is gone, mostly."""
        if len(self._notes) <= _MANY:
            return self._notes
        return {key: note for key, note in self._notes.items() if key in self._used}


def open_notebook() -> Notebook:
    """The user's, in the cache folder (XDG)."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Notebook(Path(cache) / "cw" / "plugins.json")


def stamp_of(*paths: Path) -> str:
    """What changes when one of the files does: size and time of the last change of each."""
    return " ".join(_stamp(path) for path in paths)


def _stamp(path: Path) -> str:
    try:
        found = path.stat()
    except OSError:
        return "-"
    return f"{found.st_mtime_ns}:{found.st_size}"


def _read(path: Path) -> dict[str, list[Any]]:
    try:
        notes = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(notes, dict):
        return {}
    return {key: note for key, note in notes.items() if isinstance(note, list) and len(note) == 2}
