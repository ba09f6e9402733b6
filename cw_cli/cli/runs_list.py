"""`cw list`: the runs, newest first."""

from __future__ import annotations

import sys

import typer

from cw_cli.cli import report
from cw_cli.cli.errors import say
from cw_cli.cli.options import Context, Namespace, Output
from cw_cli.core.exceptions import TargetError
from cw_cli.core.status import RunStatus

COLUMNS = ("NAME", "STATE", "REASON", "AGE", "GPUS", "STEP", "LEFT", "LOSS")
COLORS = {"Succeeded": "green", "Failed": "red", "Running": "cyan", "Pending": "yellow"}


def command(output: Output = None, context: Context = None, namespace: Namespace = None) -> None:
    """List runs: state, why they are in it, age, GPUs, progress, loss."""
    from cw_cli.api import targets
    from cw_cli.targets.choice import Where

    found: list[RunStatus] = []
    failed: TargetError | None = None
    for target in targets(Where(context, namespace)):
        try:
            found += target.list()
        except TargetError as error:  # a cluster that is away hides no run of this machine
            failed = error
    if output == "name":
        for status in found:
            typer.echo(status.name)
    elif output is not None:
        report.print_data([report.as_data(status) for status in found], output)
    elif not found and failed is None:
        say("note", "there are no runs yet; cw init trl sft > config.yaml makes a config to begin with", "cyan")
    elif found:
        _print_table([row for status in found for row in (_row(status), *_role_rows(status))])
    if failed is not None:
        raise failed


def _row(status: RunStatus) -> tuple[str, ...]:
    progress = status.progress
    step = left = "-"
    if progress is not None:
        share = f" {progress.fraction:.0%}" if progress.fraction is not None else ""
        step = f"{progress.step}/{progress.total}{share}" if progress.total else str(progress.step)
        left = report.duration(progress.eta) if progress.eta and not status.state.ended else "-"
    loss = report.number(progress.loss if progress else None)
    age = report.age(status.created)
    return (status.name, str(status.state), status.reason or "-", age, str(status.gpus), step, left, loss)


def _role_rows(status: RunStatus) -> list[tuple[str, ...]]:
    """A line for each role of a run that is going, where there is more than its trainer."""
    if status.state.ended or [role.role for role in status.roles] in ([], ["trainer"]):
        return []
    return [(f"  {role.role}", str(role.state), role.reason or "-", *("-",) * 5) for role in status.roles]


def _print_table(rows: list[tuple[str, ...]]) -> None:
    if not sys.stdout.isatty():
        widths = [max(map(len, column)) for column in zip(COLUMNS, *rows, strict=True)]
        for row in (COLUMNS, *rows):
            typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in COLUMNS:
        table.add_column(name, no_wrap=name in ("NAME", "STATE"), overflow="fold")
    for row in rows:
        state = Text(row[1], style=COLORS.get(row[1], ""))
        table.add_row(Text(row[0]), state, *(Text(cell) for cell in row[2:]))
    Console().print(table)
