"""`cw list`: the runs, newest first."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from cw_cli.cli import report
from cw_cli.cli.errors import say
from cw_cli.core.status import RunStatus

Output = Annotated[str | None, typer.Option("--output", "-o", metavar="FORMAT", help="name, json or yaml.")]
COLUMNS = ("NAME", "STATE", "REASON", "AGE", "GPUS", "STEP", "LEFT", "LOSS")
COLORS = {"Succeeded": "green", "Failed": "red", "Running": "cyan", "Pending": "yellow"}


def command(output: Output = None) -> None:
    """List runs: state, why they are in it, age, GPUs, progress, loss."""
    from cw_cli.api import runs

    found = runs()
    if output == "name":
        for status in found:
            typer.echo(status.name)
    elif output is not None:
        report.print_data([report.as_data(status) for status in found], output)
    elif not found:
        say("note", "there are no runs yet; cw init trl sft > config.yaml makes a config to begin with", "cyan")
    else:
        _print_table([_row(status) for status in found])


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
