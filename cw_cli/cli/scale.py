"""`cw scale RUN --role ROLE --replicas N`: more or fewer of a service, the run as it is."""

from __future__ import annotations

from typing import Annotated

import typer

from cw_cli.cli.errors import say
from cw_cli.cli.options import Context, Namespace, Run


def command(
    run: Run,
    role: Annotated[str, typer.Option("--role", metavar="ROLE", help="The service, as in reward.")],
    replicas: Annotated[int, typer.Option("--replicas", metavar="N", min=1, help="How many there shall be.")],
    context: Context = None,
    namespace: Namespace = None,
) -> None:
    """Change how many replicas a service of a run has. Requests spread over those that answer."""
    from cw_cli.api import find_run
    from cw_cli.targets.choice import Where

    target, name = find_run(run, Where(context, namespace))
    target.scale(name, role, replicas)
    say("scaling", f"{role} of {name} to {replicas}", "yellow")
    say("hint", f"See it come up: cw describe {name}", "cyan")
