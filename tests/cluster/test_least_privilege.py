"""A user who has nothing but the Role that `cw rbac` prints, in one namespace, can use every verb."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cw_cli.targets.kubernetes.rights import CLUSTER_RIGHTS, RIGHTS

from .clusters import Cluster
from .conftest import Run

DOCS = Path(__file__).parents[2] / "docs" / "platform.md"
CONFIG = """\
model_name: tiny
dataset_name: org/set
image: busybox:1.36
gpu: 1
cpu: 50m
memory: 32Mi
volumes: {model-checkpoints: null, scratch: {path: /scratch, empty_dir: 64Mi}}
output_dir: /scratch
pod:
  terminationGracePeriodSeconds: 1
  containers:
    - name: trainer
      command: [sh, -c, 'echo model > /scratch/model; echo training; sleep 300']
"""

Cw = Callable[..., Run]
Kube = Callable[..., Any]


@pytest.fixture
def user(cw: Cw, kube: Kube, cluster: Cluster, namespace: str, tmp_path: Path) -> Cw:
    """`cw` for somebody who may do what `cw rbac` says, and nothing else."""
    kube("create", "serviceaccount", "ada")
    kube("apply", "-f", "-", stdin=cw("rbac", "--serviceaccount", "ada").out)
    token = kube("create", "token", "ada").strip()
    admin = yaml.safe_load(cluster.kubeconfig.read_text())
    entry = {key: value for key, value in admin["clusters"][0]["cluster"].items() if key != "certificate-authority"}
    if authority := admin["clusters"][0]["cluster"].get("certificate-authority"):
        pem = (cluster.kubeconfig.parent / authority).read_bytes()
        entry["certificate-authority-data"] = base64.b64encode(pem).decode()
    (tmp_path / "ada").write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "ada",
                "clusters": [{"name": "c", "cluster": entry}],
                "users": [{"name": "ada", "user": {"token": token}}],
                "contexts": [{"name": "ada", "context": {"cluster": "c", "user": "ada", "namespace": namespace}}],
            }
        )
    )
    return lambda *words, **how: cw(*words, env={"KUBECONFIG": str(tmp_path / "ada")}, **how)


def done(said: Run) -> Run:
    assert said.code == 0, said
    assert "may not do this" not in said.err, said
    return said


def test_every_verb_passes_with_the_role_alone(user: Cw, namespace: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    (tmp_path / "file").write_text("text\n")
    run = done(user("trl", "sft", "config.yaml", "--name", "first")).out.strip()
    done(user("wait", "first", "--for", "running", "--timeout", "60s"))
    assert run in done(user("list")).out
    assert "training" in done(user("logs", "first")).out
    assert run in done(user("describe", "first")).out
    assert done(user("why", "first")).out
    assert run in done(user("pods", "first", "-o", "wide")).out
    assert run in done(user("jobs", "-o", "name")).out
    assert done(user("shell", "first", "--", "cat", "/scratch/model")).out == "model\n"
    done(user("cp", "first:model", "copy"))
    assert (tmp_path / "copy").read_text() == "model\n"
    done(user("cp", "file", "first:/scratch"))
    assert done(user("shell", "first", "--", "cat", "/scratch/file")).out == "text\n"
    assert "learning_rate" in done(user("diff", "first", "--learning_rate", "1e-5")).out
    again = done(user("rerun", "first", "--name", "second", "--gpu", "0")).out.strip()
    done(user("cancel", "first"))
    assert user("wait", "first", "--for", "failed", "--timeout", "60s").code == 0
    assert run in done(user("delete", "first", "second", "--yes")).err
    remaining = done(user("list")).out
    assert run not in remaining
    assert again not in remaining


def test_views_of_nodes_say_that_they_may_not_see_them(user: Cw) -> None:
    for verb in ("nodes", "gpu"):
        said = done(user(verb))
        assert "may not see the cluster's nodes" in said.err
        assert "cw rbac --with-nodes" in said.err


def test_doctor_is_content_with_the_role(user: Cw, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    said = done(user("doctor", "trl", "sft", "config.yaml"))
    assert f"ok       permissions: {sum(len(right.verbs) for right in RIGHTS)} of the" in said.out
    assert "skipped  room:" in said.out


def test_doctor_names_what_a_smaller_role_lacks(user: Cw, kube: Kube) -> None:
    role = kube("get", "role", "cw", "-o", "json")
    role["rules"] = [rule for rule in role["rules"] if "jobs" not in rule["resources"]]
    kube("replace", "-f", "-", stdin=json.dumps(role))
    said = user("doctor")
    assert said.code == 1
    assert "problem  permissions: you may not get or list or create or patch or delete jobs" in said.out


def test_the_role_reads_no_secret_and_nothing_of_the_cluster() -> None:
    assert not [right for right in RIGHTS if "*" in (right.group, right.resource, *right.verbs)]
    (secrets,) = [right for right in RIGHTS if "secrets" in right.resource]
    assert secrets.optional and not {"get", "list", "watch"} & set(secrets.verbs)
    assert all(set(right.verbs) <= {"get", "list"} for right in CLUSTER_RIGHTS)


@pytest.mark.parametrize("right", [*RIGHTS, *CLUSTER_RIGHTS], ids=lambda right: right.resource)
def test_the_page_for_the_platform_team_holds_the_table(right: Any) -> None:
    name = f"{right.resource}.{right.group}" if right.group else right.resource
    assert f"| `{name}` | {', '.join(right.verbs)} | {right.purpose} |" in DOCS.read_text()


def test_why_a_run_waits_without_a_look_at_the_nodes(user: Cw, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG.replace("gpu: 1", "gpu: 900"))
    run = done(user("trl", "sft", "config.yaml", "--name", "large")).out.strip()
    until = time.monotonic() + 30
    while "Unschedulable" not in done(user("list")).out:
        assert time.monotonic() < until
        time.sleep(0.5)
    said = done(user("why", run))
    assert "nvidia.com/gpu" in said.out or "GPU" in said.out
    assert "may not look at this cluster's nodes" in said.out + said.err
