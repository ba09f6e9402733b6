"""One key of a schema: what its values may be, and what is wrong with one that may not."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from cw_cli.core.config import Config
from cw_cli.core.problems import NOTHING, KeyPath, Problem
from cw_cli.core.spelling import meant, nearest
from cw_cli.core.yaml_reader import scalar

_BOOLEAN_WORDS = {"yes": True, "on": True, "true": True, "no": False, "off": False, "false": False}
_KINDS = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "null",
}

MANY = 16
"""Choices beyond which nobody reads the others when one was guessed."""

_MORE: dict[str, tuple[type | tuple[type, ...], Callable[[Any, Any], bool], str]] = {
    "exclusiveMaximum": ((int, float), lambda value, limit: value < limit, "write a number below {}"),
    "multipleOf": ((int, float), lambda value, step: value % step == 0, "write a multiple of {}"),
    "pattern": (str, lambda value, pattern: re.search(pattern, value) is not None, "write something that matches {}"),
    "minLength": (str, lambda value, length: len(value) >= length, "write at least {} characters"),
    "maxLength": (str, lambda value, length: len(value) <= length, "write at most {} characters"),
    "minItems": (list, lambda value, count: len(value) >= count, "write at least {} items"),
    "maxItems": (list, lambda value, count: len(value) <= count, "write at most {} items"),
}
"""Rarer words of JSON Schema: what they are about, whether a value keeps to them, and the remedy."""


class Key(NamedTuple):
    """One key that a framework accepts, read from its JSON Schema property."""

    name: str
    types: tuple[str, ...] = ()
    """JSON Schema type names; empty means that anything goes."""
    choices: tuple[Any, ...] = ()
    default: Any = None
    required: bool = False
    help: str = ""
    group: str = ""
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    """The value must be greater than this."""
    items: Key | None = None
    keys: Mapping[str, Key] | None = None
    """What a mapping may hold; None where nothing is known of it."""
    open: bool = False
    """Whether a mapping may hold other keys too."""
    values: Key | None = None
    """What the values of a mapping with free keys are."""
    spec: Mapping[str, Any] = NOTHING
    """The property as it stands in the JSON Schema."""

    @classmethod
    def read(cls, name: str, spec: Mapping[str, Any], group: str = "", required: bool = False) -> Key:
        types = spec.get("type", ())
        items, properties = spec.get("items"), spec.get("properties")
        needed = spec.get("required", ())
        free = spec.get("additionalProperties", True)
        nested = {key: cls.read(key, value, group, key in needed) for key, value in (properties or {}).items()}
        return cls(
            name=name,
            types=(types,) if isinstance(types, str) else tuple(types),
            choices=tuple(spec.get("enum", ())),
            default=spec.get("default"),
            required=required,
            help=spec.get("description", ""),
            group=group,
            minimum=spec.get("minimum"),
            maximum=spec.get("maximum"),
            above=spec.get("exclusiveMinimum"),
            items=cls.read(name, items, group) if items else None,
            keys=nested if properties is not None else None,
            open=free is not False,
            values=cls.read(name, free, group) if isinstance(free, Mapping) else None,
            spec=spec,
        )

    @property
    def kind(self) -> str:
        """The types in words, as in `a whole number or null`."""
        return " or ".join(_KINDS.get(name, name) for name in self.types) or "anything"


def coerced(value: Any, key: Key) -> Any:
    """`value` in the type of its key where text says it beyond doubt, as TRL's own parser would take it."""
    if isinstance(value, str) and "string" not in key.types and key.types:
        return _from_text(value, key)
    if isinstance(value, float) and "integer" in key.types and "number" not in key.types and value.is_integer():
        return int(value)
    return value


def _from_text(text: str, key: Key) -> Any:
    if "null" in key.types and text == "None":
        return None  # what Python programs write where TOML has no word for it
    if "boolean" in key.types and text.lower() in _BOOLEAN_WORDS:
        return _BOOLEAN_WORDS[text.lower()]
    number = scalar(text.replace("_", ""))
    if {"integer", "number"} & set(key.types) and isinstance(number, int | float) and not isinstance(number, bool):
        return coerced(number, key)
    return text


def check_value(config: Config, path: KeyPath, value: Any, key: Key) -> Iterator[Problem]:
    shown = ".".join(str(part) for part in path)
    if key.types and not any(_is(value, name) for name in key.types):
        if value is None:
            yield config.problem(path, f"{shown} has no value", f"write {key.kind}")
        else:
            yield config.problem(path, f"{shown} is {described(value)}", f"write {key.kind}")
        return
    if key.choices:
        yield from _check_choice(config, path, shown, value, key)
    if isinstance(value, int | float) and not isinstance(value, bool):
        yield from _check_range(config, path, shown, value, key)
    for word, (kind, keeps, remedy) in _MORE.items():
        limit = key.spec.get(word)
        if limit is not None and isinstance(value, kind) and not isinstance(value, bool) and not keeps(value, limit):
            what = f"has {len(value)} items" if isinstance(value, list) else f"cannot be {_shown(value)}"
            yield config.problem(path, f"{shown} {what}", remedy.format(_shown(limit)))
    if isinstance(value, list) and key.items is not None:
        for index, item in enumerate(value):
            yield from check_value(config, (*path, index), item, key.items)
    if isinstance(value, Mapping) and key.keys is not None:
        yield from _check_mapping(config, path, shown, value, key)
    if isinstance(value, Mapping) and key.values is not None:
        for name in value.keys() - (key.keys or {}).keys():
            yield from check_value(config, (*path, name), value[name], key.values)


def _check_mapping(
    config: Config, path: KeyPath, shown: str, value: Mapping[str, Any], block: Key
) -> Iterator[Problem]:
    keys = block.keys or {}
    for name, item in value.items():
        if name in keys:
            yield from check_value(config, (*path, name), item, keys[name])
        elif not block.open:
            remedy = meant(name, keys, f"it may hold {', '.join(keys)}")
            yield Problem(f"{shown} has no key {name}", remedy, config.key_origin(*path, name))
    for name, key in keys.items():
        if key.required and name not in value:
            yield config.problem(path, f"{shown} lacks {name}", f"add `{name}: …`")


def _check_range(config: Config, path: KeyPath, shown: str, value: float, key: Key) -> Iterator[Problem]:
    if math.isnan(value) or (key.minimum is not None and value < key.minimum):
        yield config.problem(path, f"{shown} cannot be {_shown(value)}", f"write {_shown(key.minimum)} or more")
    elif key.above is not None and value <= key.above:
        yield config.problem(path, f"{shown} cannot be {_shown(value)}", f"write a number above {_shown(key.above)}")
    elif key.maximum is not None and value > key.maximum:
        yield config.problem(path, f"{shown} cannot be {_shown(value)}", f"write {_shown(key.maximum)} or less")


def _is(value: Any, name: str) -> bool:
    if name == "null":
        return value is None
    if name == "boolean":
        return isinstance(value, bool)
    if name == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    if name == "number":
        return isinstance(value, int | float) and not isinstance(value, bool)
    kinds: dict[str, type] = {"string": str, "array": list, "object": dict}
    return isinstance(value, kinds[name]) if name in kinds else True


def _check_choice(config: Config, path: KeyPath, shown: str, value: Any, key: Key) -> Iterator[Problem]:
    """A value, or each item of a list, is one of the choices."""
    options = ", ".join(_shown(choice) for choice in key.choices if choice is not None)
    words = [choice for choice in key.choices if isinstance(choice, str)]
    places: list[tuple[KeyPath, Any]] = [(path, value)]
    if isinstance(value, list):
        places = [((*path, index), item) for index, item in enumerate(value)]
    for place, item in places:
        if not any(item == choice and type(item) is type(choice) for choice in key.choices):
            near = nearest(item, words) if isinstance(item, str) else None
            remedy = f"did you mean {near}? There are {options}" if near else f"write one of {options}"
            remedy = f"did you mean {near}?" if near and len(key.choices) > MANY else remedy
            cannot = "cannot be" if place == path else "cannot hold"
            yield config.problem(place, f"{shown} {cannot} {_shown(item)}", remedy)


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, float):
        return f"{value:g}"
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "…"


def described(value: Any) -> str:
    if isinstance(value, str):
        return f"the text {_shown(value)!r}"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, Mapping):
        return "a mapping"
    return _shown(value)
