"""Runs on a real cluster through the command line: what a launch creates, what cancel keeps, what delete takes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .clusters import Cluster
from .conftest import QUICK, Run

Launch = Callable[..., str]
RunOf = Callable[[str], dict[str, Any]]

CONFIG = """\
model_name: owner/model
dataset_name: owner/data
volumes: {model-checkpoints: null}
image: busybox:1.36
gpu: 0
cpu: 100m
memory: 64Mi
"""

# A trainer that takes a moment to save when it is told to stop.
TRAINER = "trap 'echo saving; sleep 1; echo saved; exit 0' TERM; echo begun; while true; do sleep 0.2; done"


@pytest.fixture
def launch(cw: Callable[..., Run], tmp_path: Path) -> Launch:
    """Start a run and return its name; `script` is what its container does."""

    def start(*flags: str, script: str | None = None, env: dict[str, str] | None = None) -> str:
        pod = {"pod": {"containers": [{"name": "trainer", "command": ["sh", "-c", script], **QUICK}]}} if script else {}
        (tmp_path / "config.yaml").write_text(CONFIG + (json.dumps(pod)[1:-1] if pod else "") + "\n")
        done = cw("trl", "sft", "config.yaml", *flags, env=env)
        assert done.code == 0, done.err
        return done.out.strip()

    return start


@pytest.fixture
def run_of(cw: Callable[..., Run]) -> RunOf:
    """One run as `cw list` knows it."""

    def find(name: str) -> dict[str, Any]:
        return next(item for item in json.loads(cw("list", "-o", "json").out) if item["name"] == name)

    return find


def wait_until(true: Callable[[], bool], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "it took too long"
        time.sleep(0.3)


def test_the_record_owns_all_that_a_launch_creates(launch: Launch, kube: Callable[..., Any]) -> None:
    run = launch("--gpu", "64")
    record = kube("get", "configmap", f"{run}-config", "-o", "json")
    assert record["metadata"]["annotations"]["cw.dev/launched"] == "true"
    assert "ownerReferences" not in record["metadata"]
    job = kube("get", "job", run, "-o", "json")
    assert [owner["uid"] for owner in job["metadata"]["ownerReferences"]] == [record["metadata"]["uid"]]
    kube("delete", "configmap", f"{run}-config")
    wait_until(lambda: not kube("get", "jobs", "-o", "json")["items"])


def test_a_launch_creates_what_a_dry_run_prints(
    cw: Callable[..., Run], launch: Launch, kube: Callable[..., Any], cluster: Cluster
) -> None:
    run = launch("--gpu", "64")
    printed = json.loads(cw("trl", "sft", "config.yaml", "--gpu", "64", "--dry-run", "-o", "json").out)["items"]
    other = next(item["metadata"]["name"] for item in printed if item["kind"] == "Job")
    for item in printed:
        kind, name = item["kind"], item["metadata"]["name"].replace(other, run)
        there = kube("get", kind, name, "-o", "json")
        labels = {key: value.replace(other, run) for key, value in item["metadata"]["labels"].items()}
        assert labels.items() <= there["metadata"]["labels"].items()


def test_cancel_lets_the_trainer_save_and_keeps_its_log(
    cluster: Cluster, launch: Launch, cw: Callable[..., Run], run_of: RunOf
) -> None:
    if not cluster.has_node:
        pytest.skip("no node")
    run = launch(script=TRAINER)
    wait_until(lambda: "begun" in cw("logs", run).out)
    assert cw("cancel", run).err == f"cancelled: {run}\n"
    wait_until(lambda: run_of(run)["state"] == "Failed")
    assert run_of(run)["reason"] == "cancelled"
    assert cw("logs", run).out.splitlines() == ["begun", "saving", "saved"]
    assert "had ended already" in cw("cancel", run).err
    assert cw("describe", run).code == 0


def test_a_cancelled_run_that_waits_never_begins(
    launch: Launch,
    cw: Callable[..., Run],
    run_of: RunOf,
    kube: Callable[..., Any],
) -> None:
    run = launch("--gpu", "64")
    wait_until(lambda: bool(kube("get", "pods", "-o", "json")["items"]))
    assert cw("cancel", run).code == 0
    assert (run_of(run)["state"], run_of(run)["reason"]) == ("Failed", "cancelled")
    wait_until(lambda: not kube("get", "pods", "-o", "json")["items"])
    # A queue may wake it: then it ends at once.
    kube("patch", "job", run, "--type=merge", "-p", '{"spec": {"suspend": false}}')
    wait_until(lambda: bool(kube("get", "job", run, "-o", "json")["status"].get("conditions")))
    wait_until(lambda: run_of(run)["state"] == "Failed" and run_of(run)["reason"] == "cancelled")


def test_delete_takes_what_is_the_runs_and_says_so(
    launch: Launch, cw: Callable[..., Run], kube: Callable[..., Any]
) -> None:
    run, kept = launch("--gpu", "64"), launch("--gpu", "64")
    # Somebody's own, with a name like the run's and one of its labels.
    kube("create", "configmap", f"{run}-notes")
    kube("label", "configmap", f"{run}-notes", f"cw.dev/run={run}")
    done = cw("delete", run, "--yes")
    assert done.code == 0 and done.out == ""
    assert done.err.splitlines() == [f"deleted: job/{run}", f"deleted: configmap/{run}-config"]
    names = {item["metadata"]["name"] for item in kube("get", "configmaps", "-o", "json")["items"]}
    assert {f"{run}-notes", f"{kept}-config"} <= names and f"{run}-config" not in names
    assert kube("get", "job", kept, "-o", "json")
    assert "configmap/cw-train-" in cw("delete", kept, "--yes").err


def test_what_only_looks_like_a_record_is_no_run(cw: Callable[..., Run], kube: Callable[..., Any]) -> None:
    kube("create", "configmap", "precious-config")
    done = cw("delete", "precious", "--yes")
    assert done.code == 1 and "no run is called precious" in done.err
    assert kube("get", "configmap", "precious-config", "-o", "json")


def test_two_people_in_one_namespace(launch: Launch, cw: Callable[..., Run], run_of: RunOf) -> None:
    ada, grace = {"USER": "ada"}, {"USER": "grace"}
    hers, mine = launch("--gpu", "64", env=ada), launch("--gpu", "64", env=grace)
    assert (run_of(hers)["user"], run_of(mine)["user"]) == ("ada", "grace")
    cw("cancel", mine, env=grace)
    cw("cancel", hers, env=ada)
    assert cw("delete", mine, env=grace).code == 0
    refused = cw("delete", hers, env=grace)
    assert refused.code == 2
    assert f"{hers} is ada's" in refused.err and "--yes" in refused.err
    assert run_of(hers)
    assert cw("delete", hers, "--yes", env=grace).code == 0


def test_somebody_elses_failed_launch_is_seen_and_deleted(
    launch: Launch,
    cw: Callable[..., Run],
    kube: Callable[..., Any],
    run_of: RunOf,
) -> None:
    run = launch("--gpu", "64")
    kube("delete", "job", run)
    assert (run_of(run)["state"], run_of(run)["reason"]) == ("Unknown", "cleaned up")
    kube("annotate", "configmap", f"{run}-config", "cw.dev/launched-")
    assert (run_of(run)["state"], run_of(run)["reason"]) == ("Failed", "launch interrupted")
    assert f"configmap/{run}-config" in cw("delete", run, "--yes").err
    assert json.loads(cw("list", "-o", "json").out) == []


def test_the_server_tries_what_a_dry_run_prints(
    cw: Callable[..., Run], kube: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    said = cw("trl", "sft", "config.yaml", "--dry-run=server")
    assert said.code == 0, said.err
    assert "the cluster takes all" in said.err
    assert "kind: Job" in said.out
    refused = cw("trl", "sft", "config.yaml", "--dry-run=server", "--set", 'pod={"restartPolicy": "Always"}')
    assert refused.code == 2
    assert "the server refuses the Job" in refused.err and "restartPolicy" in refused.err
    assert refused.out == ""
    assert kube("get", "jobs,configmaps", "--selector", "app.kubernetes.io/managed-by=cw", "-o", "name") == ""
    assert cw("trl", "sft", "config.yaml", "--dry-run=maybe").code == 2
    assert cw("trl", "sft", "config.yaml", "--local", "--dry-run=server").code == 2


def test_cancel_of_a_run_of_two_nodes_keeps_both_logs(
    cw: Callable[..., Run], kube: Callable[..., Any], tmp_path: Path
) -> None:
    script = "trap 'echo saving; exit 0' TERM; echo begun $JOB_COMPLETION_INDEX; sleep 300 & wait"
    pod = json.dumps({"containers": [{"name": "trainer", "command": ["sh", "-c", script], **QUICK}]})
    small = ("--gpu", "0", "--cpu", "5m", "--memory", "64Mi", "--image", "busybox:1.36", "--nodes", "2")
    (tmp_path / "two.yaml").write_text(
        "model_name: owner/model\ndataset_name: owner/data\nvolumes: {model-checkpoints: null}\n"
    )
    run = cw("trl", "sft", "two.yaml", *small, "--set", f"pod={pod}").out.strip()
    assert cw("wait", run, "--for", "running", "--timeout", "60s").code == 0
    kube("wait", "--for=condition=Ready", "pod", "--selector", f"cw.dev/run={run}", "--timeout=60s")
    assert cw("cancel", run).code == 0
    cw("wait", run, "--timeout", "60s")
    pods = kube("get", "pods", "--selector", f"cw.dev/run={run}", "-o", "json")["items"]
    assert len(pods) == 2
    assert {pod["status"]["phase"] for pod in pods} <= {"Failed", "Succeeded"}
    log = cw("logs", run).out
    assert "begun 0" in log and "begun 1" in log and log.count("saving") == 2
    assert "cancelled" in cw("list").out
    assert "ancelled" in cw("why", run).out
