"""`cw delete RUN…`: stop and forget."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from cw_cli.cli.errors import say
from cw_cli.cli.options import Context, Namespace
from cw_cli.core.exceptions import UsageError


def command(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Runs, named as for cw logs.")],
    context: Context = None,
    namespace: Namespace = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask about runs that are still going.")] = False,
) -> None:
    """Stop runs and forget them: record and log go, models and checkpoints stay where they are."""
    from cw_cli.api import find_run
    from cw_cli.targets.choice import Where

    found = [find_run(text, Where(context, namespace)) for text in runs]
    live = [name for target, name in found if not target.status(name).state.ended]
    if live and not yes:
        if not sys.stdin.isatty():
            raise UsageError(f"{', '.join(live)} has not ended", "Add --yes to stop it and delete it.")
        typer.confirm(f"{', '.join(live)} has not ended. Stop and delete?", abort=True, err=True)
    for target, name in found:
        for line in target.delete([name]):
            say("deleted", line, "yellow")
