"""`cw wait RUN`: until the run has ended."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from cw_cli.cli.errors import say
from cw_cli.cli.options import Context, Namespace, Run
from cw_cli.core.exceptions import CwError, UsageError

INTERVAL = 0.5


def command(
    run: Run,
    timeout: Annotated[str | None, typer.Option("--timeout", metavar="TIME", help="Give up after 10m, 2h …")] = None,
    context: Context = None,
    namespace: Namespace = None,
) -> None:
    """Wait for a run to end; the exit code is the trainer's."""
    from cw_cli.api import find_run
    from cw_cli.core.launch_keys import duration
    from cw_cli.targets.choice import Where

    try:
        limit = duration(timeout) if timeout else None
    except ValueError as error:
        raise UsageError(f"--timeout cannot be {timeout}", str(error)) from None
    target, name = find_run(run, Where(context, namespace))
    began = time.monotonic()
    while not (status := target.status(name)).state.ended:
        if limit is not None and time.monotonic() - began > limit:
            raise CwError(f"{name} is still {str(status.state).lower()} after {timeout}", f"cw why {name} says more.")
        time.sleep(INTERVAL)
    verdict = target.why(name)
    say(str(status.state).lower(), verdict.sentence, "green" if status.state == "Succeeded" else "red")
    raise typer.Exit(status.exit_code if status.exit_code is not None else int(status.state != "Succeeded"))
