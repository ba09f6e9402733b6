"""What the data of preferences must hold: pairs for DPO and reward models, labels for KTO."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from cw_cli.core.config import Config
from cw_cli.core.datasets import Sample, sample
from cw_cli.core.problems import Problem
from cw_cli.core.spelling import nearest
from cw_cli.frameworks.trl.files import lacks_chat_template
from cw_cli.frameworks.trl.sources import Source, checks_with

Problems = Iterator[Problem]

PAIRS = ("chosen", "rejected")
LABELLED = ("prompt", "completion", "label")
ELSEWHERE = {
    "chosen": ("preferred", "accepted", "response_chosen", "answer_good", "response_j"),
    "rejected": ("dispreferred", "response_rejected", "answer_bad", "response_k"),
    "completion": ("response", "output", "answer"),
    "label": ("labels", "preference", "thumbs_up"),
    "prompt": ("question", "instruction", "input", "query"),
    "answer": ("solution", "ground_truth", "target", "final_answer"),
    "solution": ("answer", "ground_truth", "target"),
}
"""Names that other tools give to these columns."""


def pairs(config: Config) -> Problems:
    """For DPO and reward models."""
    yield from checks_with(config, lambda config, found: _columns(config, found, PAIRS))


def labelled(config: Config) -> Problems:
    """For KTO, which takes pairs too and tells them apart itself."""
    yield from checks_with(config, lambda config, found: _columns(config, found, LABELLED, PAIRS))


def scores(config: Config) -> Problems:
    """A reward model has a head for scores, which LoRA must know of."""
    if config.get("use_peft") and config.get("lora_task_type") != "SEQ_CLS":
        key = "lora_task_type" if config.has("lora_task_type") else "use_peft"
        message = "LoRA for a reward model must train its head for scores too"
        yield config.problem((key,), message, "write `lora_task_type: SEQ_CLS`")


def _columns(config: Config, found: Sequence[Source], *wanted: tuple[str, ...]) -> Problems:
    for source in found:
        files = (source.files or {}).get(source.split)
        rows = sample(files[0], source.format) if files else None
        if rows is None:
            continue
        if rows.problems:
            yield from rows.problems
            continue
        there = [name for name in rows.columns if source.columns is None or name in source.columns]
        columns = next((columns for columns in wanted if set(columns) <= set(there)), None)
        if columns is None:
            yield lacking(config, source, there, wanted[0], files[0].name if files else "")
            continue
        yield from _said(config, source, rows, [name for name in ("prompt", *columns) if name in there])
        if columns == LABELLED:
            yield from _labels(config, source, rows)


def lacking(config: Config, source: Source, there: list[str], wanted: tuple[str, ...], file: str) -> Problem:
    """The problem of columns that are not there, with those that may be meant."""
    lacking = [name for name in wanted if name not in there]
    renames = {
        name: other
        for name in lacking
        if (other := next((item for item in ELSEWHERE.get(name, ()) if item in there), None) or nearest(name, there))
    }
    message = f"{file}: the data has {', '.join(there) or 'no columns'}, and lacks {', '.join(lacking)}"
    rename = ", ".join(f"{other} to {name}" for name, other in renames.items())
    remedy = f"rename {rename}" if rename else f"give each row {', '.join(wanted)}"
    return config.problem(source.place, message, remedy)


def _said(config: Config, source: Source, rows: Sample, columns: Sequence[str]) -> Problems:
    """Prompts and answers are all text, or all messages."""
    spoken = [name for name in dict.fromkeys(columns) if name != "label"]
    kinds = {name: rows.kinds(name) for name in spoken}
    found = set().union(*kinds.values())
    if found == {"messages"}:
        if lacks_chat_template(config):
            message = "the data holds conversations, and the model's tokenizer has no chat template"
            remedy = "take a model that was made for chat, or save a chat template with its tokenizer"
            yield config.problem(("model_name_or_path",), message, remedy)
    elif not found <= {"text"}:
        each = ", ".join(f"{name} {' and '.join(sorted(kinds[name]))}" for name in spoken)
        remedy = "write all of them as text, or all as lists of messages with role and content"
        yield config.problem(source.place, f"the columns hold different kinds of value: {each}", remedy)


def _labels(config: Config, source: Source, rows: Sample) -> Problems:
    for row in rows.rows:
        if not isinstance(row["label"], bool):
            message = f"label is {json.dumps(row['label'])} in the data, and KTO wants true or false"
            remedy = "write true for answers that were liked, false for others"
            yield config.problem(source.place, message, remedy)
            return
