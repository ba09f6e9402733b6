"""`cw cancel RUN`: stop it, keep what there is to read."""

from __future__ import annotations

from cw_cli.cli.errors import say
from cw_cli.cli.options import Context, Namespace, Run


def command(
    run: Run,
    context: Context = None,
    namespace: Namespace = None,
) -> None:
    """Stop a run. Its log, its record and its checkpoints stay."""
    from cw_cli.api import find_run
    from cw_cli.targets.choice import Where

    target, name = find_run(run, Where(context, namespace))
    if target.cancel(name):
        say("cancelled", name, "yellow")
    else:
        say("note", f"{name} had ended already", "cyan")
