"""Where the files lie that ship with cw: templates, recipes, examples."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def shipped(name: str) -> Path:
    """The folder or file `name` that came with cw: inside the package when installed, beside it in a checkout."""
    for root in (PACKAGE, PACKAGE.parent):
        if (path := root / name).exists():
            return path
    raise FileNotFoundError(f"{name} is missing from this installation of cw; install it again")
