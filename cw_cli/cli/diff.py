"""`cw diff RUN [CONFIG]`: what a config would change of a run, key by key."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from cw_cli.cli.arguments import OverridingCommand
from cw_cli.cli.errors import say
from cw_cli.cli.launch import typed_overrides
from cw_cli.cli.options import Context, Namespace, Output, Overrides, Run
from cw_cli.core.exceptions import ConfigError


class COMMAND_CLASS(OverridingCommand):  # noqa: N801 - the name under which a verb's module offers its class
    """A comparison, whose keys are those of the run's framework; they are checked when its record is read."""


def command(
    ctx: typer.Context,
    run: Run,
    config: Annotated[
        Path | None, typer.Argument(metavar="[CONFIG]", help="A config; without it, the file as it is now.")
    ] = None,
    set_: Overrides = None,
    output: Output = None,
    context: Context = None,
    namespace: Namespace = None,
) -> None:
    """Show what a config, with overrides, would change of a run: one line for each key that differs.

    Both are compared as they are resolved: defaults and overrides filled in, old names of keys replaced.
    """
    from cw_cli import api
    from cw_cli.cli import report
    from cw_cli.core.config import parse_config
    from cw_cli.core.overrides import Override
    from cw_cli.targets.choice import Where

    target, name = api.find_run(run, Where(context, namespace))
    record = target.record(name)
    source = Path(record["folder"]) / Path(record["config"]).name
    kind = record["framework"], record["type"]
    earlier = [Override(item["key"], item["text"], item["flag"]) for item in record["overrides"]]
    try:
        before = api.validate(*kind, parse_config(record["given"], str(source)), earlier, target=record["target"])
    except ConfigError as error:
        message = f"the config of {name} is not valid any more, so there is nothing to compare with"
        raise ConfigError(message, error.problems) from None
    overrides = typed_overrides(ctx, set_)
    after = api.validate(*kind, config or source, overrides, target=record["target"], flags=ctx.meta["flags"])
    changes = list(_changes(before.data(), after.data()))
    if output is not None:
        report.print_data([{"key": key, "run": old, "config": new} for key, old, new in changes], output)
        return
    for line in (line for change in changes for line in _lines(*change)):
        typer.echo(line)
    if not changes:
        say("note", f"{config or source} says what {name} was launched with", "cyan")


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Key, value of the run, value of the config; None where one of them says nothing."""
    old, new = dict(_leaves(before)), dict(_leaves(after))
    for key in [*old, *(key for key in new if key not in old)]:
        if old.get(key) != new.get(key):
            yield key, old.get(key), new.get(key)


def _leaves(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that is not a mapping, under its keys joined with dots."""
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            yield from _leaves(item, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", item


def _lines(key: str, old: Any, new: Any) -> Iterator[str]:
    if old is not None:
        yield f"- {key}: {json.dumps(old, ensure_ascii=False, default=str)}"
    if new is not None:
        yield f"+ {key}: {json.dumps(new, ensure_ascii=False, default=str)}"
