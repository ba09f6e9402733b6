"""Every image that a run may start with: what cw takes by default, and what it can build."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from cw_cli.core import images
from cw_cli.core.exceptions import PluginError
from cw_cli.core.framework import BaseTrainingFramework, TrainingType
from cw_cli.core.registry import FrameworkRegistry

TRAINER = "trainer"


class Listed(NamedTuple):
    """One image, as `cw images` shows it."""

    framework: str
    image: str
    use: str
    """`default`, for the run or a role of it, or the command that builds it."""
    types: tuple[str, ...]
    holds: dict[str, str]
    """Versions of what people ask for by name; empty where nobody but the image knows."""
    keys_of: str
    """What the config is checked against."""
    matches: bool | None
    """Whether the image holds just that; None where nobody but the image knows."""


class Broken(NamedTuple):
    """A plugin that does not tell its images."""

    framework: str
    problem: str


def listed() -> Iterator[Listed | Broken]:
    """For each framework its defaults, then what cw builds for it."""
    registry = FrameworkRegistry()
    for name in registry.names():
        try:
            framework = registry.get(name)
            yield from [*_defaults(framework), *_built(framework)]
        except PluginError as error:
            yield Broken(name, f"{error.message}. {error.hint}")


def _built(framework: BaseTrainingFramework) -> Iterator[Listed]:
    kinds = framework.get_training_types()
    types = tuple(str(kind) for kind in kinds if TRAINER not in framework.template_images(kind))
    for number, image in enumerate(images.images(framework.name)):
        command = f"cw images build {framework.name}" + (f" --{image.variant}" if number else "")
        schema = framework.schema_of_image(kinds[0], image.tag)
        matches = images.matching(image) is not None
        yield Listed(framework.name, image.tag, command, types, image.versions(), schema.subject, matches)


def _defaults(framework: BaseTrainingFramework) -> Iterator[Listed]:
    """A row for each image and use, with all types that have it."""
    rows: dict[tuple[str, str, str], list[str]] = {}
    for kind in framework.get_training_types():
        for role, image in {TRAINER: framework.get_default_image(), **framework.template_images(kind)}.items():
            rows.setdefault((image, role, _subject(framework, kind)), []).append(str(kind))
    for (image, role, subject), types in rows.items():
        use = "default" if role == TRAINER else f"default of {role}"
        yield Listed(framework.name, image, use, tuple(types), {}, subject, None)


def _subject(framework: BaseTrainingFramework, kind: TrainingType) -> str:
    schema = framework.get_schema(kind)
    return schema.subject if schema else ""
