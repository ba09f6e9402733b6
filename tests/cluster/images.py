"""The images that pods of the tests run: cw's own for processors, built once for each content, on the cluster's node.

They take minutes, so they are made while the first tests run: `python -m tests.cluster.images KUBECONFIG FRAMEWORK …`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from .clusters import ROOT, Cluster, locked

BUILDER = ROOT / "cw_cli" / "workshop" / "images"
FRAMEWORKS = ("trl", "verifiers")
"""Those whose images run on the node."""


class NoImageError(Exception):
    """Nothing here can build one."""


class Wanted(NamedTuple):
    """An image and the archive that it is kept in."""

    framework: str
    image: str
    archive: Path

    @classmethod
    def of(cls, framework: str) -> Wanted:
        folder = ROOT / "containers" / framework
        parts = [folder / "Containerfile", *folder.glob("cpu/*"), *folder.glob("harness/*"), *BUILDER.glob("*.py")]
        digest = hashlib.sha256(b"\0".join(part.read_bytes() for part in sorted(parts))).hexdigest()[:12]
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cw-test"
        return cls(framework, f"localhost/cw-{framework}:{digest}-cpu", cache / f"{framework}-{digest}.tar")


def on_the_node(cluster: Cluster, framework: str) -> str:
    """The name of the framework's image, once it is there; raises `NoImageError`."""
    wanted = Wanted.of(framework)
    wanted.archive.parent.mkdir(parents=True, exist_ok=True)
    with locked(wanted.archive.parent / "lock"):  # somebody else may be building it, or the base of all
        if not wanted.archive.exists():
            _build(wanted)
        nodes = json.loads(cluster.kubectl("get", "nodes", "-o", "json"))["items"]
        there = {name for node in nodes for item in node["status"].get("images", []) for name in item["names"] or []}
        if wanted.image not in there:
            cluster.load(wanted.archive)
    return wanted.image


def _build(wanted: Wanted) -> None:
    if not any(map(shutil.which, ("buildah", "podman", "docker"))):
        raise NoImageError(
            f"install buildah (and debootstrap where no registry is in reach), or put {wanted.archive} there"
        )
    for older in wanted.archive.parent.glob(f"{wanted.framework}-*.tar"):
        older.unlink()
    base = ["--local-base"] if shutil.which("debootstrap") else []
    command = [sys.executable, "-m", "cw_cli.cli.main", "images", "build", wanted.framework, "--cpu", *base]
    subprocess.run([*command, "--tag", wanted.image, "--output", wanted.archive], check=True)


@contextmanager
def on_their_way(cluster: Cluster, frameworks: Sequence[str], log: Path) -> Iterator[None]:
    """Meanwhile the images are made and brought to the node. What fails there fails for whoever asks for the image."""
    if not frameworks:
        yield
        return
    bundle = {"CW_TEST_KUBE": str(cluster.bundle)} if cluster.bundle else {}
    command = [sys.executable, "-m", "tests.cluster.images", str(cluster.kubeconfig), *frameworks]
    with log.open("wb") as file:
        maker = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **bundle}, stdout=file, stderr=file, start_new_session=True
        )
    try:
        yield
    finally:
        if maker.poll() is None:
            os.killpg(maker.pid, signal.SIGTERM)
        maker.wait()


def main(kubeconfig: str, *frameworks: str) -> None:
    bundle = os.environ.get("CW_TEST_KUBE")
    cluster = Cluster(Path(kubeconfig), Path(bundle) if bundle else None)
    for framework in frameworks:
        on_the_node(cluster, framework)


if __name__ == "__main__":
    main(*sys.argv[1:])
