"""`cw wait RUN`: until the run has ended, or is in the state that is waited for."""

from __future__ import annotations

import time
from enum import StrEnum
from typing import Annotated

import typer

from cw_cli.cli.errors import say
from cw_cli.cli.options import Context, Namespace, Run
from cw_cli.core.exceptions import CwError, UsageError
from cw_cli.core.status import RunStatus, State
from cw_cli.targets.base import Target

INTERVAL = 0.5


class Goal(StrEnum):
    """What may be waited for."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


def command(
    run: Run,
    goal: Annotated[
        Goal | None, typer.Option("--for", metavar="STATE", help="running, succeeded or failed; 0 if that comes.")
    ] = None,
    timeout: Annotated[str | None, typer.Option("--timeout", metavar="TIME", help="Give up after 10m, 2h …")] = None,
    context: Context = None,
    namespace: Namespace = None,
) -> None:
    """Wait for a run to end; the exit code is the trainer's.

    With --for, the exit code is 0 once the run is in that state, and 1 as soon as it cannot get there.
    """
    from cw_cli.api import find_run
    from cw_cli.core.launch_reader import duration
    from cw_cli.targets.choice import Where

    try:
        limit = duration(timeout) if timeout else None
    except ValueError as error:
        raise UsageError(f"--timeout cannot be {timeout}", str(error)) from None
    target, name = find_run(run, Where(context, namespace))
    status = _awaited(target, name, goal, limit, timeout)
    reached = goal is not None and str(status.state).lower() == goal
    verdict = target.why(name)
    good = reached or (goal is None and status.state is State.SUCCEEDED)
    say(str(status.state).lower(), verdict.sentence, "green" if good else "red")
    if goal is not None:
        raise typer.Exit(0 if reached else 1)
    raise typer.Exit(status.exit_code if status.exit_code is not None else int(status.state is not State.SUCCEEDED))


def _awaited(target: Target, run: str, goal: Goal | None, limit: int | None, timeout: str | None) -> RunStatus:
    """The run as it is when the waiting is over; raises `CwError` when it takes too long, or nothing more will come."""
    began = time.monotonic()
    while True:
        status = target.status(run)
        if status.state.ended or str(status.state).lower() == goal:
            return status
        if status.state is State.UNKNOWN and status.reason == "cleaned up":
            raise CwError(
                f"how {run} ended is not known any more: its Job is gone", f"cw describe {run} tells the rest."
            )
        if limit is not None and time.monotonic() - began > limit:
            raise CwError(f"{run} is still {str(status.state).lower()} after {timeout}", f"cw why {run} says more.")
        time.sleep(INTERVAL)
