"""The program that builds images here, buildah, podman or docker, and what cw has it do."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from cw_cli.core.exceptions import CwError, UsageError
from cw_cli.core.images import Image, frameworks, images
from cw_cli.core.shipped import shipped
from cw_cli.core.spelling import nearest
from cw_cli.workshop.images.pip_mounts import pip_mounts

LOCAL_BASE = "localhost/cw-python:3.11"
DEBIAN, PACKAGES = "bookworm", "python3,python3-venv,ca-certificates"
UNNEEDED = ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale")


def wanted(framework: str, variant: str | None) -> Image:
    """The image to build, the framework's first unless a variant is named; raises `UsageError`."""
    found = images(framework) if framework in frameworks() else ()
    if not found:
        near = nearest(framework, frameworks())
        hint = f"Did you mean {near}?" if near else f"There is {', '.join(frameworks())}."
        raise UsageError(f"cw has no image for {framework}", hint)
    if variant is None:
        return found[0]
    for image in found:
        if image.variant == variant:
            return image
    there = " and ".join(image.variant for image in found)
    raise UsageError(f"the image for {framework} has no variant {variant}", f"There is {there}.")


class Builder(NamedTuple):
    """A builder that answers. Every command that runs is told to `tell` first; what it prints goes to stderr."""

    program: tuple[str, ...]
    tell: Callable[[str], None]

    @classmethod
    def found(cls, tell: Callable[[str], None]) -> Builder:
        """The first that answers: docker may be there without its daemon, and buildah where overlays fail."""
        there = []
        for program in (("buildah",), ("buildah", "--storage-driver", "vfs"), ("podman",), ("docker",)):
            if shutil.which(program[0]) is None:
                continue
            if _succeeds([*program, "info"]):
                return cls(program, tell)
            there.append(program[0])
        names = " and ".join(dict.fromkeys(there))
        if not there:
            raise CwError("there is no program here that builds images", "Install buildah, podman or docker.")
        does = "does" if names == there[0] else "do"
        raise CwError(
            f"{names} {does} not answer", f"`{there[-1]} info` says why; any of buildah, podman, docker will do."
        )

    def build(self, image: Image, tag: str, base: str | None) -> None:
        """Build `image` on `base`, or on what its Containerfile names, and call it `tag`."""
        folder = shipped("containers") / image.framework
        command = [*self.program, "build", "--tag", tag, "--file", str(folder / "Containerfile")]
        command += ["--build-arg", f"VARIANT={image.variant}"]
        if base:
            command += ["--build-arg", f"BASE={base}"]
        for package, version in image.versions().items():
            command += ["--label", f"cw.dev/{package}={version}"]
        if self.program[0] != "docker":
            # Docker's own format has health checks. An index or a proxy may listen on this machine alone.
            command += ["--format", "docker", "--network", "host"]
        if self.program[0] == "buildah":
            # Layers are kept between builds; chroot needs no more rights than the build itself.
            command += ["--layers", "--isolation", "chroot"]
        with tempfile.TemporaryDirectory(prefix="cw-pip-") as scratch:
            if self.program[0] != "docker":  # which mounts nothing into a build
                command += pip_mounts(Path(scratch) / "pip.conf")
            self._run([*command, str(folder)])

    def local_base(self) -> str:
        """A small Debian with Python, made once with debootstrap and kept in the builder's store; its name."""
        if _succeeds([*self.program, "inspect", "--type", "image", LOCAL_BASE]):
            return LOCAL_BASE
        if shutil.which("debootstrap") is None:
            raise CwError("a base is made with debootstrap, which is not here", "Install it, or name one with --base.")
        with tempfile.TemporaryDirectory(prefix="cw-base-") as folder:
            root, archive = Path(folder) / "root", Path(folder) / "root.tar"
            self._run(["debootstrap", "--variant=minbase", f"--include={PACKAGES}", DEBIAN, str(root)])
            for unneeded in UNNEEDED:
                shutil.rmtree(root / unneeded, ignore_errors=True)
            self._run(["tar", "--create", "--file", str(archive), "--directory", str(root), "."])
            if self.program[0] == "buildah":
                container = self._output([*self.program, "from", "scratch"])
                self._run([*self.program, "add", "--quiet", container, str(archive), "/"])
                self._run([*self.program, "commit", "--quiet", "--rm", container, LOCAL_BASE])
            else:
                self._run([*self.program, "import", str(archive), LOCAL_BASE])
        return LOCAL_BASE

    def save(self, tag: str, output: Path) -> None:
        """Write the image to an archive, which is whole or not there."""
        unfinished = output.with_name(f".{output.name}.unfinished")
        unfinished.unlink(missing_ok=True)
        if self.program[0] == "buildah":
            self._run([*self.program, "push", "--quiet", tag, f"docker-archive:{unfinished}:{tag}"])
        else:
            self._run([*self.program, "save", "--output", str(unfinished), tag])
        unfinished.replace(output)

    def _run(self, command: list[str]) -> None:
        self.tell(" ".join(command))
        if code := subprocess.run(command, stdout=sys.stderr, stdin=subprocess.DEVNULL, check=False).returncode:
            raise CwError(f"{command[0]} ended with {code}", "What it printed above says why.")

    def _output(self, command: list[str]) -> str:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise CwError(f"{command[0]} ended with {done.returncode}", "What it printed above says why.")
        return done.stdout.strip()


def _succeeds(command: list[str]) -> bool:
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return done.returncode == 0
