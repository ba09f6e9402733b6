"""JSON Schema: documents from which editors complete and check a config, and properties in the form that keys need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cw_cli.core.schema import Schema


def json_schema(title: str, schemas: Sequence[Schema]) -> dict[str, Any]:
    """A JSON Schema (draft 2020-12) of a config with the keys of all `schemas`, blocks and aliases included."""
    properties: dict[str, Any] = {}
    for schema in schemas:
        own = {name: dict(key.spec) for name, key in schema.keys.items()}
        own |= {alias: {**own[name], "description": f"The same as {name}."} for alias, name in schema.aliases.items()}
        now = {old: rename.new for old, rename in schema.renamed.items()}
        now |= {str(old[0]): ".".join(map(str, new)) for old, new in schema.moved.items() if len(old) == 1}
        own |= {old: {"description": f"Now called {new}.", "deprecated": True} for old, new in now.items()}
        for block in schema.blocks:
            properties[block] = {"type": "object", "properties": own, "additionalProperties": False}
        # A key that both hold, such as `env`, is described by the first.
        properties = {**own, **properties}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        "type": "object",
        "properties": properties,
        "additionalProperties": any(schema.open for schema in schemas),
    }


def flat(spec: Mapping[str, Any], definitions: Mapping[str, Any], depth: int = 0) -> dict[str, Any]:
    """A property with references resolved and its alternatives joined: one list of types, and of each other word only
    what holds for all of them. What refers to itself may be anything from the tenth level on."""
    if depth > 10:
        return {}
    if isinstance(reference := spec.get("$ref"), str):
        rest = {key: value for key, value in spec.items() if key != "$ref"}
        return flat({**definitions.get(reference.rsplit("/", 1)[-1], {}), **rest}, definitions, depth + 1)
    result = {key: value for key, value in spec.items() if key not in ("anyOf", "oneOf", "allOf", "$defs", "const")}
    if "const" in spec:
        result["enum"] = [spec["const"]]
    for part in spec.get("allOf", []):
        result = {**flat(part, definitions, depth + 1), **result}
    branches = [flat(branch, definitions, depth + 1) for branch in (*spec.get("anyOf", ()), *spec.get("oneOf", ()))]
    result = {**_joined(branches), **result} if branches else result
    if "properties" in result:
        result["properties"] = {key: flat(value, definitions, depth + 1) for key, value in result["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(result.get(key), Mapping):
            result[key] = flat(result[key], definitions, depth + 1)
    return result


def _joined(branches: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What a value may be that fits one of the branches."""
    kinds = [branch for branch in branches if branch.get("type") != "null"]
    result = {}
    for word in dict.fromkeys(word for branch in kinds for word in branch):
        said = [branch[word] for branch in kinds if word in branch]
        if word not in ("type", "enum", "title", "description") and all(value == said[0] for value in said):
            result[word] = said[0]
    if kinds and all("enum" in branch for branch in kinds):
        null = [None] if len(kinds) < len(branches) else []
        result["enum"] = [value for branch in kinds for value in branch["enum"]] + null
    if all("type" in branch for branch in branches):
        result["type"] = list(dict.fromkeys(name for branch in branches for name in _names(branch["type"])))
    return result


def _names(types: str | Sequence[str]) -> Sequence[str]:
    return [types] if isinstance(types, str) else types
