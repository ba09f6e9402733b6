"""Every command of the README, run in a clean copy of the project as a new user would run it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ALREADY_RUNNING = "scripts/test"


def blocks(language: str) -> list[str]:
    return [text for name, text in BLOCK.findall((ROOT / "README.md").read_text()) if name == language]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The files that git knows, without what this checkout has been used for."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        target = tmp_path / "project" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target)
    return tmp_path / "project"


def test_the_readme_begins_with_two_commands_that_set_everything_up() -> None:
    first, second, *_ = blocks("bash")
    assert first.startswith("python3 -m venv .venv && ") and first.count("\n") == 1
    assert second.strip() == ALREADY_RUNNING


@pytest.mark.timeout(1500)
@pytest.mark.skipif("CI" not in os.environ, reason="installs everything anew, which takes minutes; set CI=true")
def test_every_command_of_the_readme_works(copy: Path, tmp_path: Path) -> None:
    script = "\n".join(
        [
            "set -euxo pipefail",
            *(block for block in blocks("bash") if block.strip() != ALREADY_RUNNING),
            *(f"python3 - <<'PROGRAM'\n{block}PROGRAM" for block in blocks("python")),
        ]
    )
    kept = ("PATH", "LANG", "OMP_NUM_THREADS", "HF_HUB_OFFLINE", "TMPDIR")
    pip = [name for name in os.environ if name.startswith(("PIP_", "SSL_", "REQUESTS_"))]
    environment = {name: os.environ[name] for name in (*kept, *pip) if name in os.environ}
    environment |= {"HOME": str(tmp_path / "home"), "XDG_STATE_HOME": str(tmp_path / "state")}
    done = subprocess.run(
        ["bash", "-c", script], cwd=copy, env=environment, capture_output=True, text=True, timeout=1400, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    assert "succeeded: " in done.stderr
    assert (copy / "objects.yaml").read_text().startswith("apiVersion: v1\n")
