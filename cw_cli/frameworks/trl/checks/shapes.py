"""Which columns SFT needs, decided by the first rows as TRL's SFTTrainer decides it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from cw_cli.core.datasets import Sample

CONVERSATIONAL = ("prompt", "completion", "messages", "chosen", "rejected")
"""Columns that make a dataset conversational when they hold lists of messages."""

TEXT_PAIRS = (
    ("prompt", "response"),
    ("instruction", "output"),
    ("instruction", "response"),
    ("question", "answer"),
    ("input", "output"),
    ("query", "response"),
    ("source", "target"),
)
"""Columns that people use for a prompt and its completion."""

TEXT_NAMES = ("text", "content", "document", "body", "sentence")


class Shape(NamedTuple):
    """What SFTTrainer takes a dataset for: `tokens`, `text`, `pairs`, `messages`, `images`; or why it takes it for
    nothing."""

    name: str = ""
    conversational: bool = False
    """As it stands in the file; TRL converts `from`/`value` turns only after it has looked."""
    needs_template: bool = False
    message: str = ""
    remedy: str = ""


def shape(sample: Sample, text_field: str, columns: list[str] | None = None, prepared: bool = False) -> Shape:
    """What the rows are for SFTTrainer; `columns` are those that the config keeps, `prepared` skips preparation."""
    names = [name for name in sample.columns if columns is None or name in columns]
    kinds = {name: sample.kinds(name) for name in names}
    first = sample.rows[0] if sample.rows else {}
    started = {name: kinds[name] for name in names if first.get(name) is not None}
    if "image" in kinds or "images" in kinds:
        return Shape("images")
    if "input_ids" in kinds:
        return _tokens(kinds)
    found = _listed(names)
    if prepared:
        return Shape(message=f"the data has {found}, and prepared data needs input_ids", remedy="let TRL prepare it")
    turns = "turns" in started.get("conversations", set())
    if turns:
        names = ["messages" if name == "conversations" else name for name in names]
        kinds["messages"] = {"messages"}
        started["messages"] = {"messages"}
    conversational = any("messages" in started.get(name, set()) for name in CONVERSATIONAL)
    if "prompt" in names:
        return _pairs(kinds, conversational)
    if conversational:
        if "messages" in names:
            return Shape("messages", not turns, True)
        return Shape(
            message=f"the data has {found}, and conversations need messages", remedy=_advice(kinds, text_field)
        )
    return _text(kinds, text_field, found)


def _tokens(kinds: Mapping[str, set[str]]) -> Shape:
    if kinds["input_ids"] <= {"tokens", "list"}:
        return Shape("tokens")
    return Shape(
        message="input_ids does not hold lists of whole numbers", remedy="write token numbers, or another column"
    )


def _pairs(kinds: Mapping[str, set[str]], conversational: bool) -> Shape:
    """A prompt goes before everything else that a row holds."""
    if "completion" not in kinds:
        remedy = _advice(kinds, "text") if set(kinds) & {"response"} else "add completion, or rename prompt"
        return Shape(message=f"the data has {_listed(kinds)}, and a prompt needs a completion", remedy=remedy)
    both = kinds["prompt"] | kinds["completion"]
    if both <= {"text"} or both <= {"messages"}:
        return Shape("pairs", conversational, conversational)
    return Shape(
        message="prompt and completion hold different kinds of value",
        remedy="write both as text, or both as lists of messages with role and content",
    )


def _text(kinds: Mapping[str, set[str]], text_field: str, found: str) -> Shape:
    if text_field not in kinds:
        return Shape(message=f"the data has {found}, which SFT cannot use", remedy=_advice(kinds, text_field))
    if kinds[text_field] <= {"text"}:
        return Shape("text")
    what = "messages" if "messages" in kinds[text_field] else "no text"
    remedy = "call the column messages" if what == "messages" else "write text, or name another dataset_text_field"
    return Shape(message=f"the column {text_field} holds {what}", remedy=remedy)


def _advice(kinds: Mapping[str, set[str]], text_field: str) -> str:
    """What would make the data fit, from the columns that are there."""
    for name, values in kinds.items():
        if "messages" in values:
            return f"rename the column {name} to messages"
        if "turns" in values:
            return f"rename the column {name} to conversations"
    for prompt, completion in TEXT_PAIRS:
        if prompt in kinds and completion in kinds:
            both = (
                f"{prompt} to prompt and {completion} to completion"
                if prompt != "prompt"
                else f"{completion} to completion"
            )
            return f"rename the columns {both}" if prompt != "prompt" else f"rename the column {both}"
    if "messages" in kinds:
        return "write messages as a list of {role, content}"
    for name in (*TEXT_NAMES, *kinds):
        if name != text_field and kinds.get(name) == {"text"}:
            return f"write `dataset_text_field: {name}`"
    return "SFT needs messages, prompt and completion, or text"


def _listed(names: Mapping[str, set[str]] | list[str]) -> str:
    shown = list(names)
    more = f" and {len(shown) - 8} more" if len(shown) > 8 else ""
    kind = "the column" if len(shown) == 1 else "the columns"
    return f"{kind} {', '.join(shown[:8])}{more}" if shown else "no columns"
