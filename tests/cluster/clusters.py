"""A cluster with a node, and how one is started and ended for a session of tests."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
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
        own = self.kubeconfig.parent / "bin" / "kubectl"  # the bundle's, which its program takes as long again to find
        through = [str(self.bundle / "cluster"), "kubectl"] if self.bundle else ["kubectl"]
        program = [str(own)] if own.is_file() else through
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


def _state(cluster: Cluster) -> dict[str, str]:
    return {"CW_KUBE_DIR": str(cluster.kubeconfig.parent)} if cluster.bundle else {}


@contextmanager
def locked(path: Path) -> Iterator[IO[str]]:
    """The file, which nobody else has meanwhile."""
    with path.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        yield file


@contextmanager
def shared(folder: Path, start: Callable[[Path, bool], Cluster]) -> Iterator[Cluster]:
    """One cluster for all who name this folder: the first starts it, the last ends it."""
    users = folder / "cluster-users"
    with locked(users) as file:
        count = int(file.read() or 0)
        found = start(folder / "kube", count == 0)
        _write(file, count + 1)
    try:
        yield found
    finally:
        with locked(users) as file:
            count = int(file.read() or 0) - 1
            _write(file, count)
            if count == 0:
                _end(found)


def _write(file: IO[str], count: int) -> None:
    file.seek(0)
    file.truncate()
    file.write(str(count))
    file.flush()


def starter() -> Callable[[Path, bool], Cluster] | None:
    """What starts a cluster here, or only finds it: with its folder, and whether it must be started."""
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
