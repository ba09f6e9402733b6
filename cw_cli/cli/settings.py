"""`cw config`: the user's defaults."""

from __future__ import annotations

import json
from typing import Any

import typer

from cw_cli.cli import report
from cw_cli.cli.errors import say
from cw_cli.cli.options import Output


def command(output: Output = None) -> None:
    """Show where your defaults are kept, every value in force, and where each comes from."""
    from cw_cli.core.settings import read_settings, settings_path

    settings = read_settings()
    rows: dict[str, Any] = {
        key: {"value": value, "from": str(settings.origin(key))} for key, value in settings.values.items()
    }
    if "target" not in rows:
        from cw_cli.targets.choice import choose

        kind, note = choose(None, None)
        rows["target"] = {"value": kind, "from": note or "the kubeconfig that was found"}
    if output is not None:
        report.print_data({"path": str(settings_path()), "values": rows}, output)
        return
    exists = "" if settings_path().exists() else " (not there yet; any of cw's own keys may stand in it)"
    typer.echo(f"{settings_path()}{exists}")
    for key, row in rows.items():
        typer.echo(f"{key}: {json.dumps(row['value'])}  # {row['from']}")
    say("hint", "Order: cw's defaults, this file, the config, --set and --key, named flags.", "cyan")
