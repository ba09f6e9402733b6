"""Learning from rewards: whole groups of completions, the functions that score them, and vLLM that writes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import gcd
from pathlib import Path

from cw_cli.core.config import Config
from cw_cli.core.paths import local_path
from cw_cli.core.problems import KeyPath, Problem
from cw_cli.core.python_source import read
from cw_cli.frameworks import functions
from cw_cli.frameworks.axolotl.keys import foreign_plugins, listed, package_of
from cw_cli.frameworks.axolotl.kinds import ONLINE

Problems = Iterator[Problem]

GROUPS = ("grpo", "gdpo")
"""The kinds that compare several completions of one prompt."""

REWARDING = ("nemo_gym", "hatchery")
"""Plugins that bring rewards of their own."""

NOT_ELSEWHERE = ("0.0.0.0", "127.0.0.1", "localhost", "")
ALSO_INSTALLED = ("axolotl", "trl", "math_verify")


def checks(config: Config, gpus: int, environment: Mapping[str, str]) -> Problems:
    """`gpus` are those of all nodes."""
    rl = config.get("rl")
    if rl == "ebft" and not config.get("ebft"):
        yield config.problem(("rl",), "rl: ebft needs its own block", "add `ebft: {mode: structured}`")
    if rl in GROUPS:
        yield from groups(config, max(gpus, 1))
        yield from rewards(config)
    if rl in ONLINE:
        yield from vllm(config, environment)


def groups(config: Config, world: int) -> Problems:
    """Each prompt is completed several times, and a batch holds whole groups of completions."""
    count = config.get("trl", "num_generations")
    if config.get("rl") == "gdpo" and config.get("trl", "multi_objective_aggregation") == "sum_then_normalize":
        message = "sum_then_normalize is what grpo does, not gdpo"
        yield config.problem(("trl", "multi_objective_aggregation"), message, "delete it, or write `rl: grpo`")
    if count is None:
        return
    place: KeyPath = ("trl", "num_generations")
    if count < 2:
        yield config.problem(place, "a group of one completion teaches nothing", "write 2 or more")
        return
    micro, steps = config.get("micro_batch_size") or 1, config.get("gradient_accumulation_steps") or 1
    batch = config.get("trl", "generation_batch_size") or micro * steps
    said = (
        "trl.generation_batch_size"
        if config.get("trl", "generation_batch_size")
        else (f"micro_batch_size times gradient_accumulation_steps ({micro} x {steps})")
    )
    if batch % count:
        fitting = count // gcd(count, micro)
        message = f"{said} is {batch}, which holds no whole number of groups of {count}"
        yield config.problem(place, message, f"write `gradient_accumulation_steps: {fitting}`, or another number")
    elif world > 1 and batch < count * world:
        needed = -(-count * world // micro)
        message = f"{said} is {batch}, and {world} GPUs with groups of {count} need {count * world}"
        yield config.problem(place, message, f"write `gradient_accumulation_steps: {needed}`")


def rewards(config: Config) -> Problems:
    given = config.get("trl", "reward_funcs")
    brought = foreign_plugins(config) or any(package_of(plugin) in REWARDING for plugin in listed(config))
    if not given:
        if not brought and not config.get("trl", "rollout_func"):
            message = f"rl: {config.get('rl')} has no rewards, and Axolotl starts without them"
            remedy = "add `trl: {reward_funcs: [rewards.my_reward]}`, with rewards.py beside the config"
            yield config.problem(("trl",) if config.get("trl") else ("rl",), message, remedy)
        return
    weights = config.get("trl", "reward_weights")
    if weights and len(weights) != len(given):
        message = f"reward_funcs has {len(given)} entries and reward_weights {len(weights)}"
        yield config.problem(("trl", "reward_weights"), message, "write one weight for each reward")
    for index, value in enumerate(given):
        if isinstance(value, str):
            yield from code(config, ("trl", "reward_funcs", index), value, arguments=2)


def code(config: Config, place: KeyPath, value: str, arguments: int = 0) -> Problems:
    """Whether a function that the config names is there; `value` is `file.py:function` for one beside the config."""
    file, colon, name = value.rpartition(":")
    if colon and file.endswith(".py"):
        path = local_path(file, config.folder)
        if path is None:
            yield config.problem(place, f"there is no {file} beside the config", "write the file's name")
        else:
            yield from _function(config, place, path, name, arguments)
        return
    if "/" in value or local_path(value, config.folder) is not None:
        return  # a reward model, on the Hub or in a folder
    module, dot, _ = value.rpartition(".")
    if not dot:
        message = f"{value} names no module; Axolotl would look for a model of this name"
        yield config.problem(place, message, "write module.function, with module.py beside the config")
    elif module.split(".")[0] not in ALSO_INSTALLED:
        message = f"there is no {module.replace('.', '/')}.py beside the config; the image must have {module}"
        yield config.problem(place, message, "Axolotl takes what it cannot import for a model's name", warning=True)


def _function(config: Config, place: KeyPath, path: Path, name: str, arguments: int) -> Problems:
    source = read(path)
    if source.problem:
        yield source.problem
        return
    yield from functions.undefined(source, name)
    if function := source.functions.get(name):
        taken = function.args
        count = len([*taken.posonlyargs, *taken.args, *taken.kwonlyargs]) + bool(taken.vararg) + bool(taken.kwarg)
        if count < arguments:
            message = f"{name} takes {count} argument{'s' if count != 1 else ''}, and Axolotl asks for two or more"
            yield config.problem(place, message, f"write `def {name}(completions, **kwargs)`")


def serves(config: Config) -> bool:
    """Whether the run has a server of its own that generates."""
    settings = config.get("trl") or {}
    return (
        config.get("rl") in ONLINE
        and bool(settings.get("use_vllm"))
        and (settings.get("vllm_mode") or "server") == "server"
        and (settings.get("vllm_server_host") or "") in NOT_ELSEWHERE
    )


def vllm(config: Config, environment: Mapping[str, str]) -> Problems:
    settings = config.get("trl") or {}
    if not settings.get("use_vllm"):
        if config.get("vllm"):
            yield config.problem(("vllm",), "vllm: changes nothing", "add `use_vllm: true` under trl", warning=True)
        return
    length, longest = settings.get("max_completion_length"), config.get("vllm", "max_model_len")
    if length and longest and length >= longest:
        message = f"completions of {length} tokens leave no room for a prompt in {longest}"
        yield config.problem(("vllm", "max_model_len"), message, "write a larger number")
    if settings.get("vllm_lora_sync") and serves(config) and "TMPDIR" not in environment:
        message = "vllm_lora_sync hands the adapter to the server as a path, which must be on a volume of both"
        remedy = "add `env: {TMPDIR: /model-checkpoints}`"
        yield config.problem(("trl", "vllm_lora_sync"), message, remedy)
    if settings.get("async_prefetch") and (config.get("deepspeed") or config.get("fsdp_config")):
        message = "async_prefetch hangs with DeepSpeed or FSDP on several GPUs"
        yield config.problem(("trl", "async_prefetch"), message, "delete it", warning=True)
