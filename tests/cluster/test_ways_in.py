"""Other ways to the API server than a straight one: through a proxy, from inside a pod, over lines that break."""

from __future__ import annotations

import base64
import http.server
import json
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from cw_cli.core.shipped import shipped
from cw_cli.targets.kubernetes.kubeconfig import read_access

from .chaos import Chaos, Fault, chaos
from .clusters import ROOT, Cluster
from .conftest import QUICK, Run

CONFIG = """\
model_name: owner/model
dataset_name: owner/data
volumes: {model-checkpoints: null}
image: busybox:1.36
gpu: 0
cpu: 20m
memory: 64Mi
"""


class Tunnel(http.server.BaseHTTPRequestHandler):
    """A proxy that knows CONNECT."""

    seen: list[str]
    upstream: tuple[str, int]

    def do_CONNECT(self) -> None:
        """Whatever it is called, what is asked for is the API server."""
        self.seen.append(self.path)
        with socket.create_connection(self.upstream) as there:
            self.send_response(200)
            self.end_headers()
            ways = {self.connection: there, there: self.connection}
            while True:
                for end in select.select([*ways], [], [])[0]:
                    data = end.recv(65536)
                    if not data:
                        return
                    ways[end].sendall(data)

    def log_message(self, *_: Any) -> None:
        """Tests say what they need."""


@pytest.fixture
def proxy(cluster: Cluster) -> Iterator[tuple[str, list[str]]]:
    """A proxy's URL, and the addresses that it was asked for."""
    seen: list[str] = []
    content = json.loads(cluster.kubectl("config", "view", "--minify", "-o", "json"))
    server_address = urlsplit(content["clusters"][0]["cluster"]["server"])
    upstream = (server_address.hostname, server_address.port or 443)
    handler = type("Handler", (Tunnel,), {"seen": seen, "upstream": upstream})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", seen
    server.shutdown()
    server.server_close()


@pytest.fixture
def run(cw: Callable[..., Run], tmp_path: Path) -> str:
    """A run that goes on for a while."""
    pod = json.dumps({"containers": [{"name": "trainer", "command": ["sh", "-c", "echo begun; sleep 300"], **QUICK}]})
    (tmp_path / "config.yaml").write_text(CONFIG)
    done = cw("trl", "sft", "config.yaml", "--set", f"pod={pod}")
    assert done.code == 0, done.err
    name = done.out.strip()
    assert cw("wait", name, "--for", "running", "--timeout", "60s").code == 0
    return name


def test_through_the_environments_proxy(
    cluster: Cluster, cw: Callable[..., Run], run: str, proxy: tuple[str, list[str]], tmp_path: Path
) -> None:
    url, seen = proxy
    content = json.loads(cluster.kubectl("config", "view", "--raw", "--flatten", "--minify", "-o", "json"))
    entry = content["clusters"][0]["cluster"]
    # Addresses of this machine are never asked for through the environment's proxy.
    named = {**entry, "server": "https://cluster.test:6443", "tls-server-name": "kubernetes"}
    content["clusters"][0]["cluster"] = named
    (tmp_path / "named").write_text(json.dumps(content))
    env = {"KUBECONFIG": str(tmp_path / "named"), "HTTPS_PROXY": url}
    done = cw("list", env=env)
    assert done.code == 0, done.err
    assert run in done.out
    assert seen
    assert cw("shell", run, "--", "echo", "inside", env=env).out == "inside\n"
    assert "begun" in cw("logs", run, env=env).out
    count = len(seen)
    assert "no address is known for cluster.test" in cw("list", env={**env, "NO_PROXY": "cluster.test"}).err
    assert len(seen) == count


def test_through_the_kubeconfigs_proxy(
    cluster: Cluster, cw: Callable[..., Run], run: str, proxy: tuple[str, list[str]], tmp_path: Path
) -> None:
    url, seen = proxy
    content = json.loads(cluster.kubectl("config", "view", "--raw", "--flatten", "--minify", "-o", "json"))
    content["clusters"][0]["cluster"]["proxy-url"] = url
    (tmp_path / "proxied").write_text(json.dumps(content))
    env = {"KUBECONFIG": str(tmp_path / "proxied")}
    assert run in cw("list", env=env).out
    assert seen
    assert cw("shell", run, "--", "echo", "inside", env=env).out == "inside\n"
    (tmp_path / "file").write_text("text\n")
    assert cw("cp", str(tmp_path / "file"), f"{run}:/tmp/file", env=env).code == 0


def test_a_proxy_that_is_dead_is_told_at_once(cluster: Cluster, cw: Callable[..., Run], tmp_path: Path) -> None:
    content = json.loads(cluster.kubectl("config", "view", "--raw", "--flatten", "--minify", "-o", "json"))
    content["clusters"][0]["cluster"]["proxy-url"] = "http://127.0.0.1:9"
    (tmp_path / "dead").write_text(json.dumps(content))
    began = time.monotonic()
    done = cw("list", env={"KUBECONFIG": str(tmp_path / "dead")})
    assert done.code == 1
    assert "proxy" in done.err and "hint:" in done.err
    assert time.monotonic() - began < 10


POD = """
apiVersion: v1
kind: Pod
metadata: {{name: inside}}
spec:
  serviceAccountName: ada
  restartPolicy: Never
  terminationGracePeriodSeconds: 0
  containers:
    - name: inside
      image: {image}
      command: [sleep, "3600"]
      env: [{{name: PYTHONPATH, value: /tmp/site}}, {{name: HOME, value: /tmp}}]
"""


@pytest.mark.timeout(1800)  # it may build the image
def test_from_inside_a_pod(
    cw: Callable[..., Run], kube: Callable[..., Any], cluster: Cluster, namespace: str, trl_image: str, tmp_path: Path
) -> None:
    kube("create", "serviceaccount", "ada")
    kube("apply", "-f", "-", stdin=cw("rbac", "--serviceaccount", "ada").out)
    kube("apply", "-f", "-", stdin=POD.format(image=trl_image))
    kube("wait", "--for=condition=Ready", "pod/inside", "--timeout=60s")
    site = tmp_path / "site"
    parts = ["typer==0.28.*", "rich", "pyyaml", "jinja2", "urllib3", "websocket-client"]
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--target", str(site), *parts]
    subprocess.run(install, check=True, timeout=200)
    archive = tmp_path / "site.tar"
    folders = [name for name in ("kubeconfigs", "containers", "examples") if (ROOT / name).exists()]
    subprocess.run(["tar", "-cf", archive, "-C", site, "."], check=True)
    subprocess.run(
        ["tar", "-rf", archive, "--exclude=__pycache__", "-C", shipped("schemas").parents[1], "cw_cli", *folders],
        check=True,
    )
    kube("exec", "inside", "--", "mkdir", "/tmp/site")
    data = base64.b64encode(archive.read_bytes()).decode()
    kube("exec", "-i", "inside", "--", "sh", "-c", "base64 -d | tar -xf - -C /tmp/site", stdin=data)
    inside = ("exec", "inside", "--", "python3", "-m", "cw_cli.cli.main")
    (tmp_path / "config.yaml").write_text(CONFIG)
    kube("exec", "-i", "inside", "--", "sh", "-c", "cat > /tmp/config.yaml", stdin=CONFIG)
    run = kube(*inside, "trl", "sft", "/tmp/config.yaml", "-o", "name").strip()
    assert run in kube(*inside, "list")
    assert kube("get", "job", run, "-o", "json")["metadata"]["namespace"] == namespace
    assert run in cw("list").out


LINES = 4000


@pytest.fixture
def line(cluster: Cluster, namespace: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Chaos]:
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    with chaos(read_access(None, namespace)) as breaking:
        yield breaking


@pytest.mark.parametrize("what", ["cut", "reset", 503])
def test_a_followed_log_over_a_line_that_breaks_is_whole(
    cw: Callable[..., Run], line: Chaos, namespace: str, tmp_path: Path, what: int | str
) -> None:
    script = f"i=0; while [ $i -lt {LINES} ]; do echo line $i; i=$((i+1)); [ $((i % 400)) = 0 ] && sleep 0.3; done"
    pod = json.dumps({"containers": [{"name": "trainer", "command": ["sh", "-c", script], **QUICK}]})
    (tmp_path / "config.yaml").write_text(CONFIG)
    run = cw("trl", "sft", "config.yaml", "--set", f"pod={pod}").out.strip()
    assert cw("wait", run, "--for", "running", "--timeout", "60s").code == 0
    env = {"KUBECONFIG": str(line.kubeconfig(tmp_path, namespace))}

    def fault(number: int, path: str) -> Fault | None:
        """Two of three requests for the log."""
        return Fault(what, number) if path.partition("?")[0].endswith("/log") and number % 3 else None

    line.faults = fault
    done = cw("logs", run, "-f", env=env, timeout=110)
    assert done.code == 0, done.err
    assert [text for text in done.out.splitlines() if text.startswith("line ")] == [f"line {n}" for n in range(LINES)]
    assert sum("/log" in path for _, path in line.seen) > 2, "the line never broke"
