"""`cw doctor` on a real cluster: what would stop a run is found, named, and nothing is changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import Run

Cw = Callable[..., Run]
Kube = Callable[..., Any]

CONFIG = """\
model_name: tiny
dataset_name: org/set
max_steps: 5
image: busybox:1.36
gpu: 1
cpu: 100m
memory: 64Mi
"""
CLAIM = {
    "apiVersion": "v1",
    "kind": "PersistentVolumeClaim",
    "metadata": {"name": "model-checkpoints"},
    "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}},
}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    return path


def findings(cw: Cw, *words: str) -> tuple[int, dict[str, list[dict[str, str]]]]:
    """The exit code, and the findings of each check."""
    said = cw("doctor", *words, "-o", "json")
    found: dict[str, list[dict[str, str]]] = {}
    for item in json.loads(said.out):
        found.setdefault(item["check"], []).append(item)
    return said.code, found


def test_a_good_namespace_is_ok(cw: Cw, namespace: str) -> None:
    said = cw("doctor")
    assert said.code == 0, said
    levels = {line.split()[0] for line in said.out.splitlines() if not line.startswith(" ")}
    assert levels == {"ok"}
    for check in ("cluster: context", "Kubernetes v1", "you are", "agree about the time", namespace, "permissions"):
        assert check in said.out


def test_a_run_that_can_start_changes_nothing(cw: Cw, kube: Kube, config: Path) -> None:
    kube("apply", "-f", "-", stdin=json.dumps(CLAIM))
    before = kube("get", "all,cm,secret,pvc", "-o", "name")
    code, found = findings(cw, "trl", "sft", "config.yaml")
    assert code == 0, found
    assert "takes all" in found["dry run"][0]["sentence"]
    assert found["volumes"][0]["level"] in ("ok", "warning")
    assert found["config"][-1]["level"] == "ok"
    assert kube("get", "all,cm,secret,pvc", "-o", "name") == before


def test_everything_that_is_missing_is_said_at_once(cw: Cw, kube: Kube, config: Path) -> None:
    kube("create", "secret", "generic", "tokens", "--from-literal=here=1")
    more = "secrets: {A: tokens/here, B: tokens/gone, C: absent/key}\npriority: no-such-class\nqueue: team\n"
    config.write_text(CONFIG.replace("gpu: 1", "gpu: 99") + more)
    code, found = findings(cw, "config.yaml")
    assert code == 1
    problems = " | ".join(item["sentence"] for items in found.values() for item in items if item["level"] == "problem")
    for words in (
        "no volume claim model-checkpoints",
        "the Secret tokens has no key gone",
        "there is no Secret absent",
        "no priority class no-such-class",
        "no Kueue",
        "can never start",
    ):
        assert words in problems
    assert all(item["remedy"] for items in found.values() for item in items if item["level"] == "problem")


def test_quota_and_limits_are_compared_with_the_plan(cw: Cw, kube: Kube, config: Path) -> None:
    kube("create", "quota", "small", "--hard=requests.nvidia.com/gpu=0,pods=5,limits.memory=1Gi")
    limit = {"type": "Container", "max": {"memory": "32Mi"}}
    kube(
        "apply",
        "-f",
        "-",
        stdin=json.dumps(
            {"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "l"}, "spec": {"limits": [limit]}}
        ),
    )
    code, found = findings(cw, "trl", "sft", "config.yaml", "--set", "volumes={model-checkpoints: null}")
    assert code == 1
    assert "takes 1 requests.nvidia.com/gpu, the quota small allows 0" in found["quota"][0]["sentence"]
    assert "takes 64Mi memory, the namespace allows at most 32Mi" in found["limits"][0]["sentence"]


def test_a_restricted_namespace_names_what_it_would_refuse(cw: Cw, kube: Kube, namespace: str, config: Path) -> None:
    kube("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    config.write_text(
        CONFIG + "pod: {containers: [{name: trainer, securityContext: {allowPrivilegeEscalation: true}}]}\n"
    )
    code, found = findings(cw, "trl", "sft", "config.yaml")
    assert code == 1
    assert "may gain privileges" in found["namespace"][0]["sentence"]


def test_a_mistake_of_the_config_is_among_the_findings(cw: Cw, config: Path) -> None:
    config.write_text(CONFIG + "learnig_rate: 1\n")
    said = cw("doctor", "trl", "sft", "config.yaml")
    assert said.code == 1
    assert "problem  config:" in said.out
    assert "did you mean" in said.err.lower()
    assert "ok       cluster:" in said.out


def test_a_namespace_that_is_not_there(cw: Cw) -> None:
    code, found = findings(cw, "-n", "no-such-namespace")
    assert code == 1
    assert "no namespace no-such-namespace" in found["cluster"][-1]["sentence"]


def test_a_cluster_that_is_away_is_a_finding(cw: Cw, tmp_path: Path) -> None:
    away = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "away",
        "contexts": [{"name": "away", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:9"}}],
        "users": [{"name": "u", "user": {}}],
    }
    (tmp_path / "away").write_text(json.dumps(away))
    said = cw("doctor", env={"KUBECONFIG": str(tmp_path / "away")}, timeout=10)
    assert said.code == 1
    assert said.out.startswith("problem  cluster:")
    assert "away" in said.out


def test_a_run_of_this_machine_is_examined_here(cw: Cw, config: Path) -> None:
    config.write_text(CONFIG.replace("gpu: 1", "gpu: 64"))
    said = cw("doctor", "trl", "sft", "config.yaml", "--local")
    assert said.code == 1
    assert "problem  machine:" in said.out
