"""A reward function as its source says it: read, never run, because a check must not do what a file of the user's does.

TRL calls a reward function by names only: with those of `GIVEN`, and with every column of the data but the prompt.
"""

from __future__ import annotations

import ast
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cw_cli.core.problems import NOTHING, Origin, Problem
from cw_cli.core.spelling import nearest

SERVED = ("prompts", "completions")
"""What a service gives to a function."""
GIVEN = ("prompts", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric")
"""What TRL gives, beside the columns of the data."""
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


def uncallable(source: Source, name: str, given: Sequence[str] = GIVEN) -> Iterator[Problem]:
    """Why the function `name` of this file could not be called by TRL, or by a service, with the arguments `given`."""
    yield from undefined(source, name)
    function = source.functions.get(name)
    if function is None or function.decorator_list:  # which may take what the function does not
        return
    where = source.origin(function.lineno, function.col_offset)
    taken = {item.arg for item in (*function.args.args, *function.args.kwonlyargs)}
    if function.args.posonlyargs:
        first = function.args.posonlyargs[0].arg
        yield Problem(f"{name} takes {first} by its place, and arguments are given by name", "delete the /", where)
    elif function.args.kwarg is None and not set(given) <= taken:
        more = " and the data's columns" if given is GIVEN else ""
        message = f"{name} takes no further arguments, and is given {', '.join(given)}{more}"
        yield Problem(message, f"write `def {name}({_signature(function)}**columns)`", where)


def _signature(function: Definition) -> str:
    names = [item.arg for item in (*function.args.args, *function.args.kwonlyargs)]
    return "".join(f"{name}, " for name in names)


def undefined(source: Source, name: str) -> Iterator[Problem]:
    """The problem of a file that neither defines nor imports `name`."""
    if name in source.functions or source.names & {name, "*"}:
        return
    near = nearest(name, source.functions)
    there = ", ".join(function for function in source.functions if not function.startswith("_"))
    remedy = f"did you mean {near}?" if near else f"it has {there}" if there else f"write `def {name}(completions, …)`"
    origin = source.origin(source.functions[near].lineno) if near else Origin(str(source.path))
    yield Problem(f"{source.path.name} has no function {name}", remedy, origin)


def columns(source: Source, name: str, given: Sequence[str] = GIVEN) -> list[str]:
    """What the function needs beside the arguments `given`: columns of the data."""
    function = source.functions.get(name)
    if function is None or function.decorator_list:
        return []
    args = function.args
    optional = {item.arg for item in args.args[len(args.args) - len(args.defaults) :]}
    optional |= {item.arg for item, default in zip(args.kwonlyargs, args.kw_defaults, strict=True) if default}
    named = [item.arg for item in (*args.args, *args.kwonlyargs)]
    return [item for item in named if item not in optional and item not in given]


def waits(source: Source, name: str) -> bool:
    return isinstance(source.functions.get(name), ast.AsyncFunctionDef)


def settings(function: Definition) -> dict[str, Any]:
    """The arguments after `*` with their defaults, which are literals."""
    pairs = zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True)
    return {item.arg: ast.literal_eval(default) if default else None for item, default in pairs}


def left_behind(source: Source) -> Iterator[Problem]:
    """Imports of files that lie beside this one: it travels alone."""
    for node in ast.walk(source.tree) if source.tree else ():
        names = [item.name for item in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""] if not node.level else [""]
        for name in names:
            top = name.partition(".")[0]
            beside = [source.path.parent / f"{top}.py", source.path.parent / top / "__init__.py"]
            if top and (top in sys.stdlib_module_names or not any(path.is_file() for path in beside)):
                continue
            assert isinstance(node, ast.Import | ast.ImportFrom)
            message = (
                f"{source.path.name} imports {top or 'a file'} from beside it, and only {source.path.name} is there"
            )
            yield Problem(
                message, "put all of it into one file, or into the image", source.origin(node.lineno, node.col_offset)
            )
