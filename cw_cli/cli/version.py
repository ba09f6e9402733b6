"""`cw version`: what this is made of."""

from __future__ import annotations

import typer


def command() -> None:
    """Print the versions of cw, of Python, and of each framework's schema."""
    import platform

    import cw_cli
    from cw_cli.core.registry import FrameworkRegistry

    typer.echo(f"cw {cw_cli.__version__}")
    typer.echo(f"python {platform.python_version()}")
    registry = FrameworkRegistry()
    for name in registry.names():
        framework = registry.get(name)
        schema = framework.get_schema(next(iter(framework.get_training_types())))
        typer.echo(f"{name} {schema.subject if schema else 'without a schema'}")
