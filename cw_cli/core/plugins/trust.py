"""Whose plugins are run: those of folders that nobody else can write to."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from shlex import quote

from cw_cli.core.exceptions import PluginError


def require_trust(name: str, folder: Path) -> None:
    """Raise `PluginError` when somebody other than the user could have changed the plugin's code.

    Files and folders must be the user's or root's, and writable by nobody else; so must the folders around them, or
    at least keep others from replacing what is in them (the sticky bit). A group with the user alone in it is nobody
    else.
    """
    if os.name != "posix":
        return
    for path in (*_around(folder), *_inside(folder)):
        try:
            found = path.lstat()
        except FileNotFoundError:
            continue
        if stat.S_ISLNK(found.st_mode):
            continue  # its own bits say nothing; what it leads to is looked at by its real path
        if found.st_uid not in (0, os.geteuid()):
            message = f"the plugin {name} is refused: {path} belongs to {_user(found.st_uid)}"
            raise PluginError(message, f"Copy it, so that it is yours: cw plugins install {quote(str(folder))}")
        if others := _others(found, path == folder or folder in path.parents):
            message = f"the plugin {name} is refused: {path} can be changed by {others}"
            raise PluginError(message, f"Look at its code, then close it: chmod -R go-w {quote(str(path))}")


def _around(folder: Path) -> Iterator[Path]:
    """The folders that lead to the plugin, by its real path and as it is named."""
    yield from dict.fromkeys([*folder.resolve().parents, *folder.absolute().parents])


def _inside(folder: Path) -> Iterator[Path]:
    real = folder.resolve()
    yield real
    for path, folders, files in os.walk(real):
        folders[:] = [name for name in folders if name != ".git"]
        for name in (*folders, *files):
            inner = Path(path, name)
            yield inner.resolve() if inner.is_symlink() else inner


def _others(found: os.stat_result, inside: bool) -> str:
    """Who else may write; empty for nobody."""
    if not inside and found.st_mode & stat.S_ISVTX:
        return ""
    if found.st_mode & stat.S_IWOTH:
        return "everybody"
    if found.st_mode & stat.S_IWGRP and not _is_alone(found.st_gid):
        return f"the group {_group(found.st_gid)}"
    return ""


def _is_alone(gid: int) -> bool:
    """Whether the group is the user's private one, as many systems make it for each user."""
    import grp
    import pwd

    try:
        user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(gid)
    except KeyError:
        return False
    return group.gr_gid == user.pw_gid and group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}


def _user(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _group(gid: int) -> str:
    import grp

    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
