"""What is wrong and where: the values that every check returns.

Values of the core are named tuples: to make a frozen dataclass takes ten times as long, at every start of the command.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

KeyPath = tuple[str | int, ...]

NOTHING: Mapping[Any, Any] = MappingProxyType({})
"""An empty mapping that nobody can fill, as a default."""


class Origin(NamedTuple):
    """Where a value came from: a file's line and column (both counted from 1), or a flag as it was typed."""

    source: str
    line: int | None = None
    column: int | None = None
    text: str | None = None
    """The source line, or None where there is none to show."""
    written: str | None = None
    """A number or word as it was typed, for those who want the text: `0123` is read as 123."""

    def hidden(self) -> Origin:
        """The place without what stands there, which may be a secret."""
        return self._replace(text=None, written=None)

    def __str__(self) -> str:
        return ":".join(str(part) for part in (self.source, self.line, self.column) if part is not None)


class Problem(NamedTuple):
    """One mistake: a sentence that says what is wrong, one that says what to write instead, and the place."""

    message: str
    remedy: str = ""
    origin: Origin | None = None
    severity: Literal["error", "warning"] = "error"


def errors(problems: Iterable[Problem]) -> list[Problem]:
    """The problems that stop a launch."""
    return [problem for problem in problems if problem.severity == "error"]


def warnings(problems: Iterable[Problem]) -> list[Problem]:
    """The problems that a launch only mentions."""
    return [problem for problem in problems if problem.severity == "warning"]
