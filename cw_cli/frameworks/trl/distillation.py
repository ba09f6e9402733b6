"""What distillation asks beyond what all training types ask: a teacher that speaks the same tokens, and prompts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cw_cli.core.config import Config
from cw_cli.core.framework import TrainingType
from cw_cli.core.paths import local_path
from cw_cli.core.problems import Problem
from cw_cli.core.schema import Renamed
from cw_cli.core.spelling import nearest
from cw_cli.frameworks import hugging_face
from cw_cli.frameworks.trl import inference
from cw_cli.frameworks.trl.checks import datasets, online
from cw_cli.frameworks.trl.checks.columns import lacks_chat_template
from cw_cli.frameworks.trl.checks.datasets import Table

Problems = Iterator[Problem]

DISTILLATION = TrainingType("distillation")
STUDENT, TEACHER = "model_name_or_path", "teacher_model_name_or_path"

OVERLAY: dict[str, dict[str, Any]] = {
    "beta": {"minimum": 0, "maximum": 1},
    "max_completion_length": {"type": "integer", "minimum": 1},
    "temperature": {"exclusiveMinimum": 0},
    "top_p": {"exclusiveMinimum": 0, "maximum": 1},
    "top_k": {"minimum": 0},
    "min_p": {"minimum": 0, "maximum": 1},
    "repetition_penalty": {"exclusiveMinimum": 0},
    **inference.OVERLAY,
}

RENAMED = {**inference.RENAMED, "wandb_log_unique_prompts": Renamed("log_unique_prompts")}

_SERVED = f"the trainer holds the teacher itself; write `{TEACHER}:` (TRL's experimental trainers ask a server)"

REMOVED = {
    **inference.REMOVED,
    **dict.fromkeys(("teacher_model_server_url", "teacher_server_urls", "use_teacher_server"), _SERVED),
    "max_length": "write `max_completion_length:`; prompts are never cut",
    "max_seq_length": "write `max_completion_length:`; prompts are never cut",
    "max_prompt_length": "prompts are never cut; leave long ones out of the data",
    # Of GKD and of the experimental distillation before it became a trainer of its own.
    "max_new_tokens": "write `max_completion_length:`",
    "lmbda": "all completions are the model's own now; delete it",
    "seq_kd": "all completions are the model's own now; for the teacher's, train on them with `cw trl sft`",
    "teacher_model": f"write `{TEACHER}:`",
}

PROMPTS = ("question", "instruction", "input", "query", "text", "messages")
"""Columns that people use for what a model shall answer."""


def checks(config: Config, processes: int) -> Problems:
    """`processes` are those of all nodes; TRL writes the completions of all their batches of a step at once."""
    each = config.get("per_device_train_batch_size") or online.BATCH
    batch = each * (config.get("gradient_accumulation_steps") or 1) * processes
    yield from teacher(config)
    yield from datasets.checks(config, lambda config, tables: _prompts(config, tables, batch))


def teacher(config: Config) -> Problems:
    """A model whose distributions can be compared with the student's, number for number."""
    yield from hugging_face.model(config, TEACHER, tokenizer=False)
    sizes = [_vocabulary(config, key) for key in (STUDENT, TEACHER)]
    if None not in sizes and sizes[0] != sizes[1]:
        message = f"the teacher has {sizes[1]} tokens and the student {sizes[0]}, so nothing can be compared"
        yield config.problem((TEACHER,), message, "take a teacher of the same family, with the same tokenizer")


def _vocabulary(config: Config, key: str) -> int | None:
    """How many tokens a model that is a folder on this machine has."""
    value = config.get(key)
    path = local_path(value, config.folder) if isinstance(value, str) else None
    try:
        settings = json.loads(((path or Path()) / "config.json").read_text("utf-8")) if path else None
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(settings, dict):
        return None
    text = settings.get("text_config")
    size = (text if isinstance(text, dict) else settings).get("vocab_size")
    return size if isinstance(size, int) else None


def _prompts(config: Config, tables: Sequence[Table], batch: int) -> Problems:
    for table in tables:
        there, rows = table.columns, table.rows
        if "prompt" not in there:
            other = next((name for name in PROMPTS if name in there), None) or nearest("prompt", there)
            message = f"{table.file}: the data has {', '.join(there) or 'no columns'}, and lacks prompt"
            remedy = f"rename {other} to prompt" if other else "give each row prompt"
            yield config.problem(table.source.place, message, remedy)
        elif rows.kinds("prompt") == {"messages"}:
            if lacks_chat_template(config):
                message = "the data holds conversations, and the model's tokenizer has no chat template"
                remedy = "take a model that was made for chat, or save a chat template with its tokenizer"
                yield config.problem((STUDENT,), message, remedy)
        elif not rows.kinds("prompt") <= {"text"}:
            kinds = " and ".join(sorted(rows.kinds("prompt")))
            remedy = "write text, or a list of messages with role and content"
            yield config.problem(table.source.place, f"prompt holds {kinds}", remedy)
        if table.alone:
            yield from online.too_few(config, table, batch)
