"""`cw schema FRAMEWORK TYPE`: every key of a config."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cw_cli.cli.options import Framework, TypeName
from cw_cli.core.exceptions import UsageError
from cw_cli.core.key import Key
from cw_cli.core.schema import Schema
from cw_cli.core.spelling import nearest

if TYPE_CHECKING:
    from cw_cli.core.framework import BaseTrainingFramework, TrainingType


def command(
    framework: Framework,
    training_type: TypeName,
    key: Annotated[
        str | None, typer.Argument(metavar="[KEY]", help="Only this key, as in learning_rate or trl.beta.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON Schema, from which editors complete.")] = False,
) -> None:
    """Show every key of a config with type, default and help, cw's own keys first."""
    from cw_cli.api import find_framework
    from cw_cli.core.launch_keys import launch_schema

    found, known_type = find_framework(framework, training_type)
    schema = found.get_schema(known_type)
    schemas = [launch_schema(schema.taken), schema] if schema else [launch_schema()]
    if as_json:
        from cw_cli.core.json_schema import json_schema

        typer.echo(json.dumps(json_schema(f"cw {framework} {training_type}", schemas), indent=2))
    elif key is not None:
        first, *inner = key.split(".")
        outer = _one_key(schemas, first)
        one = _inside(outer, inner)
        _print_key(one._replace(name=".".join([outer.name, *inner])))
        if held := _held(one):
            typer.echo(f"    holds: {', '.join(held)}")
        if schema is not None and outer.name in schema.keys:
            for line in _pairs(outer.name, schema, found, known_type):
                typer.echo(f"    {line}")
    else:
        for item in schemas:
            _print_schema(item)


def _one_key(schemas: list[Schema], name: str) -> Key:
    for schema in schemas:
        if (key := schema.key(name)) is not None:
            return key
        if name in schema.removed:
            raise UsageError(f"{name} no longer exists in {schema.subject}", schema.removed[name])
    problem = schemas[-1].unknown(name, None, schemas[0].keys)
    raise UsageError(problem.message, problem.remedy)


def _pairs(name: str, schema: Schema, framework: BaseTrainingFramework, training_type: TrainingType) -> Iterator[str]:
    """What the key is of, and the images of other versions that have it, call it otherwise, or lack it."""
    from cw_cli.core.images import images

    yield f"of {schema.subject}"
    for image in images(framework.name):
        other = framework.schema_of_image(training_type, image.tag)
        if other.subject == schema.subject:
            continue
        if name in other.keys:
            yield f"and of {other.subject}, as in {image.tag}"
        elif name in other.renamed:
            yield f"called {other.renamed[name].new} in {other.subject}, as in {image.tag}"
        else:
            yield f"not of {other.subject}, as in {image.tag}"


def _held(key: Key) -> Mapping[str, Key]:
    """What may stand in a mapping, or in each mapping of a list."""
    return key.keys or (key.items.keys if key.items else None) or {}


def _inside(key: Key, names: list[str]) -> Key:
    """The key at `names` inside `key`."""
    for name in names:
        if name not in _held(key):
            near = nearest(name, _held(key))
            remedy = f"Did you mean {near}?" if near else f"It holds {', '.join(_held(key)) or 'no keys of its own'}."
            raise UsageError(f"{key.name} has no key {name}", remedy)
        key = _held(key)[name]
    return key


def _print_schema(schema: Schema) -> None:
    for group, title in schema.groups.items():
        typer.echo(f"# {title}")
        for key in schema.keys.values():
            if key.group == group:
                _print_key(key)
        typer.echo("")


def _print_key(key: Key) -> None:
    import textwrap

    default = "" if key.required else f", default {json.dumps(key.default)}"
    typer.echo(f"{key.name}: {key.kind}{default}{', required' if key.required else ''}")
    if key.choices:
        typer.echo(f"    one of: {', '.join(_plain(choice) for choice in key.choices)}")
    for line in textwrap.wrap(key.help, 100):
        typer.echo(f"    {line}")


def _plain(choice: Any) -> str:
    return choice if isinstance(choice, str) else json.dumps(choice)
