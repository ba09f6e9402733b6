"""`cw init FRAMEWORK TYPE`: a config to begin with."""

from __future__ import annotations

import typer

from cw_cli.cli.errors import say
from cw_cli.cli.options import Framework, TypeName
from cw_cli.core.exceptions import UsageError


def command(framework: Framework, training_type: TypeName) -> None:
    """Print a commented, minimal config that runs as it is: cw init trl sft > config.yaml."""
    from cw_cli.api import find_framework

    found, known_type = find_framework(framework, training_type)
    text = found.example(known_type)
    if not text:
        raise UsageError(f"{framework} brings no example for {training_type}", "Ask who wrote it what a config holds.")
    typer.echo(text, nl=False)
    say("hint", f"Write it to a file and run it: cw {framework} {training_type} config.yaml --local", "cyan")
