"""A reward for grpo.yaml: texts of short words are liked."""

from typing import Any


def short_words(completions: list[str], **columns: Any) -> list[float]:
    """Between 0 and 1 for each completion: the share of its words that have five letters or fewer."""
    return [_share(text.split()) for text in completions]


def _share(words: list[str]) -> float:
    return sum(len(word) <= 5 for word in words) / len(words) if words else 0.0
