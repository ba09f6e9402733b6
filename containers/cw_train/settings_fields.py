"""Settings as fields of a dataclass: how a key is declared, and whether a value is one that it takes.

`metadata` of a field is for programs: `help`, and limits named as in JSON Schema.
"""

from __future__ import annotations

import difflib
import math
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import Field, field, fields
from typing import Any, Literal


def key(default: Any, help: str, **limits: Any) -> Any:
    return field(default=default, metadata={"help": help, **limits})


def misfits(given: Mapping[str, Any], settings: type, also: Iterable[str] = (), block: str = "") -> Iterator[str]:
    """What is wrong with each key and its value. `also` are more names that a wrong one may have been meant to be, and
    `block` is where the keys stand, as in `reward_service.`."""
    known = {item.name: item for item in fields(settings)}
    hints = typing.get_type_hints(settings)
    for name, value in given.items():
        if name not in known:
            yield unknown(name, [*known, *also], block)
        elif reason := unfit(value, hints[name], known[name]):
            yield f"`{block}{name}` {reason}, not {value!r}"


def read(given: Mapping[str, Any], settings: Any) -> Any:
    """An object of the dataclass `settings` from values that fit."""
    hints = typing.get_type_hints(settings)
    return settings(**{name: converted(value, hints[name]) for name, value in given.items()})


def unknown(name: str, known: list[str], block: str = "") -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"unknown key `{block}{name}`" + (f"; did you mean `{near[0]}`?" if near else "")


def unfit(value: Any, hint: Any, item: Field[Any]) -> str | None:
    """Why a value cannot be what a key wants."""
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if value is None and type(None) in kinds:
        return None
    kinds = tuple(kind for kind in kinds if kind is not type(None))
    if not any(of_kind(value, kind) for kind in kinds):
        return f"must be {' or '.join(map(called, kinds))}"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    limits = {
        "minimum": (value >= item.metadata.get("minimum", -math.inf), "at least"),
        "exclusiveMinimum": (value > item.metadata.get("exclusiveMinimum", -math.inf), "more than"),
        "maximum": (value <= item.metadata.get("maximum", math.inf), "at most"),
        "exclusiveMaximum": (value < item.metadata.get("exclusiveMaximum", math.inf), "less than"),
    }
    broken = [f"{words} {item.metadata[name]}" for name, (holds, words) in limits.items() if not holds]
    return f"must be {broken[0]}" if broken else None


def of_kind(value: Any, kind: Any) -> bool:
    if typing.get_origin(kind) is Literal:
        return value in typing.get_args(kind)
    if typing.get_origin(kind) is list:
        return isinstance(value, list) and all(isinstance(part, str) for part in value)
    if kind in (int, float) and isinstance(value, bool):
        return False
    if kind is float:
        return isinstance(value, (int, float)) and math.isfinite(value)
    return isinstance(value, kind)


def called(kind: Any) -> str:
    if typing.get_origin(kind) is Literal:
        return "one of " + ", ".join(typing.get_args(kind))
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    return names.get(kind, "a list of texts")


def converted(value: Any, hint: Any) -> Any:
    """A whole number as a fraction where one is meant."""
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return float(value) if float in kinds and type(value) is int else value
