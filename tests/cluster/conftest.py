"""A real cluster for the tests: one for the whole session, a namespace for each test."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import pytest

from . import clusters, images
from .clusters import Cluster
from .volumes import CLAIM, READER, Volume

QUICK = {"resources": {"limits": {"cpu": "2"}}}
"""For a container that asks for little, so that it finds a place, and takes what is free, so that it starts at once."""


class Run(NamedTuple):
    """What a cw command said."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster with a node: the one that is named, or one that is started and ended with the session.

    Parallel workers of one session share it; the last one to leave ends it. The images that its tests will ask for
    are made meanwhile.
    """
    asked = {name for item in request.session.items for name in getattr(item, "fixturenames", ())}
    frameworks = [framework for framework in images.FRAMEWORKS if f"{framework}_image" in asked]
    log = tmp_path_factory.getbasetemp() / "images.log"
    if given := os.environ.get("CW_TEST_KUBECONFIG"):
        bundle = os.environ.get("CW_TEST_KUBE")
        found = Cluster(Path(given), Path(bundle) if bundle else None)
        with images.on_their_way(found, frameworks, log):
            yield found
        return
    start = clusters.starter()
    if start is None:
        _impossible("no cluster: set CW_TEST_KUBECONFIG, or CW_TEST_KUBE to the cluster bundle, or install kind")
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with clusters.shared(folder, start) as found, images.on_their_way(found, frameworks, log):
        yield found


def _impossible(reason: str) -> NoReturn:
    """CI has all that the tests need."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def trl_image(cluster: Cluster) -> str:
    """The image of `containers/trl` on the cluster's node."""
    return _image(cluster, "trl")


@pytest.fixture(scope="session")
def verifiers_image(cluster: Cluster) -> str:
    """The image of `containers/verifiers` on the cluster's node."""
    return _image(cluster, "verifiers")


def _image(cluster: Cluster, framework: str) -> str:
    try:
        return images.on_the_node(cluster, framework)
    except images.NoImageError as error:
        _impossible(f"no image: {error}")


@contextmanager
def fresh_namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace that is there as long as the block lasts."""
    name = f"t-{secrets.token_hex(4)}"
    cluster.kubectl("create", "namespace", name)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace of the test's own."""
    with fresh_namespace(cluster) as name:
        yield name


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


@pytest.fixture
def volume(cluster: Cluster, namespace: str, kube: Callable[..., Any]) -> Volume:
    """A claim in a namespace that enforces `restricted` Pod Security."""
    cluster.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    kube("apply", "-f", "-", stdin=CLAIM + "---" + READER)
    kube("wait", "--for=condition=Ready", "pod/reader", "--timeout=60s")
    return Volume(kube)
