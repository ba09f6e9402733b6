"""The images that cw can build: what is in each, which of them a name means, and what a config asks for beyond it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from cw_cli.core.config import Config
from cw_cli.core.problems import KeyPath, Problem
from cw_cli.core.shipped import shipped

VARIANTS = ("cuda", "cpu", "vllm")
"""For NVIDIA GPUs, for processors only, and for GPUs with vLLM, whose pins are others; a framework has some of them."""

Need = tuple[KeyPath, tuple[str, ...]]
"""A key that asks for a package, and the packages of which one is enough."""

_OURS = re.compile(r"(?:.*/)?cw-([a-z0-9]+)(?::([\w.-]+))?(?:@.*)?")
_PIN = re.compile(r"^([\w.-]+)==([^\s;]+)", re.MULTILINE)


class Image(NamedTuple):
    """An image of a folder below `containers/`."""

    framework: str
    variant: str
    packages: Mapping[str, str]
    """Its lock file: the version of each package."""

    @property
    def tag(self) -> str:
        """What it is called unless the user says otherwise."""
        return f"localhost/cw-{self.framework}:{self.packages[self.framework]}-{self.variant}"

    def versions(self) -> dict[str, str]:
        """Of what people ask for by name."""
        asked = (self.framework, "trl", "transformers", "torch", "vllm")
        return {name: self.packages[name] for name in asked if name in self.packages}


def frameworks() -> list[str]:
    """The frameworks that have an image of cw's own."""
    return sorted(path.parent.name for path in shipped("containers").glob("*/Containerfile"))


@cache
def images(framework: str) -> tuple[Image, ...]:
    """The images of a framework, the one that is built by default first; none for an unknown framework."""
    folder = shipped("containers") / framework
    there = [variant for variant in VARIANTS if (folder / variant / "requirements.txt").is_file()]
    return tuple(Image(framework, variant, _locked(framework, variant)) for variant in there)


def _locked(framework: str, variant: str) -> dict[str, str]:
    files = sorted((shipped("containers") / framework / variant).glob("*.txt"))
    return dict(pin for file in files for pin in _PIN.findall(file.read_text("utf-8")))


class Described(NamedTuple):
    """A schema file, and the versions of the packages whose keys it holds."""

    file: Path
    versions: Mapping[str, str]


@cache
def described(framework: str) -> tuple[Described, ...]:
    """What the schemas of a framework describe, the newest first; the others hold only how they differ from it."""
    folder = shipped("schemas")
    files = [folder / f"{framework}.json", *sorted(folder.glob(f"{framework}-*.json"), reverse=True)]
    return tuple(Described(file, json.loads(file.read_text("utf-8"))["versions"]) for file in files)


def matching(image: Image) -> Described | None:
    """The schema of just what an image holds."""
    known = described(image.framework)
    return next((item for item in known if item.versions.items() <= image.packages.items()), None)


def matching_name(name: str | None, framework: str) -> Described | None:
    """The same for whatever `name` may mean; None for strangers' images, and where it may mean different ones."""
    found = [matching(image) for image in meant(name) if image.framework == framework]
    return found[0] if found and all(item == found[0] for item in found) else None


def meant(name: str | None) -> list[Image]:
    """The images that `name` may be one of: by what it is called, and by how its tag ends. None of a stranger's."""
    match = _OURS.fullmatch(name or "")
    if match is None or match[1] not in frameworks():
        return []
    found = images(match[1])
    return [image for image in found if (match[2] or "").endswith(f"-{image.variant}")] or list(found)


def checks(config: Config, name: str | None, framework: str, needs: Iterable[Need], gpus: int) -> Iterator[Problem]:
    """What the image `name`, where it is one of cw's own, does not have of what the config asks for."""
    found = meant(name)
    if not found:
        return
    if found[0].framework != framework:
        message = f"{name} is an image for {found[0].framework}, and this run needs {framework}"
        yield config.problem(("image",), message, f"build one: cw images build {framework}", warning=True)
        return
    if gpus and all(image.packages.get("torch", "").endswith("+cpu") for image in found):
        message = f"the torch of {name} is for processors only, and the run asks for GPUs"
        yield config.problem(("image",), message, f"build the other one: cw images build {framework}", warning=True)
    for path, packages in needs:
        if not any(package in image.packages for image in found for package in packages):
            asked = ".".join(map(str, path))
            message = f"{asked} needs the package {' or '.join(packages)}, which {name} does not have"
            yield config.problem(path, message, _remedy(framework, packages), warning=True)


def _remedy(framework: str, packages: tuple[str, ...]) -> str:
    for image in images(framework):
        if any(package in image.packages for package in packages):
            option = "" if image == images(framework)[0] else f" --{image.variant}"
            return f"build the image that has it: cw images build {framework}{option}"
    return "name another image as `image:`, or delete the key"
