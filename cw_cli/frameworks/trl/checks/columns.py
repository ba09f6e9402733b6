"""What the rows of data must hold: text or conversations for SFT, pairs for DPO and reward models, labels for KTO."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from cw_cli.core.config import Config
from cw_cli.core.paths import local_path
from cw_cli.core.problems import Problem
from cw_cli.core.spelling import nearest
from cw_cli.frameworks.trl.checks import datasets
from cw_cli.frameworks.trl.checks.datasets import Source, Table
from cw_cli.frameworks.trl.checks.shapes import Shape, shape

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


def supervised(config: Config) -> Problems:
    """For SFT."""
    yield from datasets.checks(config, _shapes)


def pairs(config: Config) -> Problems:
    """For DPO and reward models."""
    yield from datasets.checks(config, lambda config, tables: _columns(config, tables, PAIRS))


def labelled(config: Config) -> Problems:
    """For KTO, which takes pairs too and tells them apart itself."""
    yield from datasets.checks(config, lambda config, tables: _columns(config, tables, LABELLED, PAIRS))


def scores(config: Config) -> Problems:
    """A reward model has a head for scores, which LoRA must know of."""
    if config.get("use_peft") and config.get("lora_task_type") != "SEQ_CLS":
        key = "lora_task_type" if config.has("lora_task_type") else "use_peft"
        message = "LoRA for a reward model must train its head for scores too"
        yield config.problem((key,), message, "write `lora_task_type: SEQ_CLS`")


def _shapes(config: Config, tables: Sequence[Table]) -> Problems:
    field = config.get("dataset_text_field") or "text"
    prepared = bool(config.get("dataset_kwargs", "skip_prepare_dataset"))
    shapes: list[tuple[Source, Shape]] = []
    for table in tables:
        source = table.source
        if unknown := list(_selected(config, table)):
            yield from unknown
            continue
        found = shape(table.rows, field, source.columns, prepared)
        if found.message:
            place = ("dataset_text_field",) if field != "text" and "column" in found.message[:11] else source.place
            yield config.problem(place, f"{table.file}: {found.message}", found.remedy)
        else:
            shapes.append((source, found))
    for source, found in shapes[1:]:
        if found.name != shapes[0][1].name:
            message = f"this dataset holds {found.name}, and the first one {shapes[0][1].name}"
            yield config.problem(source.place, message, "give all of them the same columns")
    for _, found in shapes[:1]:
        yield from _uses(config, found)


def _selected(config: Config, table: Table) -> Problems:
    for index, name in enumerate(table.source.columns or []):
        if name not in table.rows.columns:
            message = f"there is no column {name}; there is {', '.join(table.rows.columns)}"
            yield config.problem((*table.source.place, "columns", index), message, "name columns of the file")


def _uses(config: Config, found: Shape) -> Problems:
    """Settings that want data of one shape only."""
    if config.get("assistant_only_loss") and not found.conversational and found.name != "images":
        message = "assistant_only_loss needs conversations with role and content, and the data has none"
        yield config.problem(("assistant_only_loss",), message, "delete it, or write the data as messages")
    if config.get("completion_only_loss") and found.name in ("text", "messages"):
        message = "completion_only_loss changes nothing without the columns prompt and completion"
        remedy = "write the data as prompt and completion, or delete it"
        yield config.problem(("completion_only_loss",), message, remedy, warning=True)
    if found.needs_template and lacks_chat_template(config):
        message = "the data holds conversations, and the model's tokenizer has no chat template"
        remedy = "add `chat_template_path:`, or take a model that was made for chat"
        yield config.problem(("model_name_or_path",), message, remedy)
    for key in ("packing", "padding_free"):
        if found.name == "images" and config.get(key):
            yield config.problem((key,), f"{key} does not work with images", "delete it")


def _columns(config: Config, tables: Sequence[Table], *wanted: tuple[str, ...]) -> Problems:
    for table in tables:
        columns = next((columns for columns in wanted if set(columns) <= set(table.columns)), None)
        if columns is None:
            yield lacking(config, table, wanted[0])
            continue
        yield from _said(config, table, [name for name in ("prompt", *columns) if name in table.columns])
        if columns == LABELLED:
            yield from _labels(config, table)


def lacking(config: Config, table: Table, wanted: tuple[str, ...]) -> Problem:
    """The problem of columns that are not there, with those that may be meant."""
    there = table.columns
    lacking = [name for name in wanted if name not in there]
    renames = {
        name: other
        for name in lacking
        if (other := next((item for item in ELSEWHERE.get(name, ()) if item in there), None) or nearest(name, there))
    }
    message = f"{table.file}: the data has {', '.join(there) or 'no columns'}, and lacks {', '.join(lacking)}"
    rename = ", ".join(f"{other} to {name}" for name, other in renames.items())
    remedy = f"rename {rename}" if rename else f"give each row {', '.join(wanted)}"
    return config.problem(table.source.place, message, remedy)


def _said(config: Config, table: Table, columns: Sequence[str]) -> Problems:
    """Prompts and answers are all text, or all messages."""
    spoken = [name for name in dict.fromkeys(columns) if name != "label"]
    kinds = {name: table.rows.kinds(name) for name in spoken}
    found = set().union(*kinds.values())
    if found == {"messages"}:
        if lacks_chat_template(config):
            message = "the data holds conversations, and the model's tokenizer has no chat template"
            remedy = "take a model that was made for chat, or save a chat template with its tokenizer"
            yield config.problem(("model_name_or_path",), message, remedy)
    elif not found <= {"text"}:
        each = ", ".join(f"{name} {' and '.join(sorted(kinds[name]))}" for name in spoken)
        remedy = "write all of them as text, or all as lists of messages with role and content"
        yield config.problem(table.source.place, f"the columns hold different kinds of value: {each}", remedy)


def _labels(config: Config, table: Table) -> Problems:
    for row in table.rows.rows:
        if not isinstance(row["label"], bool):
            message = f"label is {json.dumps(row['label'])} in the data, and KTO wants true or false"
            remedy = "write true for answers that were liked, false for others"
            yield config.problem(table.source.place, message, remedy)
            return


def lacks_chat_template(config: Config) -> bool:
    """Whether the model is a folder on this machine whose tokenizer cannot format a conversation."""
    value = config.get("model_name_or_path")
    if config.get("chat_template_path") or not isinstance(value, str):
        return False
    path = local_path(value, config.folder)
    if path is None or not (path / "tokenizer_config.json").is_file():
        return False
    if any(
        (path / name).exists() for name in ("chat_template.jinja", "chat_template.json", "additional_chat_templates")
    ):
        return False
    try:
        settings = json.loads((path / "tokenizer_config.json").read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return not (isinstance(settings, dict) and settings.get("chat_template"))
