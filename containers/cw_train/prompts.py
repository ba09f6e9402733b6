"""The prompts that a policy completes: where they come from, how they become tokens, and which of them a step takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cw_train import RefusedError
from cw_train.rlhf_settings import Settings

READERS = {".jsonl": "json", ".json": "json", ".csv": "csv", ".parquet": "parquet", ".txt": "text"}

Said = str | list[dict[str, Any]]  # a text, or chat messages


@dataclass(frozen=True)
class Prompt:
    said: Said  # what the reward service is told
    tokens: list[int]  # what the policy continues


def read_prompts(config: str, settings: Settings, tokenizer: Any) -> tuple[list[Said], str]:
    """The prompts as they are written, and a sentence that says which they are.

    Raises:
        RefusedError: there is no such data, split or column, or it has something else than texts and messages.
    """
    if settings.dataset_name is None:
        from cw_train.default_prompts import OPENINGS

        chat = [[{"role": "user", "content": text}] for text in OPENINGS]
        sentence = f"no dataset_name: using the {len(OPENINGS)} prompts of cw_train/default_prompts.py"
        return (chat if tokenizer.chat_template else list(OPENINGS)), sentence
    column, rows = column_and_rows(config, settings)
    prompts = [row[column] for row in rows]
    if not prompts or not all(is_text(prompt) or is_chat(prompt) for prompt in prompts):
        raise RefusedError(
            f"{config}: the column `{column}` of {settings.dataset_name} must hold texts or lists of chat messages"
        )
    return prompts, f"{len(prompts)} prompts from {settings.dataset_name}"


def column_and_rows(config: str, settings: Settings) -> tuple[str, Any]:
    from datasets import load_dataset

    name = settings.dataset_name or ""
    path = Path(name)
    try:
        if path.is_file() and path.suffix in READERS:
            dataset = load_dataset(READERS[path.suffix], data_files=name)
        else:
            dataset = load_dataset(name, name=settings.dataset_config)
    except (FileNotFoundError, ValueError, ConnectionError) as problem:
        raise RefusedError(f"{config}: the prompts of `dataset_name` {name} cannot be read: {problem}") from problem
    if settings.dataset_split not in dataset:
        raise RefusedError(f"{config}: {name} has no split `{settings.dataset_split}`; it has {', '.join(dataset)}")
    rows = dataset[settings.dataset_split]
    column = settings.dataset_prompt_field
    if path.suffix == ".txt" and column not in rows.column_names:
        column = "text"  # the only one there is
    if column not in rows.column_names:
        raise RefusedError(
            f"{config}: {name} has no column `{column}`; set `dataset_prompt_field` to one of "
            f"{', '.join(rows.column_names)}"
        )
    return column, rows


def is_text(prompt: Any) -> bool:
    return isinstance(prompt, str)


def is_chat(prompt: Any) -> bool:
    return isinstance(prompt, list) and bool(prompt) and all(isinstance(part, dict) for part in prompt)


def tokenized(config: str, said: Sequence[Said], settings: Settings, tokenizer: Any, context: int) -> list[Prompt]:
    """The prompts that leave room for a completion, in the order given.

    Args:
        context: the tokens that the model can read.
    """
    limit = context - settings.max_new_tokens
    if settings.max_prompt_length:
        limit = min(limit, settings.max_prompt_length)
    if limit < 1:
        raise RefusedError(
            f"{config}: `max_new_tokens` ({settings.max_new_tokens}) leaves no room for a prompt: "
            f"the model reads {context} tokens"
        )
    prompts = [encoded(config, with_system(prompt, settings), settings, tokenizer) for prompt in said]
    fitting = [prompt for prompt in prompts if 0 < len(prompt.tokens) <= limit]
    if not fitting:
        raise RefusedError(f"{config}: every prompt is empty or longer than {limit} tokens")
    return fitting


def with_system(prompt: Said, settings: Settings) -> Said:
    if settings.system_prompt is None or isinstance(prompt, str) or prompt[0].get("role") == "system":
        return prompt
    return [{"role": "system", "content": settings.system_prompt}, *prompt]


def encoded(config: str, prompt: Said, settings: Settings, tokenizer: Any) -> Prompt:
    if isinstance(prompt, str):
        return Prompt(prompt, tokenizer(prompt)["input_ids"])
    if not tokenizer.chat_template:
        raise RefusedError(
            f"{config}: the prompts are chat messages, and {settings.model_name} has no chat template; "
            "set `chat_template_path`"
        )
    written = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, tokenize=True, return_dict=True)
    return Prompt(prompt, written["input_ids"])


def answer(prompt: Said, completion: str) -> Said:
    """A completion in the form of its prompt."""
    return completion if isinstance(prompt, str) else [{"role": "assistant", "content": completion}]


def turn(step: int, count: int, each: int, seed: int) -> list[int]:
    """Which prompts step 1, 2, … takes: `each` of `count`, all of them in a new order before any comes again.

    It depends on nothing but its arguments, so a run that goes on from a checkpoint takes the prompts it would have.
    """
    import torch

    places = range((step - 1) * each, step * each)
    orders = {}
    for epoch in {place // count for place in places}:
        generator = torch.Generator().manual_seed(seed + epoch)
        orders[epoch] = torch.randperm(count, generator=generator).tolist()
    return [orders[place // count][place % count] for place in places]
