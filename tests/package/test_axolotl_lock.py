"""The lock of the image that CI does not build: nothing is missing, and what it installs is what cw says of Axolotl."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cw_cli.core import images
from cw_cli.workshop.images.pip_mounts import configured

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "containers" / "axolotl" / "cpu"
CPU_BUILDS = "https://download.pytorch.org/whl/cpu"
ASKED = {
    "tests/frameworks/test_axolotl_agrees.py": (),
    # Its other examples and its restarts take as long each.
    "tests/train/test_axolotl_recipe.py": ("-k", "example_trains and dpo"),
}
"""Tests that need Axolotl itself."""

needed = [name for name in ("uv", "torch") if importlib.util.find_spec(name) is None]
pytestmark = [
    pytest.mark.skipif(bool(needed), reason=f"needs {' and '.join(needed)}: install the train and verifiers extras"),
    pytest.mark.timeout(900),
]


def places() -> list[str]:
    """Where torch's builds for processors are: what pip is configured with, or PyTorch's own index."""
    found = {key.rpartition(".")[2]: value.split() for key, value in configured()}
    if links := found.get("find-links"):
        return [word for link in links for word in ("--find-links", link)]
    return ["--extra-index-url", CPU_BUILDS, "--index-strategy", "unsafe-best-match"]


def uv(*arguments: str | Path) -> str:
    """What uv says of an installation for this Python."""
    command = [sys.executable, "-m", "uv", "pip", "install", *places(), "--python", sys.executable, *arguments]
    around = {**os.environ, "NO_COLOR": "1"}
    done = subprocess.run(command, env=around, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def site() -> Iterator[Path]:
    """What the lock installs beside torch, which is here."""
    with tempfile.TemporaryDirectory() as folder:
        uv("--no-deps", "--target", folder, "--requirement", LOCK / "requirements.txt")
        yield Path(folder)


def python(site: Path, *arguments: str) -> str:
    """What a Python says that has Axolotl. How it was started by pytest is not its business."""
    around = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    around |= {"PYTHONPATH": str(site), "HF_HUB_OFFLINE": "1"}
    # Axolotl and its needs warn of their own code.
    command = [sys.executable, "-W", "ignore", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=around, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    return done.stdout


def test_the_lock_for_processors_is_whole(tmp_path: Path) -> None:
    (lock,) = (image for image in images.images("axolotl") if image.variant == "cpu")
    files = [word for file in sorted(LOCK.glob("*.txt")) for word in ("--requirement", file)]
    would = dict(
        re.findall(r"^ \+ (\S+)==(\S+)$", uv("--dry-run", "--target", tmp_path / "none", *files), re.MULTILINE)
    )
    assert would == dict(lock.packages)


def test_what_it_installs_can_be_imported(site: Path) -> None:
    program = "import axolotl.cli.preprocess, axolotl.cli.train; print(axolotl.__file__)"
    assert python(site, "-c", program).splitlines()[-1] == str(site / "axolotl" / "__init__.py")


def test_the_schema_is_of_what_it_installs(site: Path) -> None:
    python(site, "-m", "cw_cli.schemas.generate_axolotl", "--check", "--from", str(site))


@pytest.mark.parametrize("module", ASKED)
def test_axolotl_itself_agrees_and_trains(site: Path, module: str) -> None:
    said = python(site, "-m", "pytest", "-q", "-W", "ignore", "-p", "no:cacheprovider", module, *ASKED[module])
    assert "passed" in said
    # Two plugins fetch what they need, two shapes need a package for GPUs.
    assert int((re.search(r"(\d+) skipped", said) or [0, 0])[1]) <= 4, said
