"""One `--key value` on top of a config: where the key belongs and what the text means there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from cw_cli.core.config import Config
from cw_cli.core.key import Key, coerced
from cw_cli.core.problems import Origin, Problem
from cw_cli.core.schema import Schema
from cw_cli.core.yaml_reader import read_yaml, scalar


class Override(NamedTuple):
    """What the user typed: `key` may be dotted, `text` is untyped, `flag` is how it stood on the command line."""

    key: str
    text: str
    flag: str

    def __str__(self) -> str:
        return f"{self.key}={self.text}"


def apply(
    config: Config, overrides: Iterable[Override], own: Schema, theirs: Schema | None, flags: Sequence[str] = ()
) -> tuple[Config, list[Problem]]:
    """The config with the overrides laid over it, later ones last.

    A key is cw's (`own`) or the framework's (`theirs`). Without a framework schema any key is taken, and one that
    stands in a block of the config is meant there. `flags` are other flags that an unknown key may have been meant to
    be.
    """
    problems: list[Problem] = []
    for override in overrides:
        origin = Origin(override.flag)
        head, *rest = override.key.split(".")
        if theirs is None and not rest and head not in own.keys:
            blocks = [name for name in _blocks_with(config, head) if name not in own.keys]
            if len(blocks) > 1:
                problems.append(_ambiguous(head, blocks, origin))
                continue
            head, rest = (blocks[0], [head]) if blocks else (head, rest)
        schema = own if head in own.keys or theirs is None else theirs
        if rest and head in schema.blocks:
            head, rest = rest[0], rest[1:]
        if theirs is not None and not schema.knows(head):
            problems.append(theirs.unknown(head.replace("-", "_"), origin, [*own.keys, *flags]))
            continue
        path = tuple(int(part) if part.isdigit() else part for part in rest)
        value = typed(override.text, _key_at(schema, head, rest))
        config = schema.override(config, head, path, value, origin._replace(written=override.text))
    return config, problems


def _blocks_with(config: Config, key: str) -> list[str]:
    """The blocks of a config that hold `key`, if the config's top does not."""
    if config.has(key):
        return []
    return [name for name, value in config.values.items() if isinstance(value, Mapping) and key in value]


def _ambiguous(key: str, blocks: Sequence[str], origin: Origin) -> Problem:
    message = f"{key} stands in {', '.join(blocks[:-1])} and in {blocks[-1]}"
    return Problem(message, f"write --set {blocks[0]}.{key}=…, or another of them", origin)


def _key_at(schema: Schema, head: str, rest: Sequence[str]) -> Key | None:
    key = schema.key(head)
    for part in rest:
        if key is None:
            return None
        key = key.items if part.isdigit() else (key.keys or {}).get(part, key.values)
    return key


def typed(text: str, key: Key | None) -> Any:
    """What `text` means as a value of `key`: the text itself where text is wanted, else what YAML would read.

    A list may be written as `[a, b]` or as `a,b`.
    """
    if key is None or not key.types:
        return _as_yaml(text)
    if text.lstrip()[:1] in ("[", "{") and {"array", "object"} & set(key.types):
        return _as_yaml(text)
    value = scalar(text)
    if value is None and "null" in key.types:
        return None
    if "array" in key.types and not ("string" in key.types and "," not in text):
        return [typed(part.strip(), key.items) for part in text.split(",") if part.strip()]
    if isinstance(value, bool):
        return value if "boolean" in key.types else text
    if isinstance(value, int | float) and "string" in key.types and not {"integer", "number"} & set(key.types):
        return text
    return coerced(value, key)


def _as_yaml(text: str) -> Any:
    document = read_yaml(text, "")
    return text if document.problems else document.value
