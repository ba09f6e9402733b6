"""The example of reinforcement learning from a reward model, through the command line, on this machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from training_lab import ROOT


def test_a_policy_learns_what_a_reward_model_likes(tmp_path: Path) -> None:
    for name in ("rlhf", "quickstart"):
        shutil.copytree(ROOT / "examples" / name, tmp_path / name)
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    homes = {
        "HOME": str(tmp_path),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    environment = {**kept, **homes, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "USER": "tester"}

    def cw(*words: str) -> str:
        command = [sys.executable, "-m", "cw_cli.cli.main", *words]
        done = subprocess.run(
            command, cwd=tmp_path / "rlhf", env=environment, capture_output=True, text=True, timeout=200, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stderr

    said = cw("trl", "reward", "reward.yaml", "--local", "--set", "max_steps=40")
    assert "loss" in said
    said = cw("trl", "rlhf", "rlhf.yaml", "--local", "--set", "output_dir=policy", "--set", "max_steps=16")
    assert "reward" in said
    rows = [json.loads(line) for line in (tmp_path / "rlhf" / "policy" / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["reward"] > rows[0]["reward"] + 0.5
    # The document's example, with models that can run here in the place of its own.
    here = ("--model_name", "../quickstart/model", "--reward_model", "reward-model", "--output_dir", "second")
    small = ("--gpu", "0", "--cpu", "2", "--memory", "2Gi", "--max_steps", "2", "--max_new_tokens", "8")
    config = ROOT / "tests" / "golden" / "configs" / "rlhf_example.yaml"
    shutil.copy(config, tmp_path / "rlhf")
    said = cw("trl", "rlhf", config.name, "--local", *here, *small)
    assert "the prompts that ship with cw are used" in said
    assert len((tmp_path / "rlhf" / "second" / "metrics.jsonl").read_text().splitlines()) == 2
    listed = json.loads(
        subprocess.run(
            [sys.executable, "-m", "cw_cli.cli.main", "list", "-o", "json"],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    )
    assert [run["state"] for run in listed] == ["Succeeded"] * 3
