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

    def misfit(kind: tuple[str, str]) -> tuple[int, bool]:
        schema: Schema | None = registry.get(kind[0]).get_schema(TrainingType(kind[1]))
        unknown = 0 if schema is None else sum(not schema.knows(name) and not own.knows(name) for name in names)
        return unknown, kind[1] not in words

    return min(((name, kind) for name, entry in BUILT_IN.items() for kind in entry.types), key=misfit)
