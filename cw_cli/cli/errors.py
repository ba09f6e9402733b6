"""The one error boundary: what cw says when something is wrong."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer

from cw_cli.core.exceptions import ConfigError, CwError, get_error_suggestions
from cw_cli.core.problems import Origin, Problem, errors, warnings


@contextmanager
def boundary() -> Iterator[None]:
    """Turn errors that cw raises on purpose into sentences on stderr and an exit code."""
    try:
        yield
    except CwError as error:
        show_error(error)
        raise typer.Exit(error.exit_code) from None
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        if context is not None and error.message == context.get_help():  # a command that ends where more must follow
            typer.echo(error.message, err=True)
            raise typer.Exit(2) from None
        # What typer's own parser refuses: said in the same voice.
        say("error", error.format_message().rstrip("."), "red")
        say("hint", f"See {context.command_path if context else 'cw'} --help.", "cyan")
        raise typer.Exit(2) from None
    except (FileNotFoundError, PermissionError) as error:
        say("error", f"{error.filename}: {error.strerror}" if error.filename else str(error), "red")
        if hint := get_error_suggestions(error):
            say("hint", hint, "cyan")
        raise typer.Exit(1) from None


def show_error(error: CwError) -> None:
    """The error with every problem it holds."""
    problems = error.problems if isinstance(error, ConfigError) else ()
    for problem in warnings(problems):
        show_problem(problem)
    for problem in errors(problems):
        show_problem(problem)
    say("error", error.message, "red")
    if error.hint:
        say("hint", error.hint, "cyan")


def show_warnings(problems: Sequence[Problem]) -> None:
    """Problems that do not stop anything."""
    for problem in problems:
        show_problem(problem)


def show_problem(problem: Problem) -> None:
    """`file:line:col: what is wrong`, the source line with a mark under the place, and what to write instead."""
    color = "red" if problem.severity == "error" else "yellow"
    where = f"{problem.origin}: " if problem.origin else ""
    word = "" if problem.severity == "error" else "warning: "
    echo(styled(where, bold=True) + styled(word, fg=color) + problem.message)
    if problem.origin is not None and problem.origin.text is not None:
        _show_source(problem.origin, color)
    if problem.remedy:
        echo(f"      {styled('→', fg='cyan')} {problem.remedy}")


def _show_source(origin: Origin, color: str) -> None:
    text = (origin.text or "").expandtabs(1)
    column = (origin.column or 1) - 1
    start = max(0, column - 60) if len(text) > 100 else 0
    number = f"{origin.line:>4} | "
    echo(
        styled(number, dim=True)
        + "".join(letter if letter.isprintable() else "?" for letter in text[start : start + 100])
    )
    echo(" " * (len(number) + column - start) + styled("^", fg=color))


def say(word: str, sentence: str, color: str) -> None:
    """`word: sentence` on stderr."""
    echo(f"{styled(f'{word}:', fg=color, bold=True)} {sentence}")


def echo(text: str) -> None:
    """One line of conversation, on stderr."""
    typer.echo(text, err=True, color=True)


def styled(text: str, **style: Any) -> str:
    """`text` in color where stderr is a terminal that takes it."""
    plain = not sys.stderr.isatty() or "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb"
    return text if plain else typer.style(text, **style)
