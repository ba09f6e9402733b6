"""`cw describe RUN`: all that is known of it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import typer

from cw_cli.cli import report
from cw_cli.cli.follow import in_words
from cw_cli.cli.options import Context, Namespace, Output, Run
from cw_cli.core.status import RunStatus


def command(
    run: Run,
    output: Output = None,
    context: Context = None,
    namespace: Namespace = None,
) -> None:
    """Show all that is known of a run: state, times, progress, results, and what it was launched with."""
    from cw_cli.api import find_run
    from cw_cli.targets.choice import Where

    target, name = find_run(run, Where(context, namespace))
    status, record = target.status(name), dict(target.record(name))
    verdict = target.why(name)
    if output is not None:
        report.print_data({**report.as_data(status), "why": verdict.sentence, "record": record}, output)
        return
    for word, value in [*_state(status, verdict.sentence), *_results(status), *_origin(record)]:
        typer.echo(f"{word:<10} {value}")


def _state(status: RunStatus, sentence: str) -> list[tuple[str, Any]]:
    reason = f" ({status.reason})" if status.reason else ""
    rows: list[tuple[str, Any]] = [
        ("name", status.name),
        ("state", f"{status.state}{reason}"),
        ("why", sentence),
        ("target", status.target),
        ("user", status.user),
        ("created", _time(status.created)),
        ("started", _time(status.started)),
        ("finished", _time(status.finished)),
        ("took", report.age(status.started, status.finished)),
        ("gpus", status.gpus),
    ]
    for role in status.roles:
        code = "" if role.exit_code is None else f", exit code {role.exit_code}"
        attempts = f", attempt {role.attempts}" if role.attempts > 1 else ""
        because = f" ({role.reason})" if role.reason and role.reason != status.reason else ""
        places = f", {', '.join(role.addresses)}" if role.addresses and not status.state.ended else ""
        rows.append((role.role, f"{role.state}{because}{code}{attempts}{places}"))
    return [(word, value) for word, value in rows if value not in ("", "-")]


def _results(status: RunStatus) -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = [("progress", in_words(status.progress))] if status.progress else []
    outcome = status.outcome
    if outcome is None:
        return [*rows, ("output", status.output_dir)] if status.output_dir else rows
    if outcome.headline is not None:
        word, first, last = outcome.headline
        rows.append((word, report.change(first, last)))
    places = (("model", outcome.model), ("metrics", outcome.metrics), ("plot", outcome.plot))
    return [*rows, *((word, path) for word, path in places if path)]


def _origin(record: dict[str, Any]) -> list[tuple[str, Any]]:
    overrides = " ".join(item["flag"] for item in record.get("overrides", []))
    rows = [
        ("config", record.get("config")),
        ("overrides", overrides),
        ("commit", record.get("commit")),
        ("schema", record.get("schema")),
        ("cw", record.get("cw")),
        ("digest", record.get("digest")),
    ]
    return [(word, value) for word, value in rows if value]


def _time(value: datetime | None) -> str:
    return value.astimezone().strftime("%Y-%m-%d %H:%M:%S %Z") if value else ""
