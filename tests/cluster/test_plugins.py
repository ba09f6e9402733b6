"""The example package on a real node: its recipe travels with the run, and its service serves it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import Run

# The first test of a session builds the image, which takes minutes.
pytestmark = pytest.mark.timeout(1800)

CONFIG = """\
model: cw://quickstart/model
teacher: cw://quickstart/model
data: cw://quickstart/data/train.jsonl
max_steps: 10
max_length: 32
gpu: 0
cpu: 500m
memory: 1Gi
volumes: {model-checkpoints: null}
env: {HF_HUB_OFFLINE: 1}
"""


def test_a_plugin_trains_beside_its_service(
    cw: Callable[..., Run], kube: Callable[..., Any], trl_image: str, lora_package: Path, tmp_path: Path
) -> None:
    (tmp_path / "distill.yaml").write_text(CONFIG)
    package = {"PYTHONPATH": str(lora_package)}
    launched = cw("lora", "distill", "distill.yaml", "--image", trl_image, "-o", "name", env=package)
    assert launched.code == 0, launched.err
    run = launched.out.strip()
    assert cw("wait", run, timeout=300).code == 0, cw("logs", run).out
    told = json.loads(cw("describe", run, "-o", "json").out)
    assert told["framework"] == "lora" and told["outcome"]["steps"] == 10
    assert {role["role"] for role in told["roles"]} >= {"trainer"}
    assert cw("delete", run, "--yes").code == 0
    assert kube("get", "deployments,services,jobs", "-o", "name") == ""
