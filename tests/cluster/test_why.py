"""`cw why` on a real cluster: each way in which a run can wait or fail is made for real, all at the same time."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from .clusters import Cluster
from .conftest import QUICK, Run

pytestmark = pytest.mark.xdist_group("why")

CONFIG = """
model_name_or_path: Qwen/Qwen3-0.6B
dataset_name: trl-lib/Capybara
max_steps: 1
volumes: {model-checkpoints: null}
"""
SMALL = ("--gpu", "0", "--cpu", "5m", "--memory", "32Mi", "--image", "busybox:1.36")
TRACEBACK = 'Traceback (most recent call last):\\n  File "/app/train.py", line 7, in <module>\\nValueError: bad shape'
NCCL = "[rank1]:[E101 ProcessGroupNCCL.cpp:616] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=7)"
PATIENCE = 45.0
LONG = "sleep 600"


class Lab:
    """A user with namespaces to break things in."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster, self.folder, self.id = cluster, folder, secrets.token_hex(3)
        self.namespaces: dict[str, str] = {}
        self.runs: dict[str, Future[str]] = {}
        self.undo: list[tuple[str, ...]] = []
        self.pool = ThreadPoolExecutor(3)
        (folder / "sft.yaml").write_text(CONFIG)

    def namespace(self, word: str = "main", **labels: str) -> str:
        if word not in self.namespaces:
            name = f"t-why-{word}-{self.id}"
            self.create({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": name, "labels": labels}})
            self.namespaces[word] = name
        return self.namespaces[word]

    def create(self, item: dict[str, Any], *, remove: bool = True) -> None:
        self.cluster.kubectl("create", "-f", "-", stdin=json.dumps(item))
        if remove and "namespace" not in item["metadata"]:
            self.undo.append(("delete", item["kind"].lower(), item["metadata"]["name"], "--wait=false"))

    def kubectl(self, *arguments: str, where: str = "main", stdin: str | None = None) -> str:
        return self.cluster.kubectl("--namespace", self.namespace(where), *arguments, stdin=stdin)

    def cw(self, *arguments: str, where: str = "main") -> Run:
        environment = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
        home = {"HOME": str(self.folder), "KUBECONFIG": str(self.cluster.kubeconfig), "USER": "tester"}
        done = subprocess.run(
            [sys.executable, "-m", "cw_cli.cli.main", *arguments, "--namespace", self.namespace(where)],
            env={**environment, **home},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Run(done.returncode, done.stdout, done.stderr)

    def start(self, case: str, script: str = LONG, *flags: str, where: str = "main", **pod: Any) -> None:
        """Launch a run whose trainer is a shell script, beside what else goes on; `pod` patches it."""
        container = {"name": "trainer", "command": ["sh", "-c", script], **QUICK, **pod.pop("container", {})}
        patch = json.dumps({"containers": [container], **pod})

        def launch() -> str:
            said = self.cw(
                "trl", "sft", "sft.yaml", "--name", case, *SMALL, "--set", f"pod={patch}", *flags, where=where
            )
            assert said.code == 0, said.err
            return said.out.strip()

        self.runs[case] = self.pool.submit(launch)

    def run(self, case: str) -> str:
        return self.runs[case].result()

    def why(self, case: str, pattern: str, where: str = "main", patience: float = PATIENCE) -> str:
        """What `cw why` says, once it says this."""
        return self.until(lambda: self.cw("why", self.run(case), where=where), pattern, patience)

    def until(self, ask: Callable[[], Run], pattern: str, patience: float = PATIENCE) -> str:
        limit = time.monotonic() + patience
        while True:
            said = ask()
            text = said.out + said.err
            if re.search(pattern, text):
                return text
            assert time.monotonic() < limit, f"expected {pattern!r}, the last answer was: {text}"
            time.sleep(0.5)

    def pod(self, case: str, where: str = "main") -> str:
        """The name of the run's pod, once there is one."""
        limit = time.monotonic() + PATIENCE
        while True:
            names = self.kubectl("get", "pods", "-l", f"cw.dev/run={self.run(case)}", "-o", "name", where=where).split()
            if names:
                return names[0]
            assert time.monotonic() < limit
            time.sleep(0.3)

    def wait(self, case: str, what: str) -> None:
        self.kubectl("wait", f"--for={what}", self.pod(case), "--timeout=45s")

    def end(self) -> None:
        self.pool.shutdown()
        for arguments in reversed(self.undo):
            self.cluster.kubectl(*arguments)


@pytest.fixture(scope="module")
def lab(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Everything is started before anything is asked, because most of it takes a while to go wrong."""
    made = Lab(cluster, tmp_path_factory.mktemp("why"))
    try:
        made.namespace()
        _nodes(made)
        _refusals(made)
        _placements(made)
        _containers(made)
        _ends(made)
        _later(made)
        yield made
    finally:
        made.end()


def _nodes(lab: Lab) -> None:
    """Nodes that nobody runs: one that is reserved, and one that falls silent."""
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": ""}
    for word in ("reserved", "silent"):
        taint = {"key": "cw.test/team", "value": "someone", "effect": "NoSchedule"}
        name = f"cw-test-{word}-{lab.id}"
        metadata = {"name": name, "labels": {"cw.test/pool": f"{word}-{lab.id}"}}
        lab.create({"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": {"taints": [taint]}})
        amounts = {"cpu": "1", "memory": "1Gi", "pods": "10"}
        status = {"status": {"conditions": [ready], "allocatable": amounts, "capacity": amounts}}
        lab.kubectl("patch", "node", name, "--subresource=status", "-p", json.dumps(status))
    lab.start("lost", nodeName=f"cw-test-silent-{lab.id}")
    lab.start("taint", LONG, "--set", f"node_selector={{cw.test/pool: reserved-{lab.id}}}")
    running = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    lab.kubectl("patch", lab.pod("lost"), "--subresource=status", "-p", json.dumps({"status": running}))


def _refusals(lab: Lab) -> None:
    for case in ("quota", "policy"):
        lab.namespace(case)
    lab.namespace("security", **{"pod-security.kubernetes.io/enforce": "restricted"})
    lab.kubectl("create", "quota", "gpus", "--hard=requests.nvidia.com/gpu=1", where="quota")
    name = f"cw-test-{lab.id}"
    group = "admissionregistration.k8s.io/v1"
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    spaces = {"matchLabels": {"kubernetes.io/metadata.name": lab.namespace("policy")}}
    policy = {
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": [rule], "namespaceSelector": spaces},
        "validations": [{"expression": "has(object.metadata.labels.team)", "message": "every pod needs a team label"}],
    }
    binding = {"policyName": name, "validationActions": ["Deny"]}
    for kind, spec in (("ValidatingAdmissionPolicy", policy), ("ValidatingAdmissionPolicyBinding", binding)):
        lab.create({"apiVersion": group, "kind": kind, "metadata": {"name": name}, "spec": spec})
    lab.start("quota", LONG, "--gpu", "2", where="quota")
    lab.start("security", where="security", hostNetwork=True)
    _wait_until_refused(lab, "policy")
    lab.start("policy", where="policy")
    lab.start("account", serviceAccountName="nobody")


def _wait_until_refused(lab: Lab, where: str) -> None:
    """A policy is in force some time after it has been made."""
    container = {"name": "any", "image": "any"}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "any", "labels": {"a": "b"}},
        "spec": {"containers": [container]},
    }
    limit = time.monotonic() + PATIENCE
    while True:
        try:
            lab.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(pod), where=where)
        except AssertionError as refused:
            if "every pod needs a team label" in str(refused):
                return
        assert time.monotonic() < limit, "the policy never came into force"
        time.sleep(0.2)


def _placements(lab: Lab) -> None:
    lab.start("holder", LONG, "--gpu", "1")
    lab.start("never", LONG, "--gpu", "16")
    lab.start("type", LONG, "--gpu", "H100:1")
    lab.start("selector", LONG, "--set", "node_selector={zone: nowhere}")
    lab.start("queue", LONG, "--queue", "team-a")
    for name in ("unbound", "missing"):
        spec = {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "none",
            "resources": {"requests": {"storage": "1Gi"}},
        }
        claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}
        lab.cluster.kubectl("--namespace", lab.namespace(), "create", "-f", "-", stdin=json.dumps(claim))
    lab.start("unbound", LONG, "--set", "volumes={model-checkpoints: null, unbound: /data}")
    lab.start(
        "claim",
        LONG,
        "--set",
        "volumes={model-checkpoints: null, missing: /data}",
        "--queue",
        "until-the-claim-is-gone",
    )


def _containers(lab: Lab) -> None:
    """A registry on the node that knows no image, and wants a password for some."""
    port = 20000 + int(lab.id, 16) % 10000
    serve = f"echo '/v2/private:user:word' > /tmp/conf; exec httpd -f -p 127.0.0.1:{port} -c /tmp/conf -h /tmp"
    container = {"name": "registry", "image": "busybox:1.36", "command": ["sh", "-c", serve]}
    pod = {"hostNetwork": True, "containers": [container], "terminationGracePeriodSeconds": 0}
    item = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "registry"}, "spec": pod}
    lab.cluster.kubectl("--namespace", lab.namespace(), "create", "-f", "-", stdin=json.dumps(item))
    lab.kubectl("create", "configmap", "settings", "--from-literal=there=1")
    key = {"configMapKeyRef": {"name": "settings", "key": "absent"}}
    lab.start("key", container={"env": [{"name": "LEVEL", "valueFrom": key}]})
    lab.start("secret", container={"envFrom": [{"secretRef": {"name": "absent"}}]})
    waiter = {"name": "wait-for-data", "image": "busybox:1.36", "command": ["sleep", "600"]}
    lab.start("init", initContainers=[waiter])
    mounts = [{"name": "more", "mountPath": "/more"}]
    lab.start("mount", container={"volumeMounts": mounts}, volumes=[{"name": "more", "configMap": {"name": "absent"}}])
    lab.start("command", container={"command": ["no-such-program"]})
    lab.kubectl("wait", "--for=condition=Ready", "pod/registry", "--timeout=45s")
    for case in ("nothing", "private"):
        lab.start(case, LONG, "--image", f"127.0.0.1:{port}/{case}:1")
    lab.start("unreachable", LONG, "--image", "registry.invalid/train:1")


def _ends(lab: Lab) -> None:
    lab.start("retries", "exit 3", "--set", "retries=1")
    lab.start("memory", "exec tail /dev/zero")
    lab.start("signal", 'sh -c "kill -SEGV \\$\\$"; exit $?')
    lab.start("exception", f"printf '{TRACEBACK}\\n'; exit 1")
    lab.start("cuda", "echo 'torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB'; exit 1")
    lab.start("nccl", f"echo '{NCCL}'; exit 1")
    lab.start("error", "echo 'error: the data set is empty'; exit 2")
    lab.start("told", """echo '::cw:: {"event": "failed", "error": "no file is called data"}'; exit 2""")
    lab.start("deadline", LONG, "--set", "timeout=3s", terminationGracePeriodSeconds=1)
    lab.start("good", 'echo \'::cw:: {"event": "done", "first_loss": 4.0, "last_loss": 2.0, "steps": 7}\'')
    lab.start("expired", "true", "--set", "ttl=1s")
    lab.start("cancelled", "trap 'exit 143' TERM; sleep 600 & wait")
    lab.start("evicted", terminationGracePeriodSeconds=0)
    lab.start("deleted", terminationGracePeriodSeconds=0)
    lab.start("interrupted", "true")


def _later(lab: Lab) -> None:
    """What needs a run that is there already."""
    waiting = lab.run("claim")
    lab.kubectl("delete", "pvc", "missing")
    lab.kubectl("patch", "job", waiting, "--type=merge", "-p", '{"spec": {"suspend": false}}')
    lab.wait("holder", "condition=PodScheduled")
    lab.start("busy", LONG, "--gpu", "8")
    lab.run("interrupted")
    lab.kubectl("annotate", "configmap", f"{lab.run('interrupted')}-config", "cw.dev/launched-")
    lab.kubectl("delete", "job", lab.run("interrupted"))
    for case in ("evicted", "deleted", "cancelled"):
        lab.wait(case, "condition=Ready")
    assert lab.cw("cancel", lab.run("cancelled")).code == 0
    lab.kubectl("delete", lab.pod("deleted"), "--wait=false")
    space, pod = lab.namespace(), lab.pod("evicted").removeprefix("pod/")
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": space}}
    path = f"/api/v1/namespaces/{space}/pods/{pod}/eviction"
    lab.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))


CASES = {
    "taint": "have the taint cw.test/team=someone:NoSchedule, which it does not tolerate: cw-test-reserved-.*\n.*toler",
    "account": "There is no service account nobody",
    "never": r"It can never fit: it asks for 16 GPUs on one node, and no node .* more than 8\.\n.*--gpu",
    "busy": r"It waits for GPUs: it asks for 8 on one node, and free are [0-7] of 8 on \S+\.\n.*starts by itself",
    "type": "No node has H100 GPUs",
    "selector": "No node is labelled zone=nowhere: no node has a label zone",
    "queue": "It waits in the queue team-a",
    "unbound": r"The volume claim unbound \(1Gi, of storage class none\) has no volume yet",
    "claim": "There is no volume claim missing in the namespace",
    "key": "The ConfigMap settings has no key absent",
    "secret": "There is no Secret absent in the namespace",
    "init": "The init container wait-for-data is still running",
    "mount": "There is no ConfigMap absent in the namespace",
    "command": "The container could not start: .*no-such-program",
    "nothing": "There is no image 127.0.0.1:[0-9]+/nothing:1 in its registry",
    "private": "The registry does not let the cluster pull the image .*/private:1.*\n.*imagePullSecrets",
    "unreachable": "The node cannot reach the registry of the image registry.invalid/train:1",
    "memory": "needed more memory than its limit of 32Mi and was killed.*\n.*--memory 64Mi",
    "signal": r"crashed in native code \(SIGSEGV\)",
    "exception": "The trainer broke at /app/train.py:7: ValueError: bad shape",
    "cuda": "The GPU ran out of memory.*\n.*per_device_train_batch_size",
    "nccl": "The GPUs waited for each other until NCCL's time was over",
    "error": "The trainer gave up: the data set is empty",
    "told": "The trainer gave up: no file is called data",
    "deadline": "Stopped.*: its time limit was over",
    "retries": "All 2 attempts failed; the last one: the trainer ended with exit code 3",
    "good": "Finished after 7 steps, loss from 4 to 2",
    "expired": "Its Job is gone: it ended and its time to live was over",
    "cancelled": "^Cancelled",
    "evicted": "It was stopped from outside: somebody evicted it|Its pod was deleted",
    "deleted": "Its pod was deleted by somebody else",
    "interrupted": "Its launch was interrupted before the Job was created",
}


@pytest.mark.parametrize("case", CASES)
def test_a_run_says_why(lab: Lab, case: str) -> None:
    said = lab.why(case, CASES[case])
    assert len(said.splitlines()) <= 2, said


@pytest.mark.parametrize(
    ("where", "pattern"),
    [
        (
            "quota",
            r"The quota gpus does not allow its pod: asked requests.nvidia.com/gpu=2, used .*=0, limit .*=1\.\n.*never",
        ),
        ("security", "The namespace enforces Pod Security restricted:latest, which its pod violates: .*host"),
        ("policy", "admission policy cw-test-.* refuses its pod: every pod needs a team label"),
    ],
)
def test_a_refused_pod_is_told_with_its_reason(lab: Lab, where: str, pattern: str) -> None:
    lab.why(where, pattern, where=where)


def test_the_list_says_why_runs_are_pending(lab: Lab) -> None:
    def reasons() -> dict[str, str]:
        said = lab.cw("list", "-o", "json")
        return {item["name"]: item["reason"] for item in json.loads(said.out)}

    wanted = {"never": "Unschedulable", "queue": "Suspended", "key": "CreateContainerConfigError", "init": "Init:0/1"}
    limit = time.monotonic() + PATIENCE
    while not all(reasons().get(lab.run(case), "").startswith(word) for case, word in wanted.items()):
        assert time.monotonic() < limit, reasons()
        time.sleep(0.5)
    assert reasons()[lab.run("nothing")] in ("ErrImagePull", "ImagePullBackOff")
    assert "QuotaExceeded" in lab.cw("list", where="quota").out


def test_wait_ends_with_the_trainers_exit_code(lab: Lab) -> None:
    for case, code in (("error", 2), ("signal", 139), ("good", 0), ("retries", 3)):
        assert lab.cw("wait", lab.run(case)).code == code


def test_a_node_that_falls_silent_is_told(lab: Lab) -> None:
    said = lab.why("lost", "The node cw-test-silent-.* stopped answering", patience=100)
    assert "not known" in said
