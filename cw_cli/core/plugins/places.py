"""Where plugins lie: folders of the user's, and installed packages with an entry point in the group `cw.frameworks`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from cw_cli.core.plugins.notebook import Notebook

GROUP = "cw.frameworks"
FOLDERS = "CW_PLUGINS"
DISABLED = "CW_DISABLE_PLUGINS"
OUR_MODULES = "cw_cli."


class Place(NamedTuple):
    """Where one plugin lies."""

    name: str
    """The folder's, or the entry point's; the plugin may call itself something else."""
    path: str
    """The folder, or the site-packages folder of the package."""
    reference: str = ""
    """`module:function` of an entry point; empty for a folder."""
    distribution: str = ""
    """Name and version of the installed package."""

    def __str__(self) -> str:
        return f"{self.path} ({self.distribution})" if self.distribution else self.path

    @property
    def built_in(self) -> bool:
        """Whether it is one of cw's own frameworks."""
        return self.reference.startswith(OUR_MODULES)

    @property
    def source(self) -> Path | None:
        """The file that holds `get_plugin`, or is believed to; None where that is known only after an import."""
        if not self.reference:
            return Path(self.path) / "__init__.py"
        module = Path(self.path, *self.reference.partition(":")[0].split("."))
        return next((file for file in (module / "__init__.py", module.with_suffix(".py")) if file.is_file()), None)


class Asked(NamedTuple):
    """What the settings say about plugins."""

    folders: tuple[str, ...] = ()
    replace: tuple[str, ...] = ()
    """Built-in frameworks that a plugin of the same name may replace."""


def disabled() -> bool:
    """Whether the user wants to start without any plugin."""
    return os.environ.get(DISABLED, "") not in ("", "0")


def plugins_folder() -> Path:
    """Where `cw plugins install` puts plugins."""
    return Path.home() / ".cw-cli" / "plugins"


def places(notebook: Notebook, folders: Sequence[str] = ()) -> Iterator[Place]:
    """Every plugin that there is. `folders` are those of the settings; each is a plugin, or holds plugins."""
    seen: set[str] = set()
    known: set[tuple[str, str]] = set()
    named = [Path(text).expanduser() for text in os.environ.get(FOLDERS, "").split(os.pathsep) if text]
    asked = [*named, *(Path(text).expanduser() for text in folders)]
    for path in (*_folders_in(plugins_folder()), *(path for folder in asked for path in _plugins_in(folder))):
        if (real := os.path.realpath(path)) not in seen:
            seen.add(real)
            yield Place(path.name, str(path.absolute()))
    for item in dict.fromkeys(path or os.getcwd() for path in sys.path):
        for place in _packages(notebook, item):
            if (place.name, place.reference) not in known:
                known.add((place.name, place.reference))
                yield place


def _plugins_in(folder: Path) -> list[Path]:
    """The folder itself where it is a package, else the packages in it; without any the folder, to be reported."""
    if (folder / "__init__.py").is_file():
        return [folder]
    return [path for path in _folders_in(folder) if (path / "__init__.py").is_file()] or [folder]


def _folders_in(folder: Path) -> list[Path]:
    """Hidden ones and caches left out."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if entry.name[0] not in "._" and entry.is_dir())
    except OSError:
        return []
    return [folder / name for name in names]


def _packages(notebook: Notebook, folder: str) -> list[Place]:
    """The entry points of packages installed in one folder of `sys.path`.

    importlib.metadata would import a tenth of the standard library for this, and read every file of every package.
    """
    try:
        stamp = str(os.stat(folder).st_mtime_ns)
    except OSError:
        return []
    found = notebook.recall(f"packages in {folder}", stamp, lambda: list(_entry_points(folder)))
    return [Place(*row) for row in found]


def _entry_points(folder: str) -> Iterator[tuple[str, str, str, str]]:
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if entry.name.endswith((".dist-info", ".egg-info")))
    except OSError:
        return
    for name in names:
        try:
            text = Path(folder, name, "entry_points.txt").read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        if GROUP in text:
            distribution = " ".join(name.rpartition(".")[0].split("-")[:2])
            for entry, reference in _section(text):
                if not reference.startswith(OUR_MODULES):
                    yield entry, _home_of(folder, reference), reference, distribution


def _section(text: str) -> Iterator[tuple[str, str]]:
    """Names and values in the section of our group."""
    inside = False
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            inside = line == f"[{GROUP}]"
        elif inside and "=" in line and line[0] not in "#;":
            name, _, value = line.partition("=")
            yield name.strip(), value.partition("[")[0].replace(" ", "")


def _home_of(folder: str, reference: str) -> str:
    """The folder that holds the top-level package; another one than its metadata's for an editable installation."""
    top = reference.partition(":")[0].partition(".")[0]
    if Path(folder, top).exists() or Path(folder, f"{top}.py").exists():
        return folder
    from importlib.util import find_spec

    spec = find_spec(top)
    if spec is None or spec.origin is None:
        return folder
    origin = Path(spec.origin)
    return str(origin.parents[1] if spec.submodule_search_locations else origin.parent)
