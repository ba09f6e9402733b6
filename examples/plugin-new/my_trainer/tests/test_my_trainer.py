"""The plugin through cw's own command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

PLUGIN = Path(__file__).resolve().parents[1]


def cw(*words: str, home: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "HOME": str(home),
        "XDG_STATE_HOME": str(home),
        "XDG_DATA_HOME": str(home),
        "CW_PLUGINS": str(PLUGIN),
    }
    command = [sys.executable, "-m", "cw_cli.cli.main", *words]
    return subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, check=False)


def test_it_keeps_the_contract(tmp_path: Path) -> None:
    done = cw("plugins", "check", str(PLUGIN), home=tmp_path)
    assert done.returncode == 0, done.stderr


def test_it_finds_the_line(tmp_path: Path) -> None:
    done = cw("my-trainer", "train", str(PLUGIN / "example.yaml"), "--output_dir", "out", "--local", home=tmp_path)
    assert done.returncode == 0, done.stderr
    line = json.loads((tmp_path / "out" / "line.json").read_text())
    assert abs(line["slope"] - 2) < 0.01 and abs(line["offset"] - 1) < 0.01


def test_a_misspelt_key_is_found(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("stps: 10\n")
    done = cw("validate", "my-trainer", "train", "config.yaml", home=tmp_path)
    assert done.returncode == 2 and "did you mean steps?" in done.stderr
