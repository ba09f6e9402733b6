"""Rewards in Python, for where there is no model that scores: name one as `rewards.py:lower_case`."""

from __future__ import annotations


def lower_case(prompts: list[str], completions: list[str]) -> list[float]:
    """The share of a completion's characters that are small letters or spaces."""
    return [sum(char.islower() or char == " " for char in text) / max(1, len(text)) for text in completions]
