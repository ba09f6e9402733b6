"""`cw verifiers eval` on a real node, in cw's own image: judged by its traces, and continued where it was."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .clusters import ROOT
from .conftest import QUICK, Run
from .volumes import MOUNT, Volume

# The first test of a session builds the images, which takes minutes.
pytestmark = pytest.mark.timeout(1800)

POD, SERVER = (json.dumps({"containers": [{"name": name, **QUICK}]}) for name in ("trainer", "inference"))
SMALL = ("--cpu", "500m", "--memory", "2Gi", "--set", f"pod={POD}")
CONFIG = """\
model = "{model}"
max_concurrent = 2

[client]
base_url = "http://endpoint:8000/v1"

[env.taskset]
id = "counting"   # has a harness of its own, which asks no package index
count = {count}

[env.agent.retries]
max_retries = 0
"""
ENDPOINT = """
apiVersion: v1
kind: Service
metadata: {name: endpoint}
spec:
  selector: {app: endpoint}
  ports: [{port: 8000}]
---
apiVersion: v1
kind: Pod
metadata: {name: endpoint, labels: {app: endpoint}}
spec:
  terminationGracePeriodSeconds: 0
  securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
  containers:
    - name: endpoint
      image: IMAGE
      command: [python3, /server/endpoint.py]
      readinessProbe: {tcpSocket: {port: 8000}, periodSeconds: 1}
      securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}, readOnlyRootFilesystem: true}
      volumeMounts: [{name: server, mountPath: /server}]
  volumes:
    - {name: server, configMap: {name: endpoint}}
"""


@pytest.fixture
def endpoint(volume: Volume, kube: Callable[..., Any], verifiers_image: str) -> Callable[[], dict[str, list[str]]]:
    """A model server of the user's own, at http://endpoint:8000/v1; what each of its models was asked."""
    kube("create", "configmap", "endpoint", f"--from-file={Path(__file__).with_name('endpoint.py')}")
    kube("apply", "-f", "-", stdin=ENDPOINT.replace("IMAGE", verifiers_image))
    kube("wait", "--for=condition=Ready", "pod/endpoint", "--timeout=60s")
    return lambda: json.loads(volume.says("wget", "-qO-", "http://endpoint:8000/asked"))  # type: ignore[no-any-return]


@pytest.fixture
def evaluate(cw: Callable[..., Run], verifiers_image: str, tmp_path: Path) -> Callable[..., str]:
    """Starts an evaluation with a model of the endpoint; its run's name."""
    leave = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "tests" / "train" / "tasksets" / "counting", tmp_path / "counting", ignore=leave)

    def launch(model: str, *flags: str, count: int = 4) -> str:
        (tmp_path / f"{model}.toml").write_text(CONFIG.format(model=model, count=count))
        words = ("verifiers", "eval", f"{model}.toml", "--name", model, "--image", verifiers_image)
        done = cw(*words, *SMALL, *flags, "-o", "name")
        assert done.code == 0, done.err
        return done.out.strip()

    return launch


def listed(cw: Callable[..., Run], run: str) -> dict[str, Any]:
    (status,) = [item for item in json.loads(cw("list", "-o", "json").out) if item["name"] == run]
    return dict(status)


def rows(volume: Volume, run: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in volume.says("cat", f"{MOUNT}/{run}/traces.jsonl").splitlines()]


def test_the_runs_own_server_is_evaluated(
    volume: Volume, cw: Callable[..., Run], kube: Callable[..., Any], trl_image: str, verifiers_image: str
) -> None:
    server = {"gpu": 0, "cpu": "500m", "memory": "2Gi", "image": trl_image, "pod": SERVER}
    sets = [word for name, value in server.items() for word in ("--set", f"services.inference.{name}={value}")]
    example = ROOT / "examples" / "verifiers" / "eval.toml"
    done = cw("verifiers", "eval", str(example), "--image", verifiers_image, *SMALL, *sets, "-o", "name")
    assert done.code == 0, done.err
    run = done.out.strip()
    assert {role["role"] for role in listed(cw, run)["roles"]} == {"trainer", "inference"}
    ended = cw("wait", run, "--timeout", "280s", timeout=300)
    assert ended.code == 0, cw("logs", run).out
    assert "Finished after 6 steps, reward 0." in ended.err
    assert "6 rollouts, 0 failed" in cw("logs", run).out
    assert [row["ok"] for row in rows(volume, run)] == [True] * 6
    assert json.loads(volume.says("cat", f"{MOUNT}/{run}/results.json"))["failed"] == 0
    described = json.loads(cw("describe", run, "-o", "json").out)
    assert described["outcome"]["metrics"] == f"{MOUNT}/{run}/results.json"
    (pod,) = kube("get", "pods", "--selector", f"cw.dev/run={run},cw.dev/role=trainer", "-o", "json")["items"]
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
    assert all(item["securityContext"]["readOnlyRootFilesystem"] for item in pod["spec"]["containers"])


def test_traces_judge_a_run_and_a_restart_makes_what_is_missing(
    endpoint: Callable[[], dict[str, list[str]]],
    evaluate: Callable[..., str],
    volume: Volume,
    cw: Callable[..., Run],
    kube: Callable[..., Any],
) -> None:
    slow = evaluate("slow", "--retries", "1", count=24)
    broken = evaluate("broken")
    volume.says("sh", "-c", f"until grep -q . {MOUNT}/{slow}/traces.jsonl; do sleep 0.2; done 2>/dev/null")
    kube("delete", "pod", "--selector", f"cw.dev/run={slow}", "--force", "--grace-period=0")

    # Verifiers' own exit code is 0 there.
    assert cw("wait", broken, timeout=120).code == 1
    assert "1 of 4 rollouts failed, most of them with ProviderError" in cw("why", broken).out
    assert "1 of 4 rollouts failed" in cw("logs", broken).out
    assert listed(cw, broken)["state"] == "Failed"
    assert sorted(row["ok"] for row in rows(volume, broken)) == [False, True, True, True]

    assert cw("wait", slow, timeout=300).code == 0, cw("logs", slow).out
    assert len(rows(volume, slow)) == 24
    prompts = endpoint()["slow"]
    assert len(set(prompts)) == 24
    assert len(prompts) < 2 * 24, "only what was under way is made again"
    assert "24 rollouts, 0 failed" in cw("logs", slow).out
