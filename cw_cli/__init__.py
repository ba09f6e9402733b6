"""cw: from a training YAML to a healthy run, on a cluster or on this machine.

What the command line does, a notebook or a script does with `plan`, `launch` and `runs`, with the same values and
errors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cw_cli.api import launch, plan, run, runs, validate

__version__ = "0.1.0"

__all__ = ["__version__", "launch", "plan", "run", "runs", "validate"]


def __getattr__(name: str) -> Any:
    """The use cases, imported when they are first asked for."""
    if name in __all__:
        from importlib import import_module

        return getattr(import_module("cw_cli.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
