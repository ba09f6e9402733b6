"""Paths: where the settings lie, and what a config means by a path: beside it first, then from the current folder."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from cw_cli.core.shipped import shipped

if TYPE_CHECKING:
    from cw_cli.core.config import Config
    from cw_cli.core.problems import KeyPath, Problem

SHIPPED = "cw://"
"""`cw://quickstart/model` is the folder `quickstart/model` of the examples that ship with cw."""

SUFFIXES = (
    *(".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".arrow", ".txt", ".gz", ".zst", ".zip"),
    *(".yaml", ".yml", ".jinja", ".j2"),
)
"""What ends like this is the name of a file, not of something on the Hub."""


def looks_local(value: str) -> bool:
    """Whether `value` can only mean a file or folder: `./x`, `../x`, `/x`, `~/x`, `cw://x` or `x.jsonl`."""
    if value.startswith(SHIPPED):
        return True
    if "://" in value:
        return False
    return value in (".", "..", "~") or value.startswith(("./", "../", "/", "~/")) or _suffix(value) in SUFFIXES


def local_path(value: str, folder: Path) -> Path | None:
    """The file or folder that `value` names, or None where there is none; `folder` is where the config lies."""
    candidates = [] if not value or "\0" in value else _candidates(value, folder)
    for path in candidates:
        try:
            if path.exists():
                return path
        except OSError:  # a name that the file system cannot hold is no path
            continue
    return None


def missing(config: Config, path: KeyPath, value: str) -> Problem:
    """The problem of a path that is not there; an absolute one may be there in the image or on a volume."""
    name = ".".join(str(part) for part in path)
    if value.startswith("/"):
        message = f"{name}: {value} is not on this machine"
        return config.problem(path, message, "make sure that the image or a volume has it", warning=True)
    message = f"{name}: there is no {value}"
    return config.problem(path, message, "write the path from the folder of the config file")


def settings_path() -> Path:
    """`$CW_SETTINGS`, or `cw/settings.yaml` in the user's configuration folder (XDG)."""
    if explicit := os.environ.get("CW_SETTINGS"):
        return Path(explicit)
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "cw" / "settings.yaml"


def _candidates(value: str, folder: Path) -> list[Path]:
    if value.startswith(SHIPPED):
        inside = PurePosixPath(value.removeprefix(SHIPPED))
        # Examples only: nothing outside the folder that ships.
        return [] if inside.is_absolute() or ".." in inside.parts else [shipped("examples") / inside]
    if "://" in value:
        return []
    path = Path(os.path.expanduser(value))
    return [path] if path.is_absolute() else [folder / path, path]


def _suffix(value: str) -> str:
    return PurePosixPath(value).suffix.lower()
