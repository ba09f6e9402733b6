"""Folders of plugins into the user's plugins folder, and out of it."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Collection
from pathlib import Path

from cw_cli.core.exceptions import PluginError, UsageError
from cw_cli.core.plugins.places import Place, plugins_folder
from cw_cli.core.registry import FrameworkRegistry
from cw_cli.workshop.listing import place_of
from cw_cli.workshop.probe import ask

_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_LEFT_OUT = shutil.ignore_patterns("__pycache__", ".git", "*.pyc", ".pytest_cache")


def install(source: str, verbs: Collection[str], *, replace: bool = False) -> tuple[str, Path]:
    """Copy the plugin of a folder, an archive or a git repository to where cw finds it; its name, and the new folder.

    Nothing is left when it cannot be loaded, or when its name is taken, unless by an older copy that may be replaced.
    Raises `PluginError`, or `UsageError` for a source that is none.
    """
    home = plugins_folder()
    home.mkdir(parents=True, exist_ok=True, mode=0o755)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=home) as scratch:
        folder = _plugin_in(_fetched(source, Path(scratch)), source)
        closed = Path(scratch, "closed", folder.name)
        shutil.copytree(folder, closed, ignore=_LEFT_OUT)
        _close(closed)
        (answer,) = ask([Place(folder.name, str(closed))])
        if answer.words is None or answer.words.name is None:
            raise PluginError(answer.error.replace(str(closed), str(folder)), "Nothing was installed.")
        name = answer.words.name
        target = home / name.replace("-", "_")
        _require_free(name, target, verbs, replace)
        old = Path(scratch, "old")
        if target.exists():
            target.rename(old)
        closed.rename(target)
    return name, target


def _fetched(source: str, scratch: Path) -> Path:
    path = Path(source).expanduser()
    if path.is_dir():
        return path.resolve()
    unpacked = scratch / "source"
    if path.is_file() and path.name.endswith(_ARCHIVES):
        try:
            if path.suffix == ".zip":
                shutil.unpack_archive(path, unpacked)
            else:
                shutil.unpack_archive(path, unpacked, filter="data")
        except (shutil.ReadError, OSError, ValueError) as error:
            raise UsageError(f"{source} cannot be unpacked: {error}", "Name a .zip or .tar.gz file.") from None
        return unpacked
    if "://" in source or source.startswith("git@") or source.endswith(".git"):
        _clone(source.removeprefix("git+"), unpacked)
        return unpacked
    hint = (
        "Name a folder, a .zip or .tar.gz file, or a git repository. A package is installed with pip, and then found."
    )
    raise UsageError(f"there is no {source}", hint)


def _clone(repository: str, target: Path) -> None:
    command = ["git", "clone", "--quiet", "--depth", "1", "--", repository, str(target)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        raise UsageError("git is not on this machine", "Install it, or name a folder or an archive.") from None
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["git says nothing"])[-1]
        raise PluginError(f"{repository} cannot be cloned: {said}", "Check its address and your rights to it.")


def _plugin_in(folder: Path, source: str) -> Path:
    """The folder itself, or the only one in it that is a Python package."""
    if (folder / "__init__.py").is_file():
        return folder
    inner = [path.parent for path in sorted(folder.glob("*/__init__.py")) if path.parent.name != "tests"]
    if len(inner) == 1:
        return inner[0]
    what = f"{len(inner)} packages" if inner else "no package"
    raise PluginError(f"{source} holds {what}", "Name the folder of the plugin, the one with its __init__.py.")


def _close(folder: Path) -> None:
    """Let nobody else write to it."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(stat.S_IMODE(path.stat().st_mode) & ~(stat.S_IWGRP | stat.S_IWOTH) | stat.S_IWUSR)


def _require_free(name: str, target: Path, verbs: Collection[str], replace: bool) -> None:
    registry = FrameworkRegistry()
    others = [item.place for item in registry.plugins if item.command == name and Path(item.place.path) != target]
    if name in verbs:
        raise PluginError(f"cw {name} is a command of cw itself", "Give the plugin another name.")
    if name in registry.names() and not others and not target.exists() and not registry.replaces(name):
        raise PluginError(f"{name} is built in", f"Write `plugins: {{replace: [{name}]}}` into the settings first.")
    if others:
        raise PluginError(f"there is a plugin {name} already, in {others[0]}", "Remove that one first.")
    if target.exists() and not replace:
        raise PluginError(f"{target} is there already", f"Add --replace, or remove it: cw plugins remove {name}")


def remove(name: str) -> Path:
    """Delete the plugin's folder and return it; raises `PluginError` for one that cw did not install."""
    place = place_of(name)
    if place is None:
        raise PluginError(f"there is no plugin called {name}", "`cw plugins` lists them.")
    if place.distribution:
        package = place.distribution.partition(" ")[0]
        raise PluginError(f"the plugin {name} belongs to the package {package}", f"Run pip uninstall {package}.")
    path = Path(place.path)
    if path.parent.resolve() != plugins_folder().resolve():
        hint = "It is named by CW_PLUGINS or by the settings: take its folder out there."
        raise PluginError(f"the plugin {name} is in {path}, where cw does not delete", hint)
    if path.is_symlink():
        os.unlink(path)
    else:
        shutil.rmtree(path)
    return path
