"""Lists of things as a user wants them: a table, names, JSON or YAML."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import typer

Record = Mapping[str, Any]
"""One thing as plain data."""

OutputWide = Annotated[
    str | None, typer.Option("--output", "-o", metavar="FORMAT", help="wide, name, json or yaml on stdout.")
]


class Column(NamedTuple):
    """A column of a table and what a record shows in it."""

    title: str
    cell: Callable[[Record], Any]
    wide: bool = False
    """Whether only `-o wide` shows it."""


def print_records(records: Sequence[Record], columns: Sequence[Column], output: str | None) -> None:
    """The records on stdout in the format that was asked for; a table where none was."""
    if output == "name":
        for record in records:
            typer.echo(record["name"])
    elif output in (None, "wide"):
        shown = [column for column in columns if output == "wide" or not column.wide]
        print_table(
            [column.title for column in shown], [[_text(column.cell(item)) for column in shown] for item in records]
        )
    else:
        from cw_cli.cli.report import print_data

        print_data([dict(record) for record in records], output)


def _text(value: Any) -> str:
    return "-" if value is None or value == "" else str(value)


def print_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Rows under a line of titles: aligned where they are piped, folded to the window on a terminal."""
    if not rows:
        return
    if sys.stdout.isatty():
        _print_for_terminal(titles, rows)
        return
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    for row in (titles, *rows):
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _print_for_terminal(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in titles:
        table.add_column(title, no_wrap=title == titles[0], overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    Console().print(table)
