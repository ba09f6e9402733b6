"""The commit around a folder, read from git's files and the same that git itself tells."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from cw_cli.git import commit_of

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def git(folder: Path, *words: str) -> str:
    names = ["-c", "user.name=ada", "-c", "user.email=ada@example.com", "-c", "init.defaultBranch=main"]
    return subprocess.run(
        ["git", *names, *words], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    (folder / "inner").mkdir(parents=True)
    git(folder, "init", "--quiet")
    git(folder, "commit", "--quiet", "--allow-empty", "-m", "first")
    return folder


def test_a_branch(repository: Path) -> None:
    assert commit_of(repository / "inner") == git(repository, "rev-parse", "HEAD")


def test_packed_references(repository: Path) -> None:
    git(repository, "pack-refs", "--all")
    assert not (repository / ".git/refs/heads/main").exists()
    assert commit_of(repository) == git(repository, "rev-parse", "HEAD")


def test_a_detached_head(repository: Path) -> None:
    git(repository, "checkout", "--quiet", "--detach")
    assert commit_of(repository) == git(repository, "rev-parse", "HEAD")


def test_a_worktree(repository: Path, tmp_path: Path) -> None:
    git(repository, "worktree", "add", "--quiet", str(tmp_path / "tree"), "-b", "side")
    git(tmp_path / "tree", "commit", "--quiet", "--allow-empty", "-m", "second")
    assert commit_of(tmp_path / "tree") == git(tmp_path / "tree", "rev-parse", "HEAD") != commit_of(repository)


def test_no_commit_yet(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    assert commit_of(tmp_path) is None


def test_no_repository(tmp_path: Path) -> None:
    assert commit_of(tmp_path) is None


@pytest.mark.parametrize("head", ["", "ref:", "nonsense", "ref: refs/heads/gone"])
def test_a_broken_repository_is_none(tmp_path: Path, head: str) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text(head)
    assert commit_of(tmp_path) is None
