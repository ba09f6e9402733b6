"""Schemas as one JSON Schema document, from which editors complete and check a config."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cw_cli.core.schema import Schema


def json_schema(title: str, schemas: Sequence[Schema]) -> dict[str, Any]:
    """A JSON Schema (draft 2020-12) of a config with the keys of all `schemas`, blocks and aliases included."""
    properties: dict[str, Any] = {}
    for schema in schemas:
        own = {name: dict(key.spec) for name, key in schema.keys.items()}
        own |= {alias: {**own[name], "description": f"The same as {name}."} for alias, name in schema.aliases.items()}
        own |= {
            old: {"description": f"Now called {rename.new}.", "deprecated": True}
            for old, rename in schema.renamed.items()
        }
        for block in schema.blocks:
            properties[block] = {"type": "object", "properties": own, "additionalProperties": False}
        # A key that both hold, such as `env`, is described by the first.
        properties = {**own, **properties}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }
