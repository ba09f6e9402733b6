"""The keys of a config: cw checks them, the program reads them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Settings:
    slope: float = 2.0
    """Of the line that the points lie on."""
    offset: float = 1.0
    """Of the line that the points lie on."""
    points: int = 100
    """How many points to learn from."""
    steps: int = 200
    """Updates of slope and offset."""
    learning_rate: float = 0.1
    """How far each update goes."""
    output_dir: str = "my-trainer"
    """Where the line is written."""
