"""What `reward_funcs:` names, as the functions that TRL's trainers call, each watched so that nothing wrong is learnt.

A name is `FILE.py:function`; a reward of `rewards.py`, perhaps with settings; `reward_service` with a URL; one of TRL's
own; a dotted path; or else a model, which TRL loads itself. `reward_model:` is what `serve_reward.py` serves.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import math
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

from cw_train import GaveUpError, RefusedError, rewards
from cw_train.reward_client import RewardClient
from cw_train.reward_scorer import load_function

KEYS = ("reward_model", "reward_model_name_or_path", "reward_funcs")
SERVICE = "reward_service"
OURS: dict[str, Callable[..., Any]] = {
    name: function
    for name, function in vars(rewards).items()
    if inspect.isfunction(function) and "row" in inspect.signature(function).parameters and not name.startswith("_")
}
TRLS: dict[str, dict[str, int]] = {
    "accuracy_reward": {},
    "reasoning_accuracy_reward": {},
    "think_format_reward": {},
    "get_soft_overlong_punishment": {"max_completion_len": 1280, "soft_punish_cache": 256},
}
"""The names that TRL's script takes; those that begin with get_ make a function, with what its script gives them."""

Function = Callable[..., Any]


def take_rewards(config: str, values: dict[str, Any]) -> list[Function | str]:
    """What the rewards of a config are for TRL's trainer; they are taken out of `values`, which TRL parses.

    Raises `RefusedError` when there are none, or one cannot be found.
    """
    served_one, model, wanted = (values.pop(key, None) for key in KEYS)
    values.pop(SERVICE, None)  # for the one that serves
    entries = [*named([SERVICE] if served_one else []), *([(model, {})] if model else []), *named(wanted)]
    if not entries:
        raise RefusedError(f"{config}: there is no reward to learn from; set `reward_funcs`")
    return [reward(name, settings) for name, settings in entries]


def named(wanted: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Names with their settings: from a name, a mapping of names to settings, or a list of both."""
    if isinstance(wanted, str):
        yield wanted, {}
    elif isinstance(wanted, dict):
        yield from ((str(name), settings or {}) for name, settings in wanted.items())
    elif isinstance(wanted, list):
        for entry in wanted:
            yield from named(entry)
    elif wanted is not None:
        raise RefusedError(f"reward_funcs: {wanted!r} names no reward")


def reward(name: str, settings: dict[str, Any]) -> Function | str:
    if name in OURS:
        return watched(name, with_settings(name, OURS[name], settings))
    if name == SERVICE:
        return service(**settings)
    if settings:
        raise RefusedError(f"reward_funcs: {name} takes no settings; only rewards of cw's own do")
    if name in TRLS:
        return watched(name, of_trl(name))
    if ".py:" in name:
        return watched(name.rpartition(":")[2], load_function(name, "reward_funcs"))
    if os.path.isdir(name) or "/" in name:
        return name
    if "." in name:
        sys.path.insert(0, os.getcwd())  # as TRL's script does
        return watched(name.rpartition(".")[2], load_function(":".join(name.rsplit(".", 1)), "reward_funcs"))
    known = [*OURS, *TRLS, SERVICE]
    near = difflib.get_close_matches(name, known, n=1)
    remedy = f"did you mean `{near[0]}`?" if near else f"there is {', '.join(known)}"
    raise RefusedError(f"reward_funcs: there is no reward `{name}`; {remedy}")


def with_settings(name: str, function: Function, settings: dict[str, Any]) -> Function:
    """The function with its settings. A column of the data that is called as one of them changes nothing."""
    takes = {key for key, item in inspect.signature(function).parameters.items() if item.kind is item.KEYWORD_ONLY}
    if unknown := sorted(settings.keys() - takes):
        raise RefusedError(f"reward_funcs: {name} has no setting {unknown[0]}; it has {', '.join(sorted(takes))}")

    def score(**given: Any) -> Any:
        return function(**{key: value for key, value in given.items() if key not in takes}, **settings)

    return score


def of_trl(name: str) -> Function:
    """One of TRL's own, for plain text as well: those ask for chat messages."""
    function = getattr(importlib.import_module("trl.rewards"), name)
    if name.startswith("get_"):
        function = function(**TRLS[name])

    def score(completions: list[Any], **given: Any) -> Any:
        chats = [[{"role": "assistant", "content": rewards.text_of(said)}] for said in completions]
        try:
            return function(completions=chats, **given)
        except ImportError as problem:
            remedy = "install it in the image, or take `numeric_answer` or `boxed_answer`"
            raise RefusedError(f"reward_funcs: {name} needs a package that is not here ({problem}); {remedy}") from None

    return score


def service(url: str = "", timeout: float = 600.0, **unknown: Any) -> Function:
    """A reward service at `url`, or at that of `REWARD_MODEL_URL`; `timeout` is the seconds that it may be away."""
    if unknown:
        raise RefusedError(f"{SERVICE} has no setting {next(iter(unknown))}; it has url, timeout")
    url = url or os.environ.get("REWARD_MODEL_URL", "")
    if not url:
        raise RefusedError(f"{SERVICE} needs the address of a service: write `{SERVICE}: {{url: http://HOST:PORT}}`")
    token = os.environ.get("REWARD_MODEL_TOKEN") or None
    return served(RewardClient(url, deadline=float(timeout), token=token))


def served(client: RewardClient) -> Function:
    """The reward that a service gives."""

    def reward_service(prompts: list[Any], completions: list[Any], **_: Any) -> list[float]:
        return client.score(list(zip(prompts, completions, strict=True)))

    return reward_service


def watched(name: str, function: Function) -> Function:
    """The function under the name that TRL's metrics shall have, its scores counted and looked at."""

    def score(**given: Any) -> list[float | None]:
        return checked(name, function(**given), given["completions"])

    async def score_later(**given: Any) -> list[float | None]:
        return checked(name, await function(**given), given["completions"])

    found = score_later if inspect.iscoroutinefunction(function) else score
    found.__name__ = name
    return found


def checked(name: str, scores: Any, completions: list[Any]) -> list[float | None]:
    """One score for each completion, a finite number or None (it says nothing here); raises `GaveUpError` otherwise."""
    try:
        found = [None if score is None else float(score) for score in scores]
    except (TypeError, ValueError):
        raise GaveUpError(f"the reward {name} gives no list of numbers: {str(scores)[:200]}") from None
    if len(found) != len(completions):
        raise GaveUpError(f"the reward {name} gave {len(found)} scores for {len(completions)} completions")
    for score, said in zip(found, completions, strict=True):
        if score is not None and not math.isfinite(score):
            raise GaveUpError(f"the reward {name} is {score} for the completion {rewards.text_of(said)[:200]!r}")
    return found
