"""`cw delete RUN…`: stop and forget."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from cw_cli.cli.errors import say
from cw_cli.cli.options import Context, Namespace
from cw_cli.core.exceptions import UsageError
from cw_cli.core.status import RunStatus


def command(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Runs, named as for cw logs.")],
    context: Context = None,
    namespace: Namespace = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask about runs that are still going, or somebody else's.")
    ] = False,
) -> None:
    """Stop runs and forget them: record and log go, models and checkpoints stay where they are."""
    from cw_cli.api import find_run
    from cw_cli.targets.choice import Where

    found = [find_run(text, Where(context, namespace)) for text in runs]
    found = list({name: (target, name) for target, name in found}.values())
    doubts = [doubt for target, name in found if (doubt := _doubt(target.status(name)))]
    if doubts and not yes:
        if not sys.stdin.isatty():
            raise UsageError(", ".join(doubts), "Add --yes to stop and delete all the same.")
        typer.confirm(f"{', '.join(doubts)}. Stop and delete?", abort=True, err=True)
    for target, name in found:
        for line in target.delete([name]):
            say("deleted", line, "yellow")


def _doubt(status: RunStatus) -> str:
    """Why to ask before this run is deleted; empty when there is no reason."""
    from cw_cli.api import user_name
    from cw_cli.core.names import label_value
    from cw_cli.core.settings import read_settings

    mine = label_value(read_settings().get("user") or user_name())
    whose = f"{status.name} is {status.user}'s" if status.user and label_value(status.user) != mine else ""
    live = "" if status.state.ended else "has not ended"
    if whose and live:
        return f"{whose} and {live}"
    return whose or (f"{status.name} {live}" if live else "")
