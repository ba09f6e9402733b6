"""The lock of the image that CI does not build: there is such a set of packages, and it lacks nothing."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cw_cli.core import images
from cw_cli.workshop.images.pip_mounts import configured

ROOT = Path(__file__).resolve().parents[2]
CPU_BUILDS = "https://download.pytorch.org/whl/cpu"


def places() -> list[str]:
    """Where torch's builds for processors are: what pip is configured with, or PyTorch's own index."""
    found = {key.rpartition(".")[2]: value.split() for key, value in configured()}
    if links := found.get("find-links"):
        return [word for link in links for word in ("--find-links", link)]
    return ["--extra-index-url", CPU_BUILDS, "--index-strategy", "unsafe-best-match"]


@pytest.mark.skipif(importlib.util.find_spec("uv") is None, reason="resolves with uv: install the verifiers extra")
def test_axolotls_lock_for_processors_is_whole(tmp_path: Path) -> None:
    (lock,) = (image for image in images.images("axolotl") if image.variant == "cpu")
    files = sorted((ROOT / "containers" / "axolotl" / "cpu").glob("*.txt"))
    command = [sys.executable, "-m", "uv", "pip", "install", "--dry-run", "--target", tmp_path / "none", *places()]
    done = subprocess.run(
        [*command, "--python", sys.executable, *(word for file in files for word in ("--requirement", file))],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env={**os.environ, "NO_COLOR": "1"},
    )
    assert done.returncode == 0, done.stderr
    would = dict(re.findall(r"^ \+ (\S+)==(\S+)$", done.stderr, re.MULTILINE))
    assert would == dict(lock.packages)
