"""The lock files of the images: whole, what was asked for, and what the schemas describe."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from cw_cli.core import images

CONTAINERS = Path(__file__).resolve().parents[2] / "containers"
SOURCES = sorted(CONTAINERS.glob("*/*/requirements.in"))
ALL = [image for framework in images.frameworks() for image in images.images(framework)]


def name_of(image: images.Image) -> str:
    return f"{image.framework}-{image.variant}"


def pins(folder: Path) -> dict[str, str]:
    lines = [line for file in sorted(folder.glob("*.txt")) for line in file.read_text().splitlines()]
    found = [line.split("==") for line in lines if not line.startswith("#")]
    assert all(len(pin) == 2 for pin in found), "a line is no pin"
    assert len({name for name, _ in found}) == len(found), "a package is pinned twice"
    return dict(found)


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: f"{path.parent.parent.name}-{path.parent.name}")
def test_a_lock_holds_what_was_asked_for(source: Path) -> None:
    locked = pins(source.parent)
    asked = [Requirement(line) for line in source.read_text().splitlines() if not line.startswith(("#", "-c"))]
    assert asked
    for requirement in asked:
        assert requirement.specifier.contains(locked[requirement.name], prereleases=True), requirement


def test_harnesses_are_given_the_versions_that_stand_beside_verifiers() -> None:
    beside = pins(CONTAINERS / "verifiers" / "cpu")
    assert pins(CONTAINERS / "verifiers" / "harness").items() <= beside.items()


@pytest.mark.parametrize("image", ALL, ids=name_of)
def test_an_image_holds_what_its_schema_describes(image: images.Image) -> None:
    found = images.matching(image)
    assert found is not None
    assert found.versions.items() <= image.packages.items()
    # No vLLM that TRL 1.16 can use goes with the newest Transformers, so that image has a schema of its own.
    assert (found == images.described(image.framework)[0]) is (name_of(image) != "trl-vllm")


@pytest.mark.parametrize("framework", images.frameworks())
def test_every_schema_is_of_an_image(framework: str) -> None:
    held = [images.matching(image) for image in images.images(framework)]
    assert all(item in held for item in images.described(framework))


@pytest.mark.parametrize(
    ("name", "transformers"),
    [
        ("localhost/cw-trl:1.16.0-vllm", "5.17.0"),
        ("registry.example.com/team/cw-trl:2.0-vllm@sha256:0", "5.17.0"),
        ("cw-trl:1.16.0-cpu", "5.23.0"),
        ("cw-trl:mine", None),
        ("cw-axolotl:1-vllm", None),
        ("huggingface/trl:1.16.0", None),
        (None, None),
    ],
)
def test_a_name_tells_what_the_image_holds(name: str | None, transformers: str | None) -> None:
    found = images.matching_name(name, "trl")
    assert (found and found.versions["transformers"]) == transformers


def test_a_tag_of_ones_own_tells_it_where_all_variants_hold_the_same() -> None:
    assert images.matching_name("cw-axolotl:mine", "axolotl") == images.described("axolotl")[0]


@pytest.mark.parametrize("image", ALL, ids=name_of)
def test_a_variant_is_what_it_is_called(image: images.Image) -> None:
    assert ("vllm" in image.packages) == (image.variant == "vllm")
    on_gpus = any(name.startswith("nvidia-c") for name in image.packages)
    assert on_gpus == (image.variant != "cpu")
    assert image.packages.get("torch", "+cpu").endswith("+cpu") == (image.variant == "cpu")


@pytest.mark.parametrize("framework", images.frameworks())
def test_a_containerfile_is_labelled_as_what_it_installs(framework: str) -> None:
    text = (CONTAINERS / framework / "Containerfile").read_text()
    labels = dict(re.findall(r'([\w./-]+)="([^"]*)"', text[text.index("LABEL") : text.index("HEALTHCHECK")]))
    first = images.images(framework)[0]
    assert labels["org.opencontainers.image.title"] == f"cw-{framework}"
    assert labels["org.opencontainers.image.version"] == first.packages[framework]
    assert labels["cw.dev/framework"] == framework
    assert f"ARG VARIANT={first.variant}\n" in text


@pytest.mark.parametrize("framework", images.frameworks())
def test_a_containerfile_copies_only_what_ships(framework: str) -> None:
    text = (CONTAINERS / framework / "Containerfile").read_text()
    copied = re.findall(r"^COPY (\S+) ", text, re.MULTILINE)
    assert copied
    for image in images.images(framework):
        for path in copied:
            assert (CONTAINERS / framework / path.replace("${VARIANT}", image.variant)).is_file(), path


@pytest.mark.parametrize("framework", images.frameworks())
def test_nothing_runs_as_root(framework: str) -> None:
    steps = [line.split(" ", 1) for line in (CONTAINERS / framework / "Containerfile").read_text().splitlines() if line]
    users = [step[1] for step in steps if step[0] == "USER"]
    assert users == ["1000:1000"]
