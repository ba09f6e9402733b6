"""`cw logs RUN`: what the run wrote."""

from __future__ import annotations

from typing import Annotated

import typer

from cw_cli.core.exceptions import UsageError
from cw_cli.core.progress import parse_line

Run = Annotated[str, typer.Argument(metavar="RUN", help="A run: its name, how it begins, or its last five characters.")]


def command(
    run: Run,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run has ended.")] = False,
    tail: Annotated[int | None, typer.Option("--tail", metavar="N", help="Only the last N lines.")] = None,
    role: Annotated[str | None, typer.Option("--role", metavar="ROLE", help="Only this role.")] = None,
    raw: Annotated[bool, typer.Option("--raw", help="With the machine-readable lines of progress.")] = False,
) -> None:
    """Print a run's log.

    Works while the run is live and after it has ended. Ctrl-C stops following; the run goes on.
    """
    from cw_cli.api import find_run

    if tail is not None and tail < 0:
        raise UsageError("--tail takes a number of lines", "Write --tail 20.")
    target, name = find_run(run)
    for line in target.logs(name, role=role, follow=follow, tail=tail):
        if raw or parse_line(line) is None:
            typer.echo(line)
