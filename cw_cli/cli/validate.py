"""`cw validate [FRAMEWORK TYPE] CONFIG`: every check, no launch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cw_cli.cli.arguments import OverridingCommand, kind_of, schema_in
from cw_cli.cli.errors import say, show_warnings
from cw_cli.cli.launch import typed_overrides
from cw_cli.cli.options import Overrides

if TYPE_CHECKING:
    from cw_cli.core.schema import Schema


class COMMAND_CLASS(OverridingCommand):  # noqa: N801 - the name under which a verb's module offers its class
    """A validation; the keys are those of the framework that its words name."""

    def schema(self, ctx: Any) -> Schema | None:
        return schema_in(ctx.meta.get("words", ()), "validate")


def command(
    ctx: typer.Context,
    words: Annotated[
        list[str], typer.Argument(metavar="[FRAMEWORK TYPE] CONFIG", help="A config, and what trains it.")
    ],
    set_: Overrides = None,
) -> None:
    """Check a config without starting anything; overrides are checked with it."""
    from cw_cli import api

    framework, training_type = kind_of(words)
    config = Path(words[-1])
    if len(words) == 1:
        say("taken", f"{config} for one of `cw {framework} {training_type}`, which knows most of its keys", "cyan")
    checked = api.validate(framework, training_type, config, typed_overrides(ctx, set_), flags=ctx.meta["flags"])
    show_warnings(checked.warnings)
    subject = checked.schema.subject if checked.schema else framework
    say("valid", "; ".join(filter(None, [f"{config} fits {subject}", checked.doubt()])), "green")
