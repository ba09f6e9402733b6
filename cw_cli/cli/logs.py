"""`cw logs RUN`: what the run wrote."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Annotated

import typer

from cw_cli.cli.options import Context, Namespace, Run
from cw_cli.core.exceptions import UsageError
from cw_cli.core.progress import parse_line


def command(
    run: Run,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run has ended.")] = False,
    tail: Annotated[int | None, typer.Option("--tail", metavar="N", help="Only the last N lines.")] = None,
    role: Annotated[str | None, typer.Option("--role", metavar="ROLE", help="Only this role.")] = None,
    raw: Annotated[bool, typer.Option("--raw", help="With the machine-readable lines of progress.")] = False,
    context: Context = None,
    namespace: Namespace = None,
) -> None:
    """Print a run's log.

    Works while the run is live and after it has ended. Ctrl-C stops following; the run goes on.
    """
    from cw_cli.api import find_run
    from cw_cli.targets.choice import Where

    if tail is not None and tail < 0:
        raise UsageError("--tail takes a number of lines", "Write --tail 20.")
    target, name = find_run(run, Where(context, namespace))
    # The last lines are those that are shown: a trainer's progress may be all that the log ends with.
    lines = target.logs(name, role=role, follow=follow, tail=tail if raw or follow else None)
    shown: Iterable[str] = (line for line in lines if raw or parse_line(line) is None)
    for line in shown if tail is None or follow else deque(shown, maxlen=tail):
        typer.echo(line)
