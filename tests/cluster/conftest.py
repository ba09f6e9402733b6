"""A real cluster for the tests: one for the whole session, a namespace for each test."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILDER = ROOT / "cw_cli" / "workshop" / "images"
GPUS = 8
KIND_NAME = "cw-test"


class Cluster(NamedTuple):
    """A cluster that tests may use, and how it is reached."""

    kubeconfig: Path
    bundle: Path | None = None
    """The program that started it and can load images into its node."""

    @property
    def has_node(self) -> bool:
        return bool(json.loads(self.kubectl("get", "nodes", "-o", "json"))["items"])

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        program = [str(self.bundle / "cluster"), "kubectl"] if self.bundle else ["kubectl"]
        environment = {**os.environ, "KUBECONFIG": str(self.kubeconfig), **_state(self)}
        done = subprocess.run(
            [*program, *arguments], input=stdin, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def load(self, archive: Path) -> None:
        """Give an image archive to the node."""
        program = [str(self.bundle / "cluster"), "load"] if self.bundle else ["kind", "load", "image-archive"]
        name = [] if self.bundle else ["--name", KIND_NAME]
        subprocess.run([*program, str(archive), *name], env={**os.environ, **_state(self)}, check=True)


class Run(NamedTuple):
    """What a cw command said."""

    code: int
    out: str
    err: str


def _state(cluster: Cluster) -> dict[str, str]:
    return {"CW_KUBE_DIR": str(cluster.kubeconfig.parent)} if cluster.bundle else {}


@contextmanager
def _locked(path: Path) -> Iterator[IO[str]]:
    with path.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        yield file


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster with a node: the one that is named, or one that is started and ended with the session.

    Parallel workers of one session share it; the last one to leave ends it.
    """
    if given := os.environ.get("CW_TEST_KUBECONFIG"):
        bundle = os.environ.get("CW_TEST_KUBE")
        yield Cluster(Path(given), Path(bundle) if bundle else None)
        return
    starter = _starter()
    if starter is None:
        reason = "no cluster: set CW_TEST_KUBECONFIG, or CW_TEST_KUBE to the cluster bundle, or install kind"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    users = shared / "cluster-users"
    with _locked(users) as file:
        count = int(file.read() or 0)
        found = starter(shared / "kube", count == 0)
        _write(file, count + 1)
    try:
        yield found
    finally:
        with _locked(users) as file:
            count = int(file.read() or 0) - 1
            _write(file, count)
            if count == 0:
                _end(found)


def _write(file: IO[str], count: int) -> None:
    file.seek(0)
    file.truncate()
    file.write(str(count))
    file.flush()


def _starter() -> Callable[[Path, bool], Cluster] | None:
    if bundle := os.environ.get("CW_TEST_KUBE"):
        return lambda state, fresh: _start_bundle(Path(bundle).absolute(), state, fresh)
    return _start_kind if shutil.which("kind") else None


def _start_bundle(bundle: Path, state: Path, fresh: bool) -> Cluster:
    if fresh:
        up = [str(bundle / "cluster"), "up", "--node", "--gpus", str(GPUS)]
        environment = {**os.environ, "CW_KUBE_DIR": str(state)}
        done = subprocess.run(up, env=environment, check=False, capture_output=True, text=True)
        if done.returncode != 0:  # a machine that is busy with other tests may miss one of its limits: once more
            first = done.stderr
            subprocess.run([up[0], "down"], env=environment, check=False, stdout=subprocess.DEVNULL)
            done = subprocess.run(up, env=environment, check=False, capture_output=True, text=True)
            assert done.returncode == 0, f"no cluster: {first}\nand then: {done.stderr}"
    return Cluster(state / "kubeconfig", bundle)


def _start_kind(state: Path, fresh: bool) -> Cluster:
    kubeconfig = state / "kubeconfig"
    if fresh:
        state.mkdir(parents=True, exist_ok=True)
        subprocess.run(["kind", "create", "cluster", "--name", KIND_NAME, "--kubeconfig", str(kubeconfig)], check=True)
    return Cluster(kubeconfig)


def _end(cluster: Cluster) -> None:
    if cluster.bundle:
        command = [str(cluster.bundle / "cluster"), "down"]
        subprocess.run(command, env={**os.environ, **_state(cluster)}, check=False, stdout=subprocess.DEVNULL)
    else:
        subprocess.run(["kind", "delete", "cluster", "--name", KIND_NAME], check=False)


@pytest.fixture(scope="session")
def trl_image(cluster: Cluster) -> str:
    """The image of `containers/trl` on the cluster's node; built once for each content of that folder."""
    folder = ROOT / "containers" / "trl"
    parts = [folder / "Containerfile", *sorted((folder / "cpu").iterdir()), *sorted(BUILDER.glob("*.py"))]
    digest = hashlib.sha256(b"\0".join(part.read_bytes() for part in parts)).hexdigest()[:12]
    image = f"localhost/cw-trl:{digest}-cpu"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cw-test"
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache / "lock"):  # another session may be building the same one
        archive = cache / f"trl-{digest}.tar"
        if not archive.exists():
            _build_image("trl", image, archive)
        nodes = json.loads(cluster.kubectl("get", "nodes", "-o", "json"))["items"]
        there = {name for node in nodes for item in node["status"].get("images", []) for name in item["names"] or []}
        if image not in there:
            cluster.load(archive)
    return image


def _build_image(name: str, image: str, archive: Path) -> None:
    if not any(map(shutil.which, ("buildah", "podman", "docker"))):
        reason = f"no image: install buildah (and debootstrap where no registry is in reach), or put {archive} there"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    for older in archive.parent.glob(f"{name}-*.tar"):
        older.unlink()
    base = ["--local-base"] if shutil.which("debootstrap") else []
    command = [sys.executable, "-m", "cw_cli.cli.main", "images", "build", name, "--cpu", *base]
    subprocess.run([*command, "--tag", image, "--output", archive], check=True)


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace of the test's own."""
    name = f"t-{secrets.token_hex(4)}"
    cluster.kubectl("create", "namespace", name)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def kube(cluster: Cluster, namespace: str) -> Callable[..., Any]:
    """kubectl in the test's namespace; with `-o json` the parsed answer."""

    def run(*arguments: str, stdin: str | None = None) -> Any:
        text = cluster.kubectl("--namespace", namespace, *arguments, stdin=stdin)
        return json.loads(text) if arguments[-2:] == ("-o", "json") else text

    return run


@pytest.fixture
def cw_environment(cluster: Cluster, namespace: str, tmp_path: Path) -> dict[str, str]:
    """A user of their own: the test's cluster and namespace, and no state, settings or history."""
    (tmp_path / "settings.yaml").write_text(f"namespace: {namespace}\n")
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    return {
        **kept,
        "HOME": str(tmp_path / "home"),
        "KUBECONFIG": str(cluster.kubeconfig),
        "CW_SETTINGS": str(tmp_path / "settings.yaml"),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "XDG_DATA_HOME": str(tmp_path / "data"),
        "USER": "tester",
        "OMP_NUM_THREADS": "1",
    }


@pytest.fixture
def cw(cw_environment: dict[str, str], tmp_path: Path) -> Callable[..., Run]:
    """The command line through its real entry point, in the test's namespace."""

    def run(*arguments: str, timeout: float = 120, env: dict[str, str] | None = None) -> Run:
        done = subprocess.run(
            [sys.executable, "-m", "cw_cli.cli.main", *arguments],
            cwd=tmp_path,
            env={**cw_environment, **(env or {})},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Run(done.returncode, done.stdout, done.stderr)

    return run
