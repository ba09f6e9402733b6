"""`cw version`: what this is made of."""

from __future__ import annotations

import typer


def command() -> None:
    """Print the versions of cw, of Python, of each framework's schema, and of plugins."""
    import platform

    import cw_cli
    from cw_cli.core.registry import BUILT_IN, FrameworkRegistry

    typer.echo(f"cw {cw_cli.__version__}")
    typer.echo(f"python {platform.python_version()}")
    registry = FrameworkRegistry()
    for name in BUILT_IN:
        framework = registry.get(name)
        schema = framework.get_schema(next(iter(framework.get_training_types())))
        typer.echo(f"{name} {schema.subject if schema else 'without a schema'}")
    for item in registry.plugins:
        typer.echo(f"{item.command} {item.words.version or 'of unknown version'} (plugin in {item.place})")
