"""A reward function as its source says it.

TRL calls a reward function by names only: with those of `GIVEN`, and with every column of the data but the prompt.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from typing import Any

from cw_cli.core.problems import Origin, Problem
from cw_cli.core.python_source import Definition, Source
from cw_cli.core.spelling import nearest

SERVED = ("prompts", "completions")
"""What a service gives to a function."""
GIVEN = ("prompts", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric")
"""What TRL gives, beside the columns of the data."""


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
