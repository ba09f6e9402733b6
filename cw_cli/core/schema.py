"""A config against what a framework accepts: unknown, renamed and removed keys, wrong types, choices and ranges."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from cw_cli.core.config import Config
from cw_cli.core.problems import KeyPath, Origin, Problem
from cw_cli.core.spelling import nearest
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


@dataclass(frozen=True, slots=True)
class Key:
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
    """What a mapping may hold; None where its keys are free."""
    values: Key | None = None
    """What the values of a mapping with free keys are."""
    spec: Mapping[str, Any] = field(default_factory=dict, repr=False)
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
            keys=nested if free is False and properties is not None else None,
            values=cls.read(name, free, group) if isinstance(free, Mapping) else None,
            spec=spec,
        )

    @property
    def kind(self) -> str:
        """The types in words, as in `a whole number or null`."""
        return " or ".join(_KINDS.get(name, name) for name in self.types) or "anything"


@dataclass(frozen=True, slots=True)
class Renamed:
    """An old name whose meaning lives on under `new`; `convert` turns the old value into the new one, or gives None
    when that value has no counterpart."""

    new: str
    note: str = ""
    convert: Callable[[Any], Any] | None = None


@dataclass(frozen=True)
class Schema:
    """All keys of one training type of one framework."""

    subject: str
    """What the keys belong to, with versions, as in `TRL 1.16.0 with Transformers 5.23.0`."""
    keys: Mapping[str, Key]
    groups: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    blocks: tuple[str, ...] = ()
    """Mappings whose keys are taken as if they stood at the top, as in `trainer_args:`."""
    renamed: Mapping[str, Renamed] = field(default_factory=dict)
    removed: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    """Keys that other tools take and cw does not, with what to write instead."""
    ignored: Mapping[str, str] = field(default_factory=dict)
    renamed_choices: Mapping[str, Mapping[Any, Any]] = field(default_factory=dict)

    def names(self) -> list[str]:
        """Every name that a config may use, old ones excepted."""
        return [*self.keys, *self.aliases]

    def spellings(self, name: str) -> set[str]:
        """Every name under which a config may hold what `name` means."""
        new = self._current(name)
        return {name, new, *(old for old in [*self.aliases, *self.renamed] if self._current(old) == new)}

    def _current(self, name: str) -> str:
        name = self.aliases.get(name, name)
        return self.renamed[name].new if name in self.renamed else name

    def key(self, name: str) -> Key | None:
        """The key that `name`, perhaps an old name, stands for."""
        return self.keys.get(self._current(name))

    def knows(self, name: str) -> bool:
        """Whether this schema has something to say about `name`."""
        tables = (self.removed, self.refused, self.ignored)
        return self.key(name) is not None or any(name in table for table in tables)

    def override(self, config: Config, name: str, rest: KeyPath, value: Any, origin: Origin) -> Config:
        """The config in which `name` (and `rest` below it) holds `value`, however and wherever the key was spelt."""
        blocks: list[KeyPath] = [(), *((block,) for block in self.blocks)]
        own = next(((*block, name) for block in blocks if config.has(*block, name)), (name,))
        for block in blocks:
            for spelling in self.spellings(name):
                if (*block, spelling) != own:
                    if rest and config.has(*block, spelling):
                        return config.with_value((*block, spelling, *rest), value, origin)
                    config = config.without((*block, spelling))
        return config.with_value((*own, *rest), value, origin)

    def canonical(self, config: Config) -> tuple[Config, list[Problem]]:
        """The config with blocks opened, aliases and renamed keys replaced, and values brought to their key's type.

        Whatever cannot be brought there is left for `check` to find.
        """
        problems: list[Problem] = []
        for block in self.blocks:
            config = _opened(config, block, problems)
        for old, new in self.aliases.items():
            if config.has(old):
                config = _renamed(config, old, new, None, problems)
        for old, rename in self.renamed.items():
            if config.has(old):
                config = self._apply_rename(config, old, rename, problems)
        for name, reason in self.ignored.items():
            if config.has(name):
                problems.append(Problem(f"{name} is not used: {reason}", "", config.key_origin(name), "warning"))
                config = config.without((name,))
        for name in config.values:
            if key := self.keys.get(name):
                config = self._typed(config, key, problems)
        return config, problems

    def _apply_rename(self, config: Config, old: str, rename: Renamed, problems: list[Problem]) -> Config:
        note = f" ({rename.note})" if rename.note else ""
        if rename.convert is not None:
            value = rename.convert(config.get(old))
            if value is None:
                message = f"{old} is now {rename.new}{note}, and this value has no counterpart there"
                problems.append(config.problem((old,), message, f"see `cw schema trl sft {rename.new}`"))
                return config.without((old,))
            config = config.with_value((old,), value, config.origin(old))
        message = f"{old} is called {rename.new} in {self.subject}{note}"
        remedy = f"taken as {rename.new}; write that"
        problems.append(Problem(message, remedy, config.key_origin(old), "warning"))
        return _renamed(config, old, rename.new, None, problems)

    def _typed(self, config: Config, key: Key, problems: list[Problem]) -> Config:
        value = config.get(key.name)
        fitting = coerced(value, key)
        choices = self.renamed_choices.get(key.name, {})
        if isinstance(fitting, str) and fitting in choices:
            new = choices[fitting]
            problems.append(
                config.problem(
                    (key.name,),
                    f"{key.name}: {fitting} is called {new} in {self.subject}",
                    f"write {new}",
                    warning=True,
                )
            )
            fitting = new
        if fitting is value:
            return config
        return config.with_value((key.name,), fitting, config.origin(key.name))

    def check(self, config: Config, also: Iterable[str] = ()) -> Iterator[Problem]:
        """Every mistake in a canonical config. `also` are names that belong to somebody else, such as cw's own."""
        others = set(also)
        for name in config.values:
            if name in self.keys:
                yield from _check_value(config, (name,), config.get(name), self.keys[name])
            elif name in self.removed:
                message = f"{name} no longer exists in {self.subject}: {self.removed[name]}"
                yield Problem(message, "", config.key_origin(name))
            elif name in self.refused:
                yield Problem(f"{name} cannot stand in a config: {self.refused[name]}", "", config.key_origin(name))
            elif name not in others:
                yield self.unknown(name, config.key_origin(name), others)
        for key in self.keys.values():
            if key.required and not config.has(key.name):
                yield Problem(f"{key.name} is missing", f"add `{key.name}: …`", Origin(config.source))

    def unknown(self, name: str, origin: Origin | None, others: Iterable[str] = ()) -> Problem:
        """The problem of a key that nobody knows."""
        near = nearest(name, [*self.names(), *others, *self.renamed])
        near = self.renamed[near].new if near and near in self.renamed else near
        remedy = f"did you mean {near}?" if near else "`cw schema` lists the keys that there are"
        return Problem(f"{name} is not a key of {self.subject}", remedy, origin)


def read_schema(text: str, training_type: str, subject: str, overlay: Mapping[str, Mapping[str, Any]]) -> Schema:
    """The schema of `training_type` from a framework's generated data, with hand-written fragments laid over it."""
    data = json.loads(text)
    keys: dict[str, Key] = {}
    groups: dict[str, str] = {}
    for group in data["types"][training_type]:
        groups[group] = data["groups"][group]["title"]
        for name, spec in data["groups"][group]["keys"].items():
            keys[name] = Key.read(name, {**spec, **overlay.get(name, {})}, group)
    return Schema(subject, keys, groups)


def coerced(value: Any, key: Key) -> Any:
    """`value` in the type of its key where text says it beyond doubt, as TRL's own parser would take it."""
    if isinstance(value, str) and "string" not in key.types and key.types:
        return _from_text(value, key)
    if isinstance(value, float) and "integer" in key.types and "number" not in key.types and value.is_integer():
        return int(value)
    return value


def _from_text(text: str, key: Key) -> Any:
    if "boolean" in key.types and text.lower() in _BOOLEAN_WORDS:
        return _BOOLEAN_WORDS[text.lower()]
    number = scalar(text.replace("_", ""))
    if {"integer", "number"} & set(key.types) and isinstance(number, int | float) and not isinstance(number, bool):
        return coerced(number, key)
    return text


def _check_value(config: Config, path: KeyPath, value: Any, key: Key) -> Iterator[Problem]:
    shown = ".".join(str(part) for part in path)
    if key.types and not any(_is(value, name) for name in key.types):
        if value is None:
            yield config.problem(path, f"{shown} has no value", f"write {key.kind}")
        else:
            yield config.problem(path, f"{shown} is {_described(value)}", f"write {key.kind}")
        return
    if key.choices and not _is_choice(value, key.choices):
        options = ", ".join(_shown(choice) for choice in key.choices if choice is not None)
        near = nearest(value, [choice for choice in key.choices if isinstance(choice, str)]) if _text(value) else None
        remedy = f"did you mean {near}? There are {options}" if near else f"write one of {options}"
        yield config.problem(path, f"{shown} cannot be {_shown(value)}", remedy)
    if isinstance(value, int | float) and not isinstance(value, bool):
        yield from _check_range(config, path, shown, value, key)
    if isinstance(value, list) and key.items is not None:
        for index, item in enumerate(value):
            yield from _check_value(config, (*path, index), item, key.items)
    if isinstance(value, Mapping) and key.keys is not None:
        yield from _check_mapping(config, path, shown, value, key.keys)
    if isinstance(value, Mapping) and key.values is not None:
        for name, item in value.items():
            yield from _check_value(config, (*path, name), item, key.values)


def _check_mapping(
    config: Config, path: KeyPath, shown: str, value: Mapping[str, Any], keys: Mapping[str, Key]
) -> Iterator[Problem]:
    for name, item in value.items():
        if name in keys:
            yield from _check_value(config, (*path, name), item, keys[name])
        else:
            near = nearest(name, keys)
            remedy = f"did you mean {near}?" if near else f"it may hold {', '.join(keys)}"
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


def _is_choice(value: Any, choices: tuple[Any, ...]) -> bool:
    values = value if isinstance(value, list) else [value]
    return all(any(item == choice and type(item) is type(choice) for choice in choices) for item in values)


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, float):
        return f"{value:g}"
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _described(value: Any) -> str:
    if isinstance(value, str):
        return f"the text {_shown(value)!r}"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, Mapping):
        return "a mapping"
    return _shown(value)


def _opened(config: Config, block: str, problems: list[Problem]) -> Config:
    """The config with the keys of `block` at the top."""
    if not config.has(block):
        return config
    content = config.get(block)
    if content is None:
        return config.without((block,))
    if not isinstance(content, Mapping):
        problems.append(
            config.problem((block,), f"{block} is {_described(content)}", "write its keys indented under it")
        )
        return config.without((block,))
    for name in content:
        config = _renamed(config, name, name, block, problems)
    return config.without((block,))


def _renamed(config: Config, old: str, new: str, block: str | None, problems: list[Problem]) -> Config:
    """The config with `old` (inside `block`, if any) at the top as `new`; a clash is a problem and drops `old`."""
    path = (block, old) if block else (old,)
    if config.has(new) and path != (new,):
        other = config.key_origin(new)
        where = f"line {other.line}" if other.line else str(other)
        problems.append(
            Problem(
                f"{old} and {new} ({where}) say the same thing"
                if old != new
                else f"{old} is written twice, also at {where}",
                "keep one of them",
                config.key_origin(*path),
            )
        )
        return config.without(path)
    return config.moved(path, (new,))
