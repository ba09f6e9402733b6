"""`cw trl rlhf` on a real node: a reward service beside a trainer, and services that are there for several."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .clusters import ROOT
from .conftest import Run

# The first test of a session builds the image, which takes minutes.
pytestmark = pytest.mark.timeout(1800)

CONFIG = f"""\
model_name: {ROOT / "examples" / "quickstart" / "model"}
reward_model: rewards.py:spaces
dataset_name: prompts.jsonl
max_new_tokens: 8
max_steps: 4
save_steps: 0
use_cpu: true
bf16: false
ppo_config: {{batch_size: 8, mini_batch_size: 8, ppo_epochs: 1}}
gpu: 0
cpu: 500m
memory: 2Gi
volumes: {{model-checkpoints: null}}
env: {{OMP_NUM_THREADS: 1, HF_HUB_OFFLINE: 1}}
reward_service: {{token: true}}
services: {{reward: {{gpu: 1, cpu: 200m, memory: 1Gi}}}}
"""
REWARDS = "def spaces(prompts, completions):\n    return [text.count(' ') for text in completions]\n"


@pytest.fixture
def rlhf(cw: Callable[..., Run], trl_image: str, tmp_path: Path) -> Callable[..., str]:
    (tmp_path / "rlhf.yaml").write_text(CONFIG)
    (tmp_path / "rewards.py").write_text(REWARDS)
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "At noon the red fox"}\n{"prompt": "At night the owl"}\n' * 8)

    def launch(*flags: str) -> str:
        done = cw("trl", "rlhf", "rlhf.yaml", "--image", trl_image, *flags, "-o", "name")
        assert done.code == 0, done.err
        return done.out.strip()

    return launch


def roles(cw: Callable[..., Run], run: str) -> dict[str, str]:
    (status,) = [item for item in json.loads(cw("list", "-o", "json").out) if item["name"] == run]
    return {role["role"]: f"{role['state']} {role['reason']}".strip() for role in status["roles"]}


def until(true: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.5)


def test_a_policy_is_trained_against_a_served_reward(
    rlhf: Callable[..., str], cw: Callable[..., Run], kube: Callable[..., Any]
) -> None:
    run = rlhf()
    assert set(roles(cw, run)) == {"trainer", "reward"}
    until(lambda: "serving" in cw("logs", run, "--role", "reward").out)
    ended = cw("wait", run, timeout=300)
    assert ended.code == 0, cw("logs", run).out
    log = cw("logs", run).out
    assert "16 prompts from /cw/files/prompts.jsonl" in log
    assert "reward" in cw("describe", run).out
    (token,) = kube("get", "secrets", "-o", "name").split()
    assert token == f"secret/{run}-reward-token"
    # The trainer says that it has ended, so nobody has to find out.
    began = time.monotonic()
    until(lambda: kube("get", "deployments", "-o", "name") == "", 30)
    print(f"services gone {time.monotonic() - began:.0f} s after the end was seen")
    described = json.loads(cw("describe", run, "-o", "json").out)
    assert described["outcome"]["steps"] == 4 and described["outcome"]["last_reward"] is not None


def test_services_stay_for_those_that_use_them(
    rlhf: Callable[..., str], cw: Callable[..., Run], kube: Callable[..., Any]
) -> None:
    shared = rlhf("--services", "--name", "shared")
    until(lambda: roles(cw, shared) == {"reward": "Running"}, 90)
    assert cw("scale", "shared", "--role", "reward", "--replicas", "2").code == 0
    until(lambda: roles(cw, shared) == {"reward": "Running 2/2 ready"} or "2" in str(roles(cw, shared)), 60)
    assert cw("restart", "shared", "--role", "reward").code == 0
    assert cw("scale", "shared", "--role", "rewrd", "--replicas", "2").code == 1
    until(lambda: "Running" in roles(cw, shared)["reward"], 90)
    run = rlhf("--use-services", "shared", "--name", "user")
    assert set(roles(cw, run)) == {"trainer"}
    assert cw("wait", run, timeout=300).code == 0, cw("logs", run).out
    assert "Running" in roles(cw, shared)["reward"]
    assert len(kube("get", "secrets", "-o", "name").split()) == 1
    assert cw("delete", "shared", "--yes").code == 0
    until(lambda: kube("get", "secrets", "-o", "name") == "", 30)
    until(lambda: kube("get", "deployments", "-o", "name") == "", 30)
