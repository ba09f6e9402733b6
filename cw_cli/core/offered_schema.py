"""A schema from what a framework offers: a JSON Schema, a pydantic model or a dataclass."""

from __future__ import annotations

import ast
import dataclasses
import enum
import inspect
import itertools
import textwrap
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cw_cli.core.config import Config
from cw_cli.core.json_schema import flat
from cw_cli.core.key import Key
from cw_cli.core.launch_keys import launch_schema
from cw_cli.core.problems import Origin, Problem
from cw_cli.core.schema import Schema

GROUP = "keys"

_PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null", Path: "string"}


def as_schema(offered: Any, subject: str) -> Schema | None:
    """The schema that `offered` stands for: a `Schema`, a JSON Schema as a mapping, a pydantic model class, a
    dataclass, or None for no schema. Raises `TypeError` for anything else.

    Keys that a JSON Schema does not know are mistakes unless it says `additionalProperties: true`.
    """
    if offered is None or isinstance(offered, Schema):
        return offered
    if isinstance(offered, Mapping):
        return _from_json(offered, subject)
    if isinstance(offered, type) and hasattr(offered, "model_json_schema"):
        return _from_json(offered.model_json_schema(), subject)
    if isinstance(offered, type) and dataclasses.is_dataclass(offered):
        return _from_json(_of_dataclass(offered), subject)
    raise TypeError(f"{offered!r} is no Schema, JSON Schema, pydantic model or dataclass")


def offer_schema(framework: Any, subject: str) -> None:
    """Let `get_schema` and `schema_of_image` of this framework give a `Schema` whatever they are written to give, and
    let a pydantic model's own validators speak with the cross-checks."""
    offer: Callable[..., Any] = framework.get_schema
    of_image: Callable[..., Any] = framework.schema_of_image
    check: Callable[..., Any] = framework.cross_checks
    known: dict[str, Schema | None] = {}

    def get_schema(training_type: str) -> Schema | None:
        if training_type not in known:
            known[training_type] = as_schema(offer(training_type), subject)
        return known[training_type]

    def schema_of_image(training_type: str, image: str) -> Schema | None:
        return as_schema(of_image(training_type, image), subject)

    def cross_checks(config: Config, keys: Any, training_type: str) -> list[Problem]:
        return [*check(config, keys, training_type), *_model_problems(offer(training_type), config)]

    framework.get_schema, framework.schema_of_image = get_schema, schema_of_image
    framework.cross_checks = cross_checks


def _from_json(schema: Mapping[str, Any], subject: str) -> Schema:
    spec = flat(schema, schema.get("$defs") or schema.get("definitions") or {})
    needed = spec.get("required", ())
    keys = {
        name: Key.read(name, value, GROUP, name in needed) for name, value in (spec.get("properties") or {}).items()
    }
    is_open = spec.get("additionalProperties", False) is not False
    return Schema(subject, keys, {GROUP: spec.get("title") or subject}, open=is_open)


def _of_dataclass(kind: type) -> dict[str, Any]:
    hints, texts = typing.get_type_hints(kind), _docstrings(kind)
    properties, required = {}, []
    for item in dataclasses.fields(kind):
        if not item.init:
            continue
        spec = _of_type(hints[item.name])
        if text := item.metadata.get("help") or texts.get(item.name):
            spec["description"] = " ".join(text.split())
        if item.default is not dataclasses.MISSING:
            spec["default"] = _plain(item.default)
        elif item.default_factory is not dataclasses.MISSING:
            spec["default"] = _plain(item.default_factory())
        else:
            required.append(item.name)
        properties[item.name] = spec
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, enum.Enum):
        return value.value
    return str(value) if isinstance(value, Path) else value


def _of_type(hint: Any) -> dict[str, Any]:
    """The JSON Schema of a type; what JSON has no word for may be anything."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint in _PLAIN:
        return {"type": _PLAIN[hint]}
    if origin is typing.Annotated:
        return _of_type(arguments[0])
    if origin is typing.Literal:
        return {"enum": list(arguments), "type": list(dict.fromkeys(_PLAIN[type(item)] for item in arguments))}
    if origin in (typing.Union, types.UnionType):
        return flat({"anyOf": [_of_type(argument) for argument in arguments]}, {})
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return {"enum": [item.value for item in hint]}
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _of_dataclass(hint)
    container = origin or hint
    if isinstance(container, type) and issubclass(container, Mapping):
        return {"type": "object", **({"additionalProperties": _of_type(arguments[1])} if len(arguments) == 2 else {})}
    if isinstance(container, type) and issubclass(container, Sequence | set):
        return {"type": "array", **({"items": _of_type(arguments[0])} if arguments else {})}
    return {}


def _docstrings(kind: type) -> dict[str, str]:
    """The texts that stand below the fields of a class."""
    try:
        (node,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    except (OSError, TypeError, SyntaxError, ValueError):
        return {}
    found = {}
    for item, following in itertools.pairwise(getattr(node, "body", [])):
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name) and isinstance(following, ast.Expr):
            value = following.value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                found[item.target.id] = value.value
    return found


def _model_problems(offered: Any, config: Config) -> Iterator[Problem]:
    """What a pydantic model says to the config beyond its JSON Schema."""
    if not (isinstance(offered, type) and hasattr(offered, "model_validate")):
        return
    own = set(launch_schema().keys) - set(getattr(offered, "model_fields", {}))
    try:
        offered.model_validate({key: value for key, value in config.values.items() if key not in own})
    except ValueError as error:
        if not hasattr(error, "errors"):
            raise
        for found in error.errors():
            path = tuple(found["loc"])
            shown = ".".join(map(str, path))
            message = f"{shown}: {found['msg']}" if path else str(found["msg"])
            yield Problem(message, "", config.origin(*path) if config.has(*path[:1]) else Origin(config.source))
