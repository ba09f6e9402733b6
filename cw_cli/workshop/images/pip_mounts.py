"""What pip on this machine is configured with, for a pip inside a build: indexes, folders of wheels, certificates."""

from __future__ import annotations

import ast
import configparser
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

MOUNTED = "/run/pip"
"""Where the build sees what pip needs; nothing of it stays in the image."""


def pip_mounts(written: Path) -> list[str]:
    """Flags of a builder that mount pip's configuration, written to `written`, and the folders and files that it
    names."""
    settings, mounts = configparser.RawConfigParser(), {written: "/etc/pip.conf"}
    for key, value in configured():
        section, _, name = key.rpartition(".")
        section = "global" if section == ":env:" else section
        if not settings.has_section(section):
            settings.add_section(section)
        settings.set(section, name, " ".join(_moved(word, mounts) for word in value.split()))
    with written.open("w", encoding="utf-8") as file:
        settings.write(file)
    return [flag for here, there in mounts.items() for flag in ("--volume", f"{here}:{there}:ro")]


def configured() -> Iterator[tuple[str, str]]:
    """What `pip config list` says, variables last: they have the last word for pip too. Nothing where there is no
    pip."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    for line in sorted(lines, key=lambda line: line.startswith(":env:")):
        key, _, value = line.partition("=")
        yield key, str(ast.literal_eval(value))


def _moved(word: str, mounts: dict[Path, str]) -> str:
    """The word as the build must read it: what names a file or a folder of this machine names its mount instead."""
    is_url = word.startswith("file://")
    path = Path(unquote(urlsplit(word).path) if is_url else word)
    if not path.is_absolute() or not path.exists():
        return word
    path = path.resolve()
    # The pages of an index name files beside its `simple` folder.
    root = path.parent if path.name == "simple" else path
    target = mounts.setdefault(root, f"{MOUNTED}/{len(mounts)}")
    there = target if root == path else f"{target}/{path.name}"
    return f"file://{there}" if is_url else there
