"""A config against what a framework accepts: unknown, renamed and removed keys, wrong types, choices and ranges."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from cw_cli.core.config import Config
from cw_cli.core.key import Key, check_value, coerced, described
from cw_cli.core.problems import NOTHING, KeyPath, Origin, Problem
from cw_cli.core.spelling import nearest


class Renamed(NamedTuple):
    """An old name whose meaning lives on under `new`; `convert` turns the old value into the new one, or gives None
    when that value has no counterpart."""

    new: str
    note: str = ""
    convert: Callable[[Any], Any] | None = None


class Schema(NamedTuple):
    """All keys of one training type of one framework."""

    subject: str
    """What the keys belong to, with versions, as in `TRL 1.16.0 with Transformers 5.23.0`."""
    keys: Mapping[str, Key]
    groups: Mapping[str, str] = NOTHING
    aliases: Mapping[str, str] = NOTHING
    blocks: tuple[str, ...] = ()
    """Mappings whose keys are taken as if they stood at the top, as in `trainer_args:`."""
    renamed: Mapping[str, Renamed] = NOTHING
    removed: Mapping[str, str] = NOTHING
    refused: Mapping[str, str] = NOTHING
    """Keys that other tools take and cw does not, with what to write instead."""
    ignored: Mapping[str, str] = NOTHING
    renamed_choices: Mapping[str, Mapping[Any, Any]] = NOTHING
    taken: tuple[str, ...] = ()
    """Names of cw's own keys that mean something else here; cw's are written as `OTHER_NAMES` has them."""
    open: bool = False
    """Whether keys that are not listed may stand in a config, too."""

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
        return self.open or self.key(name) is not None or any(name in table for table in tables)

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
                problems.append(config.problem((old,), message, f"look up {rename.new} with `cw schema`"))
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
                yield from check_value(config, (name,), config.get(name), self.keys[name])
            elif name in self.removed:
                message = f"{name} no longer exists in {self.subject}: {self.removed[name]}"
                yield Problem(message, "", config.key_origin(name))
            elif name in self.refused:
                yield Problem(f"{name} cannot stand in a config: {self.refused[name]}", "", config.key_origin(name))
            elif name not in others and not self.open:
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
    """The schema of `training_type` from a framework's generated file, with hand-written fragments laid over it."""
    return schema_of(json.loads(text), training_type, subject, overlay)


def schema_of(
    data: Mapping[str, Any], training_type: str, subject: str, overlay: Mapping[str, Mapping[str, Any]]
) -> Schema:
    """The same from what such a file holds."""
    keys: dict[str, Key] = {}
    groups: dict[str, str] = {}
    for group in data["types"][training_type]:
        groups[group] = data["groups"][group]["title"]
        for name, spec in data["groups"][group]["keys"].items():
            if name not in keys:
                keys[name] = Key.read(name, {**spec, **overlay.get(name, {})}, group)
    return Schema(subject, keys, groups)


def _opened(config: Config, block: str, problems: list[Problem]) -> Config:
    """The config with the keys of `block` at the top."""
    if not config.has(block):
        return config
    content = config.get(block)
    if content is None:
        return config.without((block,))
    if not isinstance(content, Mapping):
        problems.append(
            config.problem((block,), f"{block} is {described(content)}", "write its keys indented under it")
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
