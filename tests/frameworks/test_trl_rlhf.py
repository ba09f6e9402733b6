"""What `cw trl rlhf` says of keys that are wrong together, and that its recipe refuses the same configs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cw_cli.core.config import parse_config
from cw_cli.core.problems import Problem, errors
from cw_cli.frameworks.trl import rlhf
from cw_cli.schemas import generate_rlhf

BASE: dict[str, Any] = {"model_name": "owner/model", "reward_model": "owner/reward", "dataset_name": "owner/prompts"}


def problems(settings: dict[str, Any]) -> list[Problem]:
    """What the schema and the cross-checks say of the base with these settings; `...` takes a key away."""
    values = {key: value for key, value in (BASE | settings).items() if value is not ...}
    text = "".join(f"{key}: {json.dumps(value)}\n" for key, value in values.items())
    schema = rlhf.schema()
    config, found = schema.canonical(parse_config(text, "config.yaml"))
    return [*found, *schema.check(config), *rlhf.cross_checks(config)]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"ppo_config": {"batch_size": 32, "mini_batch_size": 8, "gradient_accumulation_steps": 2}},
        {"batch_size": 32, "mini_batch_size": 32},
        {"batch_size": 48, "gradient_accumulation_steps": 3},
        {"algorithm": "grpo", "num_generations": 4},
        {"min_new_tokens": 64},
        {"response_length": 20, "min_new_tokens": 20},
    ],
)
def test_nothing_is_said_about_what_works(settings: dict[str, Any]) -> None:
    assert problems(settings) == []


@pytest.mark.parametrize(
    ("settings", "line", "message", "remedy"),
    [
        ({"model_name": ...}, None, "model_name is missing: the model to train", "add `model_name:`"),
        ({"reward_model": ...}, None, "reward_model is missing: the model that scores", "add `reward_model:`"),
        (
            {"batch_size": 100, "mini_batch_size": 16},
            "mini_batch_size: 16",
            "batch_size (100) is no multiple of mini_batch_size times gradient_accumulation_steps (16 x 1)",
            "write `batch_size: 96`",
        ),
        (
            {"batch_size": 8, "mini_batch_size": 16},
            "mini_batch_size: 16",
            "batch_size (8) is no multiple of mini_batch_size times gradient_accumulation_steps (16 x 1)",
            "write `batch_size: 16`",
        ),
        (
            {"gradient_accumulation_steps": 3},
            "gradient_accumulation_steps: 3",
            "batch_size (128) is no multiple of mini_batch_size times gradient_accumulation_steps (42 x 3)",
            "write `batch_size: 126`",
        ),
        ({"num_generations": 4}, "num_generations: 4", "num_generations is for `algorithm: rloo` and `grpo`", "delete"),
        ({"min_new_tokens": 65}, "min_new_tokens: 65", "min_new_tokens is more than max_new_tokens", "write a smaller"),
    ],
)
def test_mistakes(settings: dict[str, Any], line: str | None, message: str, remedy: str) -> None:
    (problem,) = errors(problems(settings))
    assert problem.message.startswith(message)
    assert problem.remedy.startswith(remedy)
    assert problem.origin is not None and problem.origin.text == line


def test_without_prompts_the_shipped_ones_are_used_and_that_is_said() -> None:
    (problem,) = problems({"dataset_name": ...})
    assert problem.severity == "warning"
    assert "prompts that ship with cw" in problem.message


RECIPE = generate_rlhf.settings()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"model_name": ...},
        {"batch_size": 100, "mini_batch_size": 16},
        {"batch_size": 96, "mini_batch_size": 16},
        {"gradient_accumulation_steps": 3},
        {"batch_size": 48, "gradient_accumulation_steps": 3},
        {"ppo_config": {"batch_size": 8, "mini_batch_size": 16}},
        {"min_new_tokens": 65},
        {"min_new_tokens": 64},
        {"learning_rate": 0},
        {"kl_penalty": "none"},
        {"log_with": "wandb"},
        {"learning_rat": 1e-5},
        {"ppo_config": {"model_name": "x"}},
        {"steps": 100, "total_episodes": 100},
        {"bf16": "maybe"},
        {"reward_service": {"max_batch_size": 8}},
        {"reward_service": {"max_batch": 8}},
        {"reward_service": {"max_batch_size": 0}},
        {"reward_service": {"function_to_apply": "tanh"}},
        {"reward_service": 8},
    ],
    ids=str,
)
def test_cw_and_the_recipe_agree(settings: dict[str, Any]) -> None:
    values = {key: value for key, value in (BASE | settings).items() if value is not ...}
    refused = None
    try:
        RECIPE.read_settings("config.yaml", values)
    except RECIPE.RefusedError as refusal:
        refused = str(refusal)
    found = errors(problems(settings))
    assert bool(found) == bool(refused), (found, refused)


def test_the_schema_is_what_the_recipe_says() -> None:
    assert generate_rlhf.FILE.read_text(encoding="utf-8") == generate_rlhf.text(generate_rlhf.schema())


def test_files_of_the_config_are_keys_of_the_schema(tmp_path: Path) -> None:
    assert {path[0] for path in rlhf.FILES} <= rlhf.schema().keys.keys()
