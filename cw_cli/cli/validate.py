"""`cw validate FRAMEWORK TYPE CONFIG`: every check, no launch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cw_cli.cli.arguments import OverridingCommand
from cw_cli.cli.errors import say, show_warnings
from cw_cli.cli.launch import typed_overrides
from cw_cli.cli.options import Framework, Overrides, TypeName

if TYPE_CHECKING:
    from cw_cli.core.schema import Schema


class COMMAND_CLASS(OverridingCommand):  # noqa: N801 - the name under which a verb's module offers its class
    """A validation; its keys are those of the framework that the first two words name."""

    def schema(self, ctx: Any) -> Schema | None:
        words = [word for word in ctx.meta.get("words", ()) if not word.startswith("-")]
        if len(words) < 2:
            return None
        from cw_cli.api import find_framework

        framework, training_type = find_framework(words[0], words[1])
        schema: Schema | None = framework.get_schema(training_type)
        return schema

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ctx.meta["words"] = tuple(args)
        return super().parse_args(ctx, args)


def command(
    ctx: typer.Context,
    framework: Framework,
    training_type: TypeName,
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="The training config, a YAML file.")],
    set_: Overrides = None,
) -> None:
    """Check a config without starting anything; overrides are checked with it."""
    from cw_cli import api

    checked = api.validate(framework, training_type, config, typed_overrides(ctx, set_), flags=ctx.meta["flags"])
    show_warnings(checked.warnings)
    subject = checked.schema.subject if checked.schema else framework
    say("valid", "; ".join(filter(None, [f"{config} fits {subject}", checked.doubt()])), "green")
