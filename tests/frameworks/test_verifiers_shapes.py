"""Configs in the shapes of the published ones of verifiers and prime-rl are taken, or refused with what to write."""

from __future__ import annotations

from pathlib import Path

import pytest

from cw_cli.core.checks import check_config
from cw_cli.core.config import parse_config
from cw_cli.core.exceptions import ConfigError
from cw_cli.core.framework import TrainingType
from cw_cli.core.registry import FrameworkRegistry

from .verifiers_shapes import SHAPES, Shape


def said(shape: Shape, folder: Path) -> list[str]:
    framework = FrameworkRegistry().get("verifiers")
    given = parse_config(shape.text, str(folder / "config.toml"))
    try:
        problems = check_config(framework, TrainingType(shape.kind), given).warnings
    except ConfigError as error:
        problems = tuple(error.problems)
    return [f"{'*' if item.severity == 'warning' else ''}{item.message}" for item in problems]


@pytest.mark.parametrize("name", SHAPES)
def test_a_published_shape_is_taken_or_refused_with_a_reason(name: str, tmp_path: Path) -> None:
    (tmp_path / "skills/search").mkdir(parents=True)
    shape = SHAPES[name]
    found = said(shape, tmp_path)
    assert len(found) == len(shape.says), found
    for sentence, beginning in zip(sorted(found), sorted(shape.says), strict=True):
        assert sentence.startswith(beginning)
