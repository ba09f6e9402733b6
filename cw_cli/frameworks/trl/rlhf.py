"""`cw trl rlhf`: what PPO, RLOO and GRPO with a reward service accept, and what is wrong with it together."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache

from cw_cli.core.config import Config
from cw_cli.core.framework import TrainingType
from cw_cli.core.problems import KeyPath, Problem
from cw_cli.core.schema import Schema, read_schema
from cw_cli.core.shipped import shipped
from cw_cli.frameworks.trl import rewards

RLHF = TrainingType("rlhf")
SUBJECT = "cw trl rlhf"
FILES: tuple[KeyPath, ...] = (
    *(("model_name",), ("reward_model",), ("dataset_name",), ("chat_template_path",), ("resume_from_checkpoint",)),
)


@cache
def schema() -> Schema:
    """Every key of the recipe; those of PPO may stand in `ppo_config:`, as they used to."""
    text = (shipped("schemas") / "rlhf.json").read_text("utf-8")
    data = json.loads(text)
    return read_schema(text, str(RLHF), SUBJECT, {})._replace(
        aliases=data["aliases"], removed=data["removed"], blocks=("ppo_config",)
    )


def cross_checks(config: Config) -> Iterator[Problem]:
    """Mistakes of a canonical config that only show when several keys are seen together."""
    for key, what in (("model_name", "the model to train"), ("reward_model", "the model that scores")):
        if not config.get(key):
            message = f"{key} is missing: {what}"
            yield config.problem((key,), message, f"add `{key}:` with a folder or a name on the Hugging Face Hub")
    yield from _batches(config)
    if rewards.is_function(name := config.get("reward_model") or ""):
        yield from rewards.served_function(config, ("reward_model",), name)
    algorithm = config.get("algorithm") or "ppo"
    if algorithm == "ppo" and config.get("num_generations") is not None:
        message = "num_generations is for `algorithm: rloo` and `grpo`; PPO samples one completion of a prompt"
        yield config.problem(("num_generations",), message, "delete it, or write `algorithm: grpo`")
    if (config.get("min_new_tokens") or 0) > (config.get("max_new_tokens") or 64):
        message = "min_new_tokens is more than max_new_tokens"
        yield config.problem(("min_new_tokens",), message, "write a smaller number")
    if not config.get("dataset_name"):
        message = "there is no dataset_name, so the prompts that ship with cw are used: questions for any chat model"
        yield config.problem(("dataset_name",), message, "add `dataset_name:` with your prompts", warning=True)


def _batches(config: Config) -> Iterator[Problem]:
    """A batch is cut into updates of whole mini-batches."""
    batch, accumulation = config.get("batch_size") or 128, config.get("gradient_accumulation_steps") or 1
    mini = config.get("mini_batch_size") or max(1, min(128, batch // accumulation))
    if batch % (mini * accumulation):
        key = next((key for key in ("mini_batch_size", "batch_size") if config.has(key)), "gradient_accumulation_steps")
        product = f"mini_batch_size times gradient_accumulation_steps ({mini} x {accumulation})"
        near = max(batch // (mini * accumulation), 1) * mini * accumulation
        yield config.problem((key,), f"batch_size ({batch}) is no multiple of {product}", f"write `batch_size: {near}`")
