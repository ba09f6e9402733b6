"""`cw cancel RUN`: stop it, keep what there is to read."""

from __future__ import annotations

from cw_cli.cli.errors import say
from cw_cli.cli.logs import Run


def command(run: Run) -> None:
    """Stop a run. Its log, its record and its checkpoints stay."""
    from cw_cli.api import find_run

    target, name = find_run(run)
    if target.cancel(name):
        say("cancelled", name, "yellow")
    else:
        say("note", f"{name} had ended already", "cyan")
