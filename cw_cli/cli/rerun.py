"""`cw rerun RUN`: the same again, with changes if you like."""

from __future__ import annotations

from typing import Any

import typer

from cw_cli.cli.arguments import OverridingCommand
from cw_cli.cli.launch import check_dry_run, start, staying, typed_overrides
from cw_cli.cli.options import Context, Detach, DryRun, Follow, Name, Namespace, Output, Overrides, Run


class COMMAND_CLASS(OverridingCommand):  # noqa: N801 - the name under which a verb's module offers its class
    """A rerun, whose keys are those of the run's framework; they are checked when its record is read."""


def command(
    ctx: typer.Context,
    run: Run,
    name: Name = None,
    set_: Overrides = None,
    detach: Detach = False,
    follow: Follow = False,
    dry_run: DryRun = None,
    output: Output = None,
    context: Context = None,
    namespace: Namespace = None,
) -> None:
    """Launch a run again under a new name, from its record: the config as it was, and the overrides.

    Any key may be changed: --set learning_rate=2e-5, or --learning_rate 2e-5.
    """
    from cw_cli import api
    from cw_cli.targets.choice import Where

    check_dry_run(dry_run)
    overrides: list[Any] = typed_overrides(ctx, set_)
    where = Where(context, namespace)
    plan = api.plan_again(run, overrides, name=name, where=where, flags=ctx.meta["flags"])
    start(plan, dry_run=dry_run, stay=staying(plan, detach, follow), output=output, context=context)
