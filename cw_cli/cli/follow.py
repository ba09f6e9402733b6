"""A run on the screen while it trains: its log, and a line of progress under it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import typer

from cw_cli.cli import report
from cw_cli.cli.errors import echo, say, styled
from cw_cli.core.progress import Observed, parse_line
from cw_cli.core.status import Progress, RunStatus, State
from cw_cli.targets.base import Target

PLAIN_INTERVAL = 5.0
"""Seconds between lines of progress where there is no terminal to draw a bar on."""

FIRST_INTERVAL, LONGEST_INTERVAL = 0.3, 5.0
"""Seconds between two looks at a run that is pending."""
PATIENCE = 2.0
VERDICT_INTERVAL = 30.0


class Screen(Protocol):
    """Where a followed run is shown."""

    def line(self, text: str) -> None:
        """A line of the trainer's log."""

    def progress(self, progress: Progress) -> None:
        """How far the training is."""

    def waiting(self, sentence: str) -> None:
        """Why the training has not begun."""


def follow(target: Target, run: str, *, cancel: bool) -> int:
    """Show the run until it has ended; returns the trainer's exit code.

    Ctrl-C cancels the run, or with `cancel` False only stops looking at it.
    """
    try:
        with _screen() as screen:
            if wait_for_start(target, run, screen):
                show_log(target, run, screen)
    except KeyboardInterrupt:
        if not cancel:
            say("detached", f"{run} goes on; cw logs {run} -f follows it again, cw cancel {run} stops it", "yellow")
            return 130
        say("cancelling", f"{run}; the trainer saves a checkpoint if it can (Ctrl-C again leaves it to that)", "yellow")
        try:
            target.cancel(run)
        except KeyboardInterrupt:
            say("leaving", f"{run} is still stopping; see cw list", "yellow")
            return 130
        show_end(target, run)
        return 130
    return show_end(target, run)


def wait_for_start(target: Target, run: str, screen: Screen) -> bool:
    """Say why the run is pending, whenever that changes; returns whether it has begun, so that there is a log."""
    said, reason, interval, began = "", None, FIRST_INTERVAL, time.monotonic()
    asked = began
    while (status := target.status(run)).state is State.PENDING:
        now = time.monotonic()
        # A start takes a moment anyway; a verdict asks the cluster for much more than a state does.
        if now - began >= PATIENCE and (status.reason != reason or now - asked >= VERDICT_INTERVAL):
            reason, asked = status.reason, now
            sentence = target.why(run).sentence
            if sentence != said:
                said = sentence
                screen.waiting(sentence)
        time.sleep(interval)
        interval = min(interval * 1.3, LONGEST_INTERVAL)
    return not status.state.ended or status.exit_code is not None


def show_log(target: Target, run: str, screen: Screen) -> None:
    """Every line of the run's log on the screen, progress apart from the rest, until the run has ended."""
    observed = Observed()
    for line in target.logs(run, role=None, follow=True, tail=None):
        event = parse_line(line)
        if event is None:
            screen.line(line)
            continue
        observed = observed.after(event)
        if observed.progress is not None:
            screen.progress(observed.progress)


def show_end(target: Target, run: str) -> int:
    """State, losses, where the results are, and the next command worth knowing; returns the exit code."""
    status = target.status(run)
    if status.state is State.SUCCEEDED:
        _show_success(status)
        return 0
    verdict = target.why(run)
    echo("")
    say(str(status.state).lower(), verdict.sentence, "red")
    if verdict.remedy:
        say("hint", verdict.remedy, "cyan")
    return status.exit_code or 1


def _show_success(status: RunStatus) -> None:
    outcome = status.outcome
    echo("")
    took = report.age(status.started, status.finished)
    say("succeeded", f"{status.name} in {took}", "green")
    if outcome is None:
        return
    if outcome.headline is not None:
        word, first, last = outcome.headline
        echo(f"  {word:<8} {report.change(first, last)}")
    for word, path in (("model", outcome.model), ("plot", outcome.plot), ("metrics", outcome.metrics)):
        if path:
            echo(f"  {word:<8} {path}")
    echo(f"  next     {styled(f'cw describe {status.name}', bold=True)}")


@contextmanager
def _screen() -> Iterator[Screen]:
    if not sys.stderr.isatty():
        yield PlainScreen()
        return
    with _bar() as bar:
        yield BarScreen(bar, log_beside_bar=sys.stdout.isatty())


class PlainScreen:
    """Lines only: the log on stdout, a sentence of progress on stderr now and then."""

    def __init__(self) -> None:
        self.last = -PLAIN_INTERVAL
        self.shown: int | None = None

    def line(self, text: str) -> None:
        typer.echo(text)

    def progress(self, progress: Progress) -> None:
        now = time.monotonic()
        complete = progress.total is not None and progress.step >= progress.total
        if progress.step and progress.step != self.shown and (complete or now - self.last >= PLAIN_INTERVAL):
            self.last, self.shown = now, progress.step
            echo(in_words(progress))

    def waiting(self, sentence: str) -> None:
        say("waiting", sentence, "yellow")


def in_words(progress: Progress) -> str:
    """As in `step 50/150 (33%), loss 2.1, lr 0.004, 3,200 tokens/s, 10s left`."""
    total = f"/{progress.total} ({progress.fraction:.0%})" if progress.total else ""
    parts = [f"step {progress.step}{total}"]
    if progress.reward is not None:
        parts.append(f"reward {report.number(progress.reward)}")
    elif progress.loss is not None:
        parts.append(f"loss {report.number(progress.loss)}")
    if progress.learning_rate is not None:
        parts.append(f"lr {report.number(progress.learning_rate, 3)}")
    if progress.tokens_per_second is not None:
        parts.append(f"{progress.tokens_per_second:,.0f} tokens/s")
    if progress.eta:
        parts.append(f"{report.duration(progress.eta)} left")
    return ", ".join(parts)


def _bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn

    return Progress(
        SpinnerColumn(),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TextColumn("{task.description}", markup=False),
        console=Console(stderr=True),
        transient=True,
    )


class BarScreen:
    """A bar at the bottom of the terminal, the log above it."""

    def __init__(self, bar: Any, *, log_beside_bar: bool) -> None:
        self.bar = bar
        self.log_beside_bar = log_beside_bar
        self.task = bar.add_task("starting", total=None)

    def line(self, text: str) -> None:
        if self.log_beside_bar:
            self.bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            typer.echo(text)

    def progress(self, progress: Progress) -> None:
        self.bar.update(self.task, completed=progress.step, total=progress.total, description=in_words(progress))

    def waiting(self, sentence: str) -> None:
        self.bar.update(self.task, description=sentence)
