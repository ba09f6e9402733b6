"""The commit that a folder is at, read from git's own files: asking git would take longer than all the rest."""

from __future__ import annotations

import re
from pathlib import Path

_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")


def commit_of(folder: Path) -> str | None:
    """The commit checked out around `folder`, or None outside a repository."""
    for parent in (folder, *folder.parents):
        git = parent / ".git"
        try:
            if git.is_file():  # a worktree: one line that says where its files are
                git = parent / git.read_text("utf-8").removeprefix("gitdir:").strip()
            if git.is_dir():
                return _head(git)
        except (OSError, UnicodeDecodeError):
            return None
    return None


def _head(git: Path) -> str | None:
    head = (git / "HEAD").read_text("utf-8").strip()
    if not head.startswith("ref:"):
        return head if _COMMIT.fullmatch(head) else None
    reference = head.removeprefix("ref:").strip()
    common = git / "commondir"
    root = git / common.read_text("utf-8").strip() if common.exists() else git
    for place in (git, root):
        if (place / reference).is_file():
            return (place / reference).read_text("utf-8").strip()
    packed = root / "packed-refs"
    for line in packed.read_text("utf-8").splitlines() if packed.is_file() else []:
        commit, _, name = line.partition(" ")
        if name == reference:
            return commit
    return None
