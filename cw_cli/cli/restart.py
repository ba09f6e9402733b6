"""`cw restart RUN --role ROLE`: a service anew, the run as it is."""

from __future__ import annotations

from typing import Annotated

import typer

from cw_cli.cli.errors import say
from cw_cli.cli.options import Context, Namespace, Run


def command(
    run: Run,
    role: Annotated[str, typer.Option("--role", metavar="ROLE", help="The service to start anew, as in reward.")],
    context: Context = None,
    namespace: Namespace = None,
) -> None:
    """Start a service of a run anew. The trainer goes on, and waits for it when it asks."""
    from cw_cli.api import find_run
    from cw_cli.targets.choice import Where

    target, name = find_run(run, Where(context, namespace))
    target.restart(name, role)
    say("restarting", f"{role} of {name}", "yellow")
    say("hint", f"See it come up: cw logs {name} --role {role} -f", "cyan")
