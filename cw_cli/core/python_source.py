"""A Python file of the user's as its source says it: read, never run, because a check must not do what it does."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from cw_cli.core.problems import NOTHING, Origin, Problem

MAX_BYTES = 1024 * 1024

Definition = ast.FunctionDef | ast.AsyncFunctionDef


class Source(NamedTuple):
    """The top level of a Python file: its functions, the other names that it makes, and why it cannot be read."""

    path: Path
    lines: tuple[str, ...] = ()
    functions: Mapping[str, Definition] = NOTHING
    names: frozenset[str] = frozenset()
    tree: ast.Module | None = None
    problem: Problem | None = None

    def origin(self, line: int, column: int = 0) -> Origin:
        """`line` counts from 1, `column` from 0, as Python's syntax trees do."""
        text = self.lines[line - 1] if 0 < line <= len(self.lines) else None
        return Origin(str(self.path), line, column + 1, text)


def read(path: Path) -> Source:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES).decode("utf-8-sig")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Python thinks of the user's backslashes belongs to the run
            tree = ast.parse(text)
    except OSError as error:
        return _broken(path, f"{path} cannot be read: {error.strerror or error}", "check the file")
    except UnicodeDecodeError:
        return _broken(path, f"{path} is not UTF-8 text", "save it as UTF-8")
    except SyntaxError as error:
        line = error.text.rstrip("\n") if error.text else None
        return _broken(path, f"this is not Python: {error.msg}", "correct the line", error.lineno, error.offset, line)
    except (RecursionError, ValueError, MemoryError):
        return _broken(path, f"{path} cannot be read as Python", "check the file")
    functions = {item.name: item for item in tree.body if isinstance(item, Definition)}
    return Source(path, tuple(text.splitlines()), functions, frozenset(_names(tree)), tree)


def _broken(path: Path, message: str, remedy: str, *place: Any) -> Source:
    return Source(path, problem=Problem(message, remedy, Origin(str(path), *place)))


def _names(tree: ast.Module) -> Iterator[str]:
    """What a file binds at its top level other than by `def`, in branches too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.alias):
            yield (node.asname or node.name).partition(".")[0]
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
    for item in tree.body:
        if isinstance(item, ast.ClassDef):
            yield item.name
        elif not isinstance(item, Definition):
            yield from (node.name for node in ast.walk(item) if isinstance(node, Definition))


class Import(NamedTuple):
    """A module that a file imports: the first part of its name, empty in `from . import x`."""

    module: str
    node: ast.Import | ast.ImportFrom


def imports(source: Source) -> list[Import]:
    """All that a file cannot do without, in its order: not what it tries to import, nor what a type checker sees."""
    found: list[Import] = []
    waiting: list[ast.AST] = [source.tree] if source.tree else []
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            found += [Import(item.name.partition(".")[0], node) for item in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append(Import("" if node.level else (node.module or "").partition(".")[0], node))
        elif not isinstance(node, ast.Try) and not _for_type_checkers(node):
            waiting += ast.iter_child_nodes(node)
    return sorted(found, key=lambda item: item.node.lineno)


def _for_type_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
