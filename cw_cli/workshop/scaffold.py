"""A new plugin that works: the example `plugin-new` under another name."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from cw_cli.core.exceptions import UsageError
from cw_cli.core.plugins.words import NAME
from cw_cli.core.shipped import shipped

_MODEL = ("my-trainer", "my_trainer", "MyTrainer")
"""The example's name as a command, as a module and as a class."""


def new_plugin(name: str, parent: Path) -> Path:
    """Write a plugin called `name` into a folder of that name in `parent`; raises `UsageError`."""
    if not NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot be the name of a plugin", "Use small letters, digits and dashes: my-trainer."
        )
    folder = parent / name.replace("-", "_")
    if folder.exists():
        raise UsageError(f"{folder} is there already", "Choose another name, or another folder.")
    words = dict(zip(_MODEL, (name, folder.name, _class_name(name)), strict=True))
    model = shipped("examples") / "plugin-new" / _MODEL[1]
    for source in sorted(model.rglob("*")):
        if source.is_file() and "__pycache__" not in source.parts and source.suffix != ".pyc":
            target = folder / _renamed(source.relative_to(model).as_posix(), words)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(_renamed(source.read_text("utf-8"), words), "utf-8")
            shutil.copymode(source, target)
    return folder


def _class_name(name: str) -> str:
    return "".join(part.capitalize() for part in re.split("[-_]", name))


def _renamed(text: str, words: dict[str, str]) -> str:
    pattern = re.compile("|".join(map(re.escape, words)))
    return pattern.sub(lambda match: words[match[0]], text)
