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
    here = " --local" if _fits(framework, training_type, text) else ""
    say("hint", f"Write it to a file and run it: cw {framework} {training_type} config.yaml{here}", "cyan")


def _fits(framework: str, training_type: str, text: str) -> bool:
    """Whether this machine could run it as well as a cluster: what works on GPUs alone may not."""
    from cw_cli.api import validate
    from cw_cli.core.config import parse_config
    from cw_cli.core.exceptions import ConfigError

    config = parse_config(text, "config.yaml")
    wrong = set()
    for target in ("kubernetes", "local"):
        try:
            validate(framework, training_type, config, target=target)
        except ConfigError:
            wrong.add(target)
    return wrong != {"local"}
