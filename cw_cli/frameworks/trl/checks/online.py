"""What GRPO and RLOO ask beyond their rewards: whole groups of completions, prompts, and room for them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from math import gcd, lcm
from typing import Any, NamedTuple

from cw_cli.core.config import Config
from cw_cli.core.datasets import MAX_BYTES, MAX_ROWS
from cw_cli.core.paths import local_path
from cw_cli.core.problems import Problem
from cw_cli.frameworks.trl import rewards
from cw_cli.frameworks.trl.checks import datasets
from cw_cli.frameworks.trl.checks.columns import lacking, lacks_chat_template
from cw_cli.frameworks.trl.checks.datasets import Table

Problems = Iterator[Problem]

TYPES = ("grpo", "rloo")
GENERATIONS = {"grpo": 8, "rloo": 2}
BETA = {"grpo": 0.0, "rloo": 0.05}
COMPLETION, BATCH = 512, 8
"""TRL's defaults."""


class Batch(NamedTuple):
    """The completions of one generation: of all processes, from each, and of each prompt."""

    size: int
    each_step: int
    generations: int


def checks(config: Config, training_type: str, gpus: int, nodes: int) -> Problems:
    """`gpus` are those of each node."""
    processes = max(gpus, 1) * nodes
    yield from rewards.checks(config)
    yield from groups(config, training_type, processes)
    yield from reference(config, training_type)
    yield from importance(config)
    yield from room(config)
    batch = _batch(config, training_type, processes)
    yield from datasets.checks(config, lambda config, tables: _data(config, tables, batch))


def _batch(config: Config, training_type: str, processes: int) -> Batch:
    each_step = (config.get("per_device_train_batch_size") or BATCH) * processes
    steps = config.get("steps_per_generation") or config.get("gradient_accumulation_steps") or 1
    generations = config.get("num_generations") or GENERATIONS[training_type]
    return Batch(config.get("generation_batch_size") or each_step * steps, each_step, generations)


def groups(config: Config, training_type: str, processes: int) -> Problems:
    """The completions of a prompt are compared with each other, so a batch holds all of them."""
    if config.get("auto_find_batch_size"):
        message = "auto_find_batch_size makes batches that do not hold whole groups of completions"
        yield config.problem(("auto_find_batch_size",), message, "delete it and write per_device_train_batch_size")
    both = [key for key in ("generation_batch_size", "steps_per_generation") if config.get(key) is not None]
    batch = _batch(config, training_type, processes)
    if len(both) == 2:
        yield config.problem((both[0],), f"{both[0]} and {both[1]} say the same thing", "keep one of them")
    elif batch.size % batch.each_step:
        product = f"per_device_train_batch_size times processes ({batch.each_step // processes} x {processes})"
        message = f"generation_batch_size ({batch.size}) is no multiple of {product}"
        yield config.problem(("generation_batch_size",), message, f"write `generation_batch_size: {_whole(batch)}`")
    elif batch.size % batch.generations:
        yield _broken_groups(config, batch, processes)
    yield from _evaluated_groups(config, training_type, processes)


def _whole(batch: Batch) -> int:
    """The number of completions nearest to a batch's that fills steps and groups."""
    unit = lcm(batch.each_step, batch.generations)
    return max(round(batch.size / unit), 1) * unit


def _broken_groups(config: Config, batch: Batch, processes: int) -> Problem:
    steps = batch.size // batch.each_step
    each = batch.each_step // processes
    of = [f"{each} on each of {processes} processes"] if processes > 1 else [f"{each}"] if steps > 1 else []
    of += [f"{steps} times"] if steps > 1 else []
    shown = f" ({', '.join(of)})" if of else ""
    message = f"a batch of {batch.size} completions{shown} does not hold whole groups of {batch.generations}"
    keys = ("num_generations", "generation_batch_size", "per_device_train_batch_size", "steps_per_generation")
    key = next((key for key in keys if config.has(key)), "num_generations")
    # What one process must sample in a step so that all processes and steps together fill groups.
    unit = batch.generations // gcd(batch.generations, processes * steps)
    remedy = f"write `per_device_train_batch_size: {-(-each // unit) * unit}`"
    if config.get("generation_batch_size"):
        remedy = f"write `generation_batch_size: {_whole(batch)}`"
    divisors = [number for number in range(2, batch.size + 1) if batch.size % number == 0]
    if divisors:
        remedy += f", or `num_generations: {min(divisors, key=lambda number: abs(number - batch.generations))}`"
    return config.problem((key,), message, remedy)


def _evaluated_groups(config: Config, training_type: str, processes: int) -> Problems:
    if config.get("eval_strategy") in (None, "no"):
        return
    each = config.get("per_device_eval_batch_size") or BATCH
    generations = config.get("num_generations_eval") or config.get("num_generations") or GENERATIONS[training_type]
    if each * processes % generations:
        unit = generations // gcd(generations, processes)
        message = f"an evaluation batch of {each * processes} completions does not hold whole groups of {generations}"
        key = "per_device_eval_batch_size" if config.has("per_device_eval_batch_size") else "eval_strategy"
        yield config.problem((key,), message, f"write `per_device_eval_batch_size: {-(-each // unit) * unit}`")


def reference(config: Config, training_type: str) -> Problems:
    beta = config.get("beta")
    if config.get("sync_ref_model"):
        if not (BETA[training_type] if beta is None else beta):
            message = "sync_ref_model has no reference to bring up to date: beta is 0"
            yield config.problem(("sync_ref_model",), message, "delete it, or write `beta: 0.04`")
        elif config.get("use_peft"):
            message = "sync_ref_model does not work with LoRA, whose reference is the model without its adapter"
            yield config.problem(("sync_ref_model",), message, "delete it")
    if config.get("log_completions_hub_repo") and not config.get("log_completions"):
        message = "log_completions_hub_repo has nothing to upload without log_completions"
        yield config.problem(("log_completions_hub_repo",), message, "add `log_completions: true`")


def importance(config: Config) -> Problems:
    """The correction for vLLM's own probabilities."""
    low, key = config.get("vllm_importance_sampling_clip_min"), "vllm_importance_sampling_clip_max"
    high = config.get(key) if config.has(key) else 3.0
    if low is not None and high is not None and low >= high:
        message = f"vllm_importance_sampling_clip_min ({low:g}) is not below {key} ({high:g})"
        yield config.problem(("vllm_importance_sampling_clip_min",), message, "write a smaller number")
    mode = config.get("vllm_importance_sampling_mode") or "sequence_mask"
    corrected = config.get("vllm_importance_sampling_correction") is not False
    if corrected and mode.endswith("_truncate") and low is None and high is None:
        message = f"vllm_importance_sampling_mode: {mode} has no limit to cut at"
        yield config.problem(("vllm_importance_sampling_mode",), message, f"write a number as {key}")
    if config.get("loss_type") == "vespo" and config.get("use_vllm") and corrected and mode.startswith("sequence"):
        message = f"loss_type: vespo does not work with vllm_importance_sampling_mode: {mode}"
        yield config.problem(("loss_type",), message, "write `vllm_importance_sampling_mode: token_mask`")


def room(config: Config) -> Problems:
    """How long completions may be, against what a model on this machine reads."""
    value = config.get("model_name_or_path")
    path = local_path(value, config.folder) if isinstance(value, str) else None
    try:
        reads = json.loads((path / "config.json").read_text("utf-8"))["max_position_embeddings"] if path else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return
    length = config.get("max_completion_length") or COMPLETION
    if isinstance(reads, int) and length >= reads:
        said = "" if config.get("max_completion_length") else ", which is TRL's default"
        message = f"completions of {length} tokens{said}, leave no room for a prompt: the model reads {reads}"
        message = message if said else message.replace("tokens, leave", "tokens leave")
        key = "max_completion_length" if config.has("max_completion_length") else "model_name_or_path"
        yield config.problem((key,), message, f"write `max_completion_length: {reads // 2}`", warning=True)


def _data(config: Config, tables: Sequence[Table], batch: Batch) -> Problems:
    wanted = rewards.columns(config)
    for table in tables:
        if "prompt" not in table.columns:
            yield lacking(config, table, ("prompt",))
        else:
            yield from _prompts(config, table)
        for name, reward in wanted.items():
            if name not in table.columns:
                problem = lacking(config, table, (name,))
                yield problem._replace(message=f"{problem.message}, which the reward {reward} reads")
        if table.alone:
            yield from too_few(config, table, batch.size // batch.generations)
    if wanted and config.get("remove_unused_columns"):
        message = f"remove_unused_columns takes away {', '.join(wanted)}, which rewards read"
        yield config.problem(("remove_unused_columns",), message, "delete it")


def _prompts(config: Config, table: Table) -> Problems:
    kinds: set[Any] = table.rows.kinds("prompt")
    if len(kinds) > 1 or not kinds <= {"text", "messages"}:
        message = "the column prompt holds neither text alone nor messages alone"
        yield config.problem(table.source.place, message, "write all prompts as text, or as lists of role and content")
    elif kinds == {"messages"} and lacks_chat_template(config):
        message = "the prompts are conversations, and the model's tokenizer has no chat template"
        yield config.problem(("model_name_or_path",), message, "take a model that was made for chat, or plain prompts")


def too_few(config: Config, table: Table, needed: int) -> Problems:
    """TRL leaves out what does not fill a batch of `needed` prompts, which may be everything."""
    rows = table.rows
    whole = len(rows.rows) < MAX_ROWS and rows.path.stat().st_size <= MAX_BYTES
    if whole and len(rows.rows) < needed and not config.get("dataset_streaming"):
        message = f"the data has {len(rows.rows)} prompts, and a batch takes {needed} different ones"
        yield config.problem(table.source.place, message, "add prompts, or write a smaller per_device_train_batch_size")
