"""`cw why RUN`: one verdict, one remedy."""

from __future__ import annotations

import typer

from cw_cli.cli.errors import say
from cw_cli.cli.options import Context, Namespace, Run


def command(
    run: Run,
    context: Context = None,
    namespace: Namespace = None,
) -> None:
    """Say why a run is in its state, in one sentence, and what to do, in another."""
    from cw_cli.api import find_run
    from cw_cli.targets.choice import Where

    target, name = find_run(run, Where(context, namespace))
    verdict = target.why(name)
    typer.echo(verdict.sentence)
    if verdict.remedy:
        say("hint", verdict.remedy, "cyan")
