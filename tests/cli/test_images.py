"""`cw images` and `cw images build` at a shell, with a program that builds nothing and notes what it was told."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from .conftest import Said, User

PROGRAM = """#!{python}
import json, os, pathlib, sys
name, words = pathlib.Path(sys.argv[0]).name, sys.argv[1:]
with open({notes!r}, "a") as notes:
    notes.write(json.dumps([name, *words]) + "\\n")
if words[-1:] == ["info"]:
    # `vfs` is a builder whose usual storage does not work here.
    sys.exit(int(name in {dead!r} or ("vfs" in {dead!r} and words[:1] != ["--storage-driver"])))
if words[:1] == ["inspect"]:
    sys.exit(1)
print("what a builder prints")
for word in words:
    kind, _, rest = word.partition(":")
    if kind == "docker-archive":
        pathlib.Path(rest.partition(":")[0]).write_text("image")
    if words[:2] == ["save", "--output"] and word == words[2]:
        pathlib.Path(word).write_text("image")
sys.exit(int(os.environ.get("BUILD_FAILS", 0)) if "build" in words else 0)
"""


class Builders:
    """Programs on PATH, and nothing else there."""

    def __init__(self, user: User) -> None:
        self.user, self.folder, self.notes = user, user.home / "bin", user.home / "notes"
        self.folder.mkdir()
        user.environment["PATH"] = str(self.folder)

    def add(self, *names: str, dead: tuple[str, ...] = ()) -> None:
        for name in names:
            file = self.folder / name
            file.write_text(PROGRAM.format(python=sys.executable, notes=str(self.notes), dead=dead))
            file.chmod(0o755)

    def told(self) -> list[list[str]]:
        """Every command but the questions whether a builder works."""
        lines = map(json.loads, self.notes.read_text().splitlines())
        return [line for line in lines if line[-1] != "info"]

    def __call__(self, *words: str | Path, code: int = 0) -> Said:
        said = self.user("images", "build", *words)
        assert said.code == code, said.err
        return said


@pytest.fixture
def builders(cw: User) -> Builders:
    return Builders(cw)


def after(words: list[str], flag: str) -> list[str]:
    return [words[place + 1] for place, word in enumerate(words) if word == flag]


def test_the_list_names_each_type_and_what_fits_its_keys(cw: User) -> None:
    rows = json.loads(cw("images", "-o", "json").out)
    named = {(row["framework"], kind) for row in rows if row["use"] == "default" for kind in row["types"]}
    assert named >= {("trl", "sft"), ("trl", "rlhf"), ("axolotl", "grpo"), ("verifiers", "eval"), ("verifiers", "grpo")}
    by_name = {row["image"]: row for row in rows}
    built = by_name["localhost/cw-trl:1.16.0-cuda"]
    assert built["use"] == "cw images build trl"
    assert built["holds"]["transformers"] == "5.23.0"
    assert built["matches"] is True
    assert built["keys_of"] == "TRL 1.16.0 with Transformers 5.23.0"
    with_vllm = by_name["localhost/cw-trl:1.16.0-vllm"]
    assert (with_vllm["keys_of"], with_vllm["matches"]) == ("TRL 1.16.0 with Transformers 5.17.0", True)
    assert by_name["localhost/cw-verifiers:0.4.0-cpu"]["types"] == ["eval"]
    shown = cw("images").out
    assert all(name in shown for name in by_name)


def test_buildah_is_told_what_to_build(builders: Builders) -> None:
    builders.add("buildah", "podman", "docker")
    said = builders("trl", "--cpu")
    assert said.out == "localhost/cw-trl:1.16.0-cpu\n"
    assert "what a builder prints" in said.err
    (command,) = builders.told()
    assert command[:2] == ["buildah", "build"]
    assert after(command, "--tag") == ["localhost/cw-trl:1.16.0-cpu"]
    assert after(command, "--build-arg") == ["VARIANT=cpu"]
    assert "cw.dev/torch=2.13.0+cpu" in after(command, "--label")
    folder = Path(command[-1])
    assert (folder / "cpu" / "torch.txt").is_file()
    assert after(command, "--file") == [str(folder / "Containerfile")]


def test_docker_is_not_asked_for_what_it_cannot_do(builders: Builders) -> None:
    builders.add("docker")
    builders("verifiers", "--tag", "registry.example.com/v:1", "--base", "python:3.11", "--output", "v.tar")
    build, save = builders.told()
    assert {"--volume", "--isolation", "--format", "--network"}.isdisjoint(build)
    assert after(build, "--build-arg") == ["VARIANT=cpu", "BASE=python:3.11"]
    assert save[:2] == ["docker", "save"]
    assert (builders.user.home / "v.tar").read_text() == "image"
    assert not list(builders.user.home.glob(".v.tar*"))


def test_the_first_builder_that_answers_is_taken(builders: Builders) -> None:
    builders.add("buildah", "podman", dead=("buildah",))
    builders("axolotl")
    (command,) = builders.told()
    assert command[0] == "podman"
    assert after(command, "--build-arg") == ["VARIANT=cuda"]


def test_buildah_has_a_second_kind_of_storage(builders: Builders) -> None:
    builders.add("buildah", dead=("vfs",))
    builders("axolotl", "--vllm", "--output", "a.tar")
    build, push = builders.told()
    assert build[1:4] == ["--storage-driver", "vfs", "build"]
    assert push[1:4] == ["--storage-driver", "vfs", "push"]
    assert (builders.user.home / "a.tar").is_file()


def test_pips_own_configuration_holds_in_the_build(builders: Builders, tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    builders.add("podman")
    builders.user.environment |= {"PIP_FIND_LINKS": str(wheels), "PIP_CONFIG_FILE": os.devnull}
    builders("trl")
    mounted = after(builders.told()[0], "--volume")
    assert any(volume.endswith(":/etc/pip.conf:ro") for volume in mounted)
    assert any(volume.startswith(f"{wheels.resolve()}:/run/pip/") for volume in mounted)


@pytest.mark.parametrize(
    ("words", "sentence", "hint"),
    [
        (["trll"], "cw has no image for trll", "Did you mean trl?"),
        (["qqqq"], "cw has no image for qqqq", "There is axolotl, trl, verifiers."),
        (["verifiers", "--vllm"], "the image for verifiers has no variant vllm", "There is cpu."),
        (["trl", "--vllm", "--cpu"], "--cpu and --vllm are two images", "leave out --cpu"),
        (["trl", "--base", "x", "--local-base"], "both say what to build on", "Leave one"),
        (["trl", "--output", "missing/x.tar"], "there is no folder", "Make it first."),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_misuse_is_told_before_anything_is_built(
    builders: Builders, words: list[str], sentence: str, hint: str
) -> None:
    builders.add("podman")
    said = builders(*words, code=2)
    assert sentence in said.err
    assert hint in said.err
    assert not builders.notes.exists()


def test_without_a_builder_there_is_a_sentence(builders: Builders) -> None:
    said = builders("trl", code=1)
    assert said.err == (
        "error: there is no program here that builds images\nhint: Install buildah, podman or docker.\n"
    )


def test_a_builder_that_does_not_answer_is_named(builders: Builders) -> None:
    builders.add("docker", dead=("docker",))
    said = builders("trl", code=1)
    assert said.err.startswith("error: docker does not answer\nhint: `docker info` says why")


def test_a_build_that_fails_ends_with_a_sentence_and_writes_nothing(builders: Builders) -> None:
    builders.add("podman")
    builders.user.environment["BUILD_FAILS"] = "3"
    said = builders("trl", "--output", "trl.tar", code=1)
    assert said.out == ""
    assert said.err.endswith("error: podman ended with 3\nhint: What it printed above says why.\n")
    assert not (builders.user.home / "trl.tar").exists()


def test_a_base_of_ones_own_needs_debootstrap(builders: Builders) -> None:
    builders.add("podman")
    said = builders("verifiers", "--local-base", code=1)
    assert "error: a base is made with debootstrap, which is not here\n" in said.err


def test_a_base_of_ones_own_is_built_on(builders: Builders) -> None:
    builders.add("podman", "debootstrap", "tar")
    builders("verifiers", "--local-base")
    names = [command[0] for command in builders.told()]
    assert names == ["podman", "debootstrap", "tar", "podman", "podman"]
    assert "BASE=localhost/cw-python:3.11" in after(builders.told()[-1], "--build-arg")
