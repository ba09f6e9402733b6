"""What trains a config that comes alone: the kind of training that knows most of its keys."""

from __future__ import annotations

import re
from pathlib import Path

from cw_cli.core.config import read_config
from cw_cli.core.framework import TrainingType
from cw_cli.core.launch_keys import launch_schema
from cw_cli.core.registry import BUILT_IN, FrameworkRegistry
from cw_cli.core.schema import Schema


def likely_kind(config: Path) -> tuple[str, str]:
    """Framework and training type of a built-in framework that know most of the config's keys.

    Of several that know as many, it is the one that the file's name speaks of (`dpo.yaml`), else the one that cw lists
    first. Raises `ConfigError` for a file that cannot be read.
    """
    names = read_config(config).values
    words = set(re.split(r"[\W_]+", config.stem.lower()))
    registry = FrameworkRegistry()
    own = launch_schema()

    def misfit(kind: tuple[str, str]) -> tuple[int, int]:
        schema: Schema | None = registry.get(kind[0]).get_schema(TrainingType(kind[1]))
        theirs = [name for name in names if not own.knows(name)]
        return sum(_strange(schema, name) for name in theirs) if schema else 0, -_said(kind[1], words)

    return min(((name, kind) for name, entry in BUILT_IN.items() for kind in entry.types), key=misfit)


def _said(training_type: str, words: set[str]) -> int:
    """How many words of a file's name say this type: 0 unless all of its own are there."""
    own = set(training_type.split("_"))
    return len(own) if own <= words else 0


def _strange(schema: Schema, name: str) -> int:
    """0 for a key that is taken, 1 for one that is refused with its reason, 2 for one that nobody has heard of."""
    if name in schema.blocks or schema.key(name) is not None:
        return 0
    return 1 if schema.knows(name) else 2
