"""Training in pods, for real: the same losses as here, through a killed pod, on two nodes, out of a queue."""

from __future__ import annotations

import importlib.util
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .clusters import ROOT, Cluster
from .conftest import Run
from .volumes import MOUNT, Volume

# The first test of a session builds the image, which takes minutes.
pytestmark = pytest.mark.timeout(1800)

QUICKSTART = ROOT / "examples" / "quickstart" / "sft.yaml"
# Sees the node's processes.
KILLER = """
apiVersion: v1
kind: Pod
metadata: {name: killer}
spec:
  hostPID: true
  terminationGracePeriodSeconds: 0
  containers:
    - {name: killer, image: "busybox:1.36", command: [sleep, "3600"], securityContext: {privileged: true}}
"""
# A process may end by itself while it is looked at; that nothing was killed is an error.
KILL = """
killed=
for process in $(grep -ls "HOSTNAME=$1" /proc/[0-9]*/environ | cut -d/ -f3); do
  kill -9 $process && killed=yes
done 2>/dev/null
[ "$killed" ]
"""


@pytest.fixture
def kill(cluster: Cluster, namespace: str, volume: Volume) -> Iterator[Callable[[str, str], None]]:
    """Kill all processes of the pod whose name begins so with SIGKILL, once this file is on the volume."""
    host = f"{namespace}-host"
    cluster.kubectl("create", "namespace", host)
    cluster.kubectl("--namespace", host, "apply", "-f", "-", stdin=KILLER)
    cluster.kubectl("--namespace", host, "wait", "--for=condition=Ready", "pod/killer", "--timeout=60s")

    def run(pod: str, path: str) -> None:
        volume.wait_for(path)
        cluster.kubectl("--namespace", host, "exec", "killer", "--", "sh", "-c", KILL, "kill", pod)

    yield run
    cluster.kubectl("delete", "namespace", host, "--wait=false")


@pytest.fixture
def launch(cw: Callable[..., Run], trl_image: str) -> Callable[..., str]:
    def run(folder: str, *flags: str, steps: int = 300) -> str:
        settings = [f"output_dir={folder}", f"max_steps={steps}", "save_steps=50", "env.OMP_NUM_THREADS=1"]
        sets = [word for setting in settings for word in ("--set", setting)]
        small = ("--cpu", "500m", "--memory", "2Gi", "--image", trl_image)
        done = cw("trl", "sft", str(QUICKSTART), *sets, *small, *flags, "-o", "name")
        assert done.code == 0, done.err
        return done.out.strip()

    return run


def measured(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What of the metrics does not depend on the machine's speed."""
    kept = ("step", "epoch", "loss", "eval_loss", "lr", "grad_norm")
    return [{key: row[key] for key in kept if key in row} for row in rows]


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="trains on this machine too, which needs torch")
def test_a_pod_trains_to_the_same_losses_as_this_machine(
    volume: Volume, launch: Callable[..., str], cw: Callable[..., Run], tmp_path: Path
) -> None:
    run = launch("there", "--gpu", "1", steps=60)
    here = cw(
        "trl",
        "sft",
        str(QUICKSTART),
        "--local",
        "--set",
        "max_steps=60",
        "--set",
        "save_steps=50",
        "--set",
        f"output_dir={tmp_path / 'here'}",
    )
    assert here.code == 0, here.err
    ended = cw("wait", run, timeout=300)
    assert ended.code == 0, cw("logs", run).out
    rows = [json.loads(line) for line in (tmp_path / "here" / "metrics.jsonl").read_text("utf-8").splitlines()]
    for there, expected in zip(measured(volume.rows("there")), measured(rows), strict=True):
        assert there == pytest.approx(expected, rel=1e-5)
    assert {"model.safetensors", "metrics.jsonl", "loss.png"} <= set(volume.says("ls", f"{MOUNT}/there").split())


def test_a_pod_that_dies_half_way_continues_to_the_same_weights(
    volume: Volume,
    launch: Callable[..., str],
    kill: Callable[[str, str], None],
    cw: Callable[..., Run],
    kube: Callable[..., Any],
) -> None:
    undisturbed = launch("undisturbed", "--gpu", "1")
    killed = launch("killed", "--gpu", "1", "--retries", "2")
    deleted = launch("deleted", "--gpu", "1", "--retries", "2")
    volume.wait_for("deleted/checkpoint-*/cw-checkpoint.json")
    kube("delete", "pod", "--selector", f"cw.dev/run={deleted}", "--force", "--grace-period=0")
    kill(killed, "killed/checkpoint-*/cw-checkpoint.json")
    for run in (undisturbed, killed, deleted):
        assert cw("wait", run, timeout=600).code == 0, cw("logs", run).out
    log = cw("logs", killed).out
    assert log.index("starting from the beginning") < log.index(f"continuing run {killed} from {MOUNT}/killed/")
    assert f"continuing run {deleted} from" in cw("logs", deleted).out
    assert {volume.weights(folder) for folder in ("killed", "deleted")} == {volume.weights("undisturbed")}
    assert measured(volume.rows("killed")) == measured(volume.rows("undisturbed"))


def test_two_nodes_train_one_model_and_start_again_together(
    volume: Volume,
    launch: Callable[..., str],
    kill: Callable[[str, str], None],
    cw: Callable[..., Run],
    kube: Callable[..., Any],
) -> None:
    run = launch("two", "--gpu", "0", "--nodes", "2", "--retries", "1", steps=150)
    kill(f"{run}-1", "two/checkpoint-*/cw-checkpoint.json")
    assert cw("wait", run, timeout=600).code == 0, cw("logs", run).out
    pods = kube("get", "pods", "--selector", f"cw.dev/run={run}", "-o", "json")["items"]
    ends = [
        (pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"], pod["status"]["phase"]) for pod in pods
    ]
    assert sorted(ends) == [("0", "Failed"), ("0", "Succeeded"), ("1", "Failed"), ("1", "Succeeded")]
    assert f"continuing run {run} from {MOUNT}/two/checkpoint-" in cw("logs", run).out
    rows = volume.rows("two")
    steps = [row["step"] for row in rows if "loss" in row]
    assert steps == list(range(5, 151, 5)), "one process writes, and no step twice"
    # Two processes see twice as many texts in each step as one does.
    assert rows[-1]["epoch"] == pytest.approx(2 * 150 / 100)


def test_when_one_node_fails_for_good_none_stays(
    volume: Volume,
    launch: Callable[..., str],
    kill: Callable[[str, str], None],
    cw: Callable[..., Run],
    kube: Callable[..., Any],
) -> None:
    run = launch("gone", "--gpu", "0", "--nodes", "2")
    kill(f"{run}-1", "gone/checkpoint-*/cw-checkpoint.json")
    killed = time.monotonic()
    assert cw("wait", run).code == 137, "the code of the pod that was killed, 128 + 9"
    assert time.monotonic() - killed < 60
    pods = kube("get", "pods", "--selector", f"cw.dev/run={run}", "-o", "json")["items"]
    assert {pod["status"]["phase"] for pod in pods} == {"Failed"}


def test_a_queued_run_starts_when_it_is_let_in(
    volume: Volume, launch: Callable[..., str], cw: Callable[..., Run], kube: Callable[..., Any]
) -> None:
    run = launch("queued", "--gpu", "1", "--queue", "team", steps=2)
    job = kube("get", "job", run, "-o", "json")
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team"
    assert kube("get", "pods", "--selector", f"cw.dev/run={run}", "-o", "json")["items"] == []
    kube("patch", "job", run, "--patch", '{"spec": {"suspend": false}}')
    assert cw("wait", run, timeout=300).code == 0, cw("logs", run).out
    assert "model.safetensors" in volume.says("ls", f"{MOUNT}/queued")
