"""What the fields of a pydantic model may hold, as JSON Schema says it; every model is told as one that is strict."""

from __future__ import annotations

import enum
import types
import typing
from collections.abc import Iterator
from typing import Any

from cw_cli.schemas.generate_trl import JSON_TYPES

Spec = dict[str, Any]


def spec(field: Any) -> Spec:
    """The JSON Schema property of a pydantic field."""
    result = typed(field.annotation)
    for item in field.metadata:
        result.update(_limits(item))
    if "enum" in result and "null" in result["type"]:
        result["enum"].append(None)
    if not field.is_required():
        default = field.default
        if field.default_factory is not None:
            made = field.default_factory()
            # What depends on the machine is no default of the key.
            default = made if isinstance(made, list | dict) else None
        result["default"] = _plain(default)
    extra = field.json_schema_extra
    described = (extra.get("description") if isinstance(extra, dict) else None) or field.description
    if described:
        result["description"] = " ".join(described.split())
    if field.deprecated:
        result["deprecated"] = True
    return result


def typed(hint: Any) -> Spec:
    """What JSON Schema says for a type hint. Of several models, a mapping may hold what any of them holds."""
    names: list[str] = []
    result: Spec = {}
    open_text = False
    for part in _alternatives(hint):
        origin, arguments = typing.get_origin(part) or part, typing.get_args(part)
        if part is Any:
            return {}
        if origin is typing.Literal:
            names.extend(JSON_TYPES[type(value)] for value in arguments)
            result.setdefault("enum", []).extend(arguments)
        elif isinstance(origin, type) and issubclass(origin, enum.Enum):
            names.append("string")
            # Where the value is no text, its name is what a config says.
            values = [item.value if isinstance(item.value, str) else item.name for item in origin]
            result.setdefault("enum", []).extend(values)
        elif hasattr(origin, "model_fields"):
            names.append("object")
            merge(result, of_model(origin))
        elif origin is tuple:
            names.append("array")
        else:
            names.append(JSON_TYPES[origin])
            open_text = open_text or origin is str
            if origin is list and arguments:
                result["items"] = typed(arguments[0])
            if origin is dict and arguments and (value := typed(arguments[1])):
                result["additionalProperties"] = value
    if "enum" in result:
        others = set(names) - {"null", *(JSON_TYPES[type(item)] for item in result["enum"])}
        if open_text or others - {"boolean"}:
            del result["enum"]  # any text may stand there, or values of a type of which there is no list
        elif others:
            result["enum"] += [True, False]
    unique = sorted(set(names), key=list(JSON_TYPES.values()).index)
    unique.sort(key=lambda name: name == "null")
    return {"type": unique[0] if len(unique) == 1 else unique, **result}


def of_model(model: Any) -> Spec:
    """The mapping that a nested model stands for; unknown keys of it are mistakes, whatever pydantic does with them."""
    properties = {field.alias or name: spec(field) for name, field in model.model_fields.items()}
    required = [field.alias or name for name, field in model.model_fields.items() if field.is_required()]
    return {"properties": properties, "required": required, "additionalProperties": False}


def merge(into: Spec, other: Spec) -> None:
    """Let a mapping hold what another one may hold, too."""
    if "properties" not in into:
        into.update(other)
        return
    for name, value in other["properties"].items():
        there = into["properties"].setdefault(name, value)
        if there is not value:
            into["properties"][name] = _either(there, value)
    into["required"] = [name for name in into["required"] if name in other["required"]]


def _either(one: Spec, other: Spec) -> Spec:
    kinds = [*_names(one), *(name for name in _names(other) if name not in _names(one))]
    kinds.sort(key=lambda name: name == "null")
    result = {**other, **one, "type": kinds[0] if len(kinds) == 1 else kinds}
    if "properties" in one and "properties" in other:
        merged: Spec = {key: one[key] for key in ("properties", "required", "additionalProperties")}
        merge(merged, other)
        result.update(merged)
    if ("enum" in one) != ("enum" in other):
        result.pop("enum")
    elif "enum" in one:
        result["enum"] = [*one["enum"], *(value for value in other["enum"] if value not in one["enum"])]
    return result


def _names(item: Spec) -> list[str]:
    return [item["type"]] if isinstance(item["type"], str) else list(item["type"])


def _alternatives(hint: Any) -> Iterator[Any]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        for part in typing.get_args(hint):
            yield from _alternatives(part)
    elif typing.get_origin(hint) is typing.Annotated:
        yield from _alternatives(typing.get_args(hint)[0])
    else:
        yield hint


def _limits(item: Any) -> Spec:
    words = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
    return {word: getattr(item, name) for name, word in words.items() if getattr(item, name, None) is not None}


def _plain(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        return _plain(value.model_dump())
    if isinstance(value, enum.Enum):
        return value.value if isinstance(value.value, str) else value.name
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
