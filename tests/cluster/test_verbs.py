"""The verbs that look at a cluster and into its containers."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import pty
import secrets
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .clusters import Cluster
from .conftest import Run

Cw = Callable[..., Run]
Kube = Callable[..., Any]

TRAINER = """\
model_name: tiny
dataset_name: org/set
image: busybox:1.36
gpu: 1
cpu: 50m
memory: 64Mi
volumes: {model-checkpoints: null, scratch: {path: /scratch, empty_dir: 128Mi}}
output_dir: /scratch
pod:
  terminationGracePeriodSeconds: 1
  containers:
    - name: trainer
      resources: {limits: {cpu: 2}}
      command:
        - sh
        - -c
        - |
          mkdir -p /scratch/folder/inner
          echo text > /scratch/folder/file
          head -c 3000000 /dev/urandom > /scratch/folder/inner/big
          ln -s file /scratch/folder/link
          (while true; do echo pong | nc -l -p 6006; done) &
          sleep 300
"""


@pytest.fixture(scope="module")
def namespace(cluster: Cluster) -> Iterator[str]:
    """One namespace for all tests here, so that one run serves them."""
    name = f"t-{secrets.token_hex(4)}"
    cluster.kubectl("create", "namespace", name)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="module")
def launched() -> list[str]:
    """The run that is up, once there is one."""
    return []


@pytest.fixture
def run(cw: Cw, tmp_path: Path, launched: list[str]) -> str:
    """A run whose container is up."""
    if not launched:
        (tmp_path / "config.yaml").write_text(TRAINER)
        said = cw("trl", "sft", "config.yaml", "--name", "live")
        assert said.code == 0, said
        assert cw("wait", "live", "--for", "running", "--timeout", "60s").code == 0
        launched.append(said.out.strip())
    return launched[0]


def test_views_of_nodes_gpus_pods_and_jobs(cw: Cw, run: str, namespace: str) -> None:
    (node, *_) = [item for item in json.loads(cw("nodes", "-o", "json").out) if item["gpus"]]
    assert node["gpus_free"] < node["gpus"]
    assert node["name"] in cw("nodes").out
    gpus = json.loads(cw("gpu", "-o", "json").out)
    assert {"name": run, "user": "tester", "namespace": namespace, "node": node["name"], "gpus": 1} in gpus["used_by"]
    (pod,) = json.loads(cw("pods", run, "-o", "json").out)
    assert (pod["run"], pod["state"], pod["gpus"]) == (run, "Running", 1)
    assert cw("pods", "-o", "name").out.strip() == pod["name"]
    assert cw("jobs", "-o", "name").out.strip() == run
    assert "Running" in cw("jobs").out


def test_views_of_an_empty_namespace_are_empty_tables(cw: Cw) -> None:
    for verb in ("pods", "jobs"):
        said = cw(verb, "-n", "kube-public")
        assert (said.code, said.out) == (0, "")
        assert "there are no" in said.err
        assert json.loads(cw(verb, "-n", "kube-public", "-o", "json").out) == []


def test_a_command_in_the_container(cw: Cw, run: str) -> None:
    said = cw("shell", run, "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (said.code, said.out, said.err) == (7, "out\n", "err\n")
    said = cw("shell", run, "--", "no-such-program")
    assert said.code == 1
    assert "no such program" in said.err


def test_standard_input_reaches_the_command(cw_environment: dict[str, str], run: str) -> None:
    command = [sys.executable, "-m", "cw_cli.cli.main", "shell", run, "--", "sha256sum"]
    data = bytes(range(256)) * 4000
    done = subprocess.run(command, input=data, env=cw_environment, capture_output=True, timeout=60, check=True)
    assert done.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest()


def test_a_terminal_in_the_container(cw_environment: dict[str, str], run: str) -> None:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 99, 0, 0))
    command = [sys.executable, "-m", "cw_cli.cli.main", "shell", run]
    process = subprocess.Popen(
        command, stdin=slave, stdout=slave, stderr=slave, env=cw_environment, start_new_session=True
    )
    os.close(slave)

    def until(text: str) -> str:
        seen = ""
        end = time.monotonic() + 30
        while text not in seen:
            assert time.monotonic() < end, seen
            if select.select([master], [], [], 1)[0]:
                seen += os.read(master, 4096).decode()
        return seen

    try:
        until("$")
        os.write(master, b"stty size; tty && echo is-a-$((1+1))\r")
        assert "33 99" in until("is-a-2")
        os.write(master, b"exit 5\r")
        assert process.wait(30) == 5
    finally:
        process.kill()
        os.close(master)


def test_files_come_out_and_go_in_unchanged(cw: Cw, run: str, tmp_path: Path) -> None:
    said = cw("cp", f"{run}:folder", "here")
    assert said.code == 0, said
    assert (tmp_path / "here/file").read_text() == "text\n"
    assert (tmp_path / "here/link").readlink() == Path("file")
    assert cw("cp", "here", f"{run}:/scratch/back").code == 0
    compare = "cd /scratch && cmp folder/inner/big back/inner/big && cmp folder/file back/file && readlink back/link"
    assert cw("shell", run, "--", "sh", "-c", compare).out == "file\n"
    assert cw("cp", f"{run}:/scratch/folder/file", ".").code == 0
    assert (tmp_path / "file").read_text() == "text\n"


def test_what_cannot_be_copied_is_said(cw: Cw, run: str, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"x" * 5_000_000)
    for words, sentence in (
        ((f"{run}:nothing", "."), "cannot be copied"),
        (("big", f"{run}:/no/such/folder/x"), "there is no folder /no/such/folder"),
        (("big", f"{run}:/proc/x"), "cannot be copied"),
        (("nothing", f"{run}:x"), "there is no nothing"),
        (("a", "b"), "one of the two paths"),
        ((f"{run}:folder/file", "no/such/x"), "there is no folder"),
    ):
        said = cw("cp", *words, timeout=60)
        assert said.code in (1, 2), words
        assert sentence in said.err


def test_a_port_of_the_container(cw_environment: dict[str, str], run: str) -> None:
    command = [sys.executable, "-m", "cw_cli.cli.main", "port-forward", run, "6006:0"]
    process = subprocess.Popen(command, env=cw_environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        host, port = process.stdout.readline().strip().split(":")
        for _ in range(2):  # each connection is forwarded anew
            with socket.create_connection((host, int(port)), timeout=20) as client:
                assert client.recv(100) == b"pong\n"
            time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
        assert process.returncode == 0
        assert "Traceback" not in err
    finally:
        process.kill()
        process.communicate()


def test_diff_tells_key_by_key(cw: Cw, run: str, tmp_path: Path) -> None:
    assert "says what" in cw("diff", run).err
    (tmp_path / "config.yaml").write_text(TRAINER.replace("gpu: 1", "gpu: 2") + "max_steps: 7\n")
    assert cw("diff", run, "config.yaml").out.splitlines() == ["- gpu: 1", "+ gpu: 2", "+ max_steps: 7"]
    said = cw("diff", run, "config.yaml", "--set", "gpu=1", "-o", "json")
    assert json.loads(said.out) == [{"key": "max_steps", "run": None, "config": 7}]


def test_waiting_has_a_limit_and_a_goal(cw: Cw, run: str) -> None:
    assert cw("wait", run, "--for", "running").code == 0
    said = cw("wait", run, "--for", "succeeded", "--timeout", "1s")
    assert said.code == 1
    assert "still running after 1s" in said.err
    assert cw("wait", run, "--for", "nonsense").code == 2


def test_rbac_is_ready_to_apply(cw: Cw, kube: Kube, namespace: str) -> None:
    said = cw("rbac", "--user", "ada", "--group", "team")
    kube("apply", "-f", "-", stdin=said.out)
    assert kube("auth", "can-i", "create", "jobs", "--as", "ada").strip() == "yes"
    assert cw("rbac", "-o", "name").out.split() == ["role/cw", "rolebinding/cw"]
    assert "REPLACE" in cw("rbac").out
    assert "ClusterRole" in cw("rbac", "--with-nodes").out


def test_a_run_that_has_ended_has_no_container(cw: Cw, run: str, launched: list[str]) -> None:
    launched.clear()
    assert cw("cancel", run).code == 0
    assert cw("wait", run, "--for", "succeeded", "--timeout", "60s").code == 1
    for words in (("shell", run), ("cp", f"{run}:x", "."), ("port-forward", run, "80")):
        said = cw(*words)
        assert said.code == 1
        assert f"no container of {run} is running" in said.err
