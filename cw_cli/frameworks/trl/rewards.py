"""The rewards that a config of GRPO or RLOO names: are they there, what do they want, and what do they weigh."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from cw_cli.core import images
from cw_cli.core.config import Config
from cw_cli.core.paths import local_path, looks_local, missing
from cw_cli.core.problems import KeyPath, Problem
from cw_cli.core.python_source import Definition, Source, read
from cw_cli.core.shipped import shipped
from cw_cli.core.spelling import meant, nearest
from cw_cli.frameworks import functions

Problems = Iterator[Problem]

SERVED = "reward_model"
"""The key of the reward that cw serves, as in `cw trl rlhf`."""
SERVICE = "reward_service"
SERVICE_SETTINGS = {"url": "", "timeout": 600.0}
TRLS = {
    "accuracy_reward": ("solution",),
    "reasoning_accuracy_reward": ("solution",),
    "think_format_reward": (),
    "get_soft_overlong_punishment": (),
}
"""The names that TRL's own script takes, with the columns of the data that they read."""

_FUNCTION = re.compile(r"(.+\.py):(\w+)")
_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")


class Reward(NamedTuple):
    """One entry: its name, its settings, and where it stands."""

    place: KeyPath
    name: str
    settings: Any = None


@cache
def ours() -> Mapping[str, Definition]:
    """The rewards that travel with every run, as their source says them."""
    found = read(shipped("containers") / "cw_train" / "rewards.py").functions
    return {name: item for name, item in found.items() if item.args.kwarg and not name.startswith("_")}


def named(config: Config) -> Iterator[Reward]:
    """What the config names, in the order of the weights: what is served first, then the model of TRL's own key."""
    for key in (SERVED, "reward_model_name_or_path"):
        if value := config.get(key):
            yield Reward((key,), str(value))
    yield from _entries(("reward_funcs",), config.get("reward_funcs"))


def _entries(place: KeyPath, value: Any) -> Iterator[Reward]:
    if isinstance(value, str):
        yield Reward(place, value)
    elif isinstance(value, Mapping):
        yield from (Reward((*place, name), name, {} if given is None else given) for name, given in value.items())
    elif isinstance(value, list):
        for index, entry in enumerate(value):
            yield from _entries((*place, index), entry)


def file_keys(config: Config) -> list[KeyPath]:
    """The places of files and folders: not those of rewards that are known by their name."""
    names = [reward for reward in named(config) if reward.place == (SERVED,) or not _known(reward.name)]
    return [reward.place for reward in names if reward.settings is None]


def _known(name: str) -> bool:
    return name in TRLS or name == SERVICE or name in ours()


def checks(config: Config) -> Problems:
    """What is wrong with the names, the settings and the weights; the data is for `columns`."""
    rewards = list(named(config))
    if not rewards:
        message = "there is no reward to learn from: reward_funcs is missing"
        remedy = "add `reward_funcs:` with FILE.py:function, or a reward that ships with cw, as in `exact_match`"
        yield config.problem(("reward_funcs",), message, remedy)
    # Several functions of one file have its mistakes in common.
    yield from dict.fromkeys(problem for reward in rewards for problem in _check(config, reward))
    revision = config.get("model_revision")
    for reward in rewards if revision not in (None, "main") else ():
        if reward.place != (SERVED,) and not _known(reward.name) and _is_model(config, reward.name):
            message = f"TRL takes model_revision ({revision}) for the reward model {reward.name} too"
            yield config.problem(("model_revision",), message, f"write `{SERVED}: {reward.name}`", warning=True)
    if config.get(SERVICE) and not config.get(SERVED):
        message = f"{SERVICE} says how a reward is served, and there is no {SERVED} to serve"
        remedy = f"add `{SERVED}:`, or write it under reward_funcs to ask a service that runs elsewhere"
        yield config.problem((SERVICE,), message, remedy)
    weights = config.get("reward_weights")
    if isinstance(weights, list) and rewards and len(weights) != len(rewards):
        message = f"there are {len(weights)} reward_weights for {len(rewards)} rewards"
        remedy = f"write one number for each of {', '.join(reward.name for reward in rewards)}"
        yield config.problem(("reward_weights",), message, remedy)


def packages(config: Config, image: str | None) -> Problems:
    """What the rewards need of the image, unless it is one of cw's own that has it."""
    held = images.meant(image)
    if held and all("math-verify" in item.packages for item in held):
        return
    for reward in named(config):
        if "solution" in TRLS.get(reward.name, ()):
            message = f"{reward.name} needs the package math-verify in the image"
            yield config.problem(reward.place, message, "numeric_answer and boxed_answer need none", warning=True)


def _check(config: Config, reward: Reward) -> Problems:
    place, name = reward.place, reward.name
    if place == (SERVED,):
        yield from _served(config, place, name)
    elif name in ours():
        yield from _settings(config, reward, functions.settings(ours()[name]))
    elif name == SERVICE:
        yield from _settings(config, reward, SERVICE_SETTINGS)
        yield from _service(config, reward)
    elif reward.settings is not None:
        remedy = f"write `- {name}`, with defaults for its arguments in the function"
        yield config.problem(place, f"{name} takes no settings; only rewards that ship with cw do", remedy)
    elif name in TRLS:
        return
    elif found := _FUNCTION.fullmatch(name):
        yield from _function(config, place, found[1], found[2])
    elif name.endswith(".py"):
        path = local_path(name, config.folder)
        there = [item for item in read(path).functions if item[0] != "_"] if path else []
        remedy = f"write `{name}:{there[0]}`" if there else f"write `{name}:FUNCTION`"
        yield config.problem(place, f"{name} names a file, and no function in it", remedy)
    elif _is_model(config, name):
        yield from _model(config, place, name)
    elif _DOTTED.fullmatch(name):
        yield from _dotted(config, place, name)
    else:
        remedy = meant(name, [*ours(), *TRLS, SERVICE], f"there is {', '.join(ours())}, or FILE.py:function")
        yield config.problem(place, f"there is no reward {name}", remedy)


def _settings(config: Config, reward: Reward, known: Mapping[str, Any]) -> Problems:
    if reward.settings is not None and not isinstance(reward.settings, Mapping):
        message = f"the settings of {reward.name} are no mapping"
        yield config.problem(reward.place, message, f"write `{reward.name}: {{{next(iter(known))}: …}}`")
        return
    for name, value in (reward.settings or {}).items():
        if name not in known:
            remedy = meant(name, known, f"it has {', '.join(known)}")
            yield Problem(f"{reward.name} has no setting {name}", remedy, config.key_origin(*reward.place, name))
        elif not _fits(value, known[name]):
            remedy = f"write {_words(known[name])}"
            yield config.problem((*reward.place, name), f"{reward.name}: {name} cannot be {value!r}", remedy)


def _fits(value: Any, default: Any) -> bool:
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if isinstance(default, float):
        return isinstance(value, int | float)
    if isinstance(default, tuple):
        return isinstance(value, str) or (isinstance(value, list) and all(isinstance(item, str) for item in value))
    return isinstance(value, type(default))


def _words(default: Any) -> str:
    kinds = {bool: "true or false", int: "a whole number", float: "a number", tuple: "a list of texts"}
    return kinds.get(type(default), "a text")


def _service(config: Config, reward: Reward) -> Problems:
    url = reward.settings.get("url") if isinstance(reward.settings, Mapping) else None
    if not url and not config.get("env", "REWARD_MODEL_URL"):
        message = "reward_service needs the address of a service that runs"
        remedy = "write `reward_service: {url: http://HOST:8000}`, or let cw start one with `reward_model:`"
        yield config.problem(reward.place, message, remedy)
    elif isinstance(url, str) and url:
        for part in url.split(","):
            if not re.match(r"\s*https?://[^/\s]+", part):
                message = f"reward_service: {part.strip()} is no address"
                yield config.problem((*reward.place, "url"), message, "write http://HOST:PORT")


def _function(config: Config, place: KeyPath, file: str, name: str, given: Sequence[str] = functions.GIVEN) -> Problems:
    path = local_path(file, config.folder)
    if path is None:
        problem = missing(config, place, file)
        near = nearest(file, [item.name for item in config.folder.glob("*.py")])
        yield problem._replace(remedy=f"did you mean {near}?") if near else problem
        return
    source = read(path)
    if source.problem:
        yield source.problem
        return
    yield from functions.uncallable(source, name, given)


def _served(config: Config, place: KeyPath, name: str) -> Problems:
    """The service gives a function prompts and completions, and chooses among labels itself."""
    if is_function(name):
        yield from served_function(config, place, name)
    elif "/" in name or "." in name or (config.folder / name).exists():
        yield from _model(config, place, name, labels=False)
    else:
        message = f"there is no {name} here to serve, and names on the Hub look like owner/name"
        yield config.problem(place, message, "write a folder, a name on the Hub, or FILE.py:function")


def is_function(name: str) -> bool:
    return _FUNCTION.fullmatch(name) is not None


def served_function(config: Config, place: KeyPath, name: str) -> Problems:
    """What is wrong with a function that a service shall ask."""
    file, _, function = name.rpartition(":")
    yield from _function(config, place, file, function, functions.SERVED)
    path = local_path(file, config.folder)
    source = read(path) if path else Source(config.folder)
    if functions.waits(source, function):
        yield config.problem(place, f"{function} waits with async, which a service does not", "write `def` alone")
    for column in functions.columns(source, function, functions.SERVED):
        message = f"{function} reads {column}, and a served function gets prompts and completions alone"
        yield config.problem(place, message, f"write it without {column}, or for reward_funcs of `cw trl grpo`")


def _dotted(config: Config, place: KeyPath, name: str) -> Problems:
    """A module that lies beside the config is not in the image, and not on the path here."""
    module, _, function = name.rpartition(".")
    path = local_path(f"{module.replace('.', '/')}.py", config.folder)
    if path is not None:
        file = f"{module.replace('.', '/')}.py"
        message = f"{name} is looked for in the image, and {file} lies here"
        yield config.problem(place, message, f"write `{file}:{function}`, and the file travels with the run")


def _is_model(config: Config, name: str) -> bool:
    return ("/" in name and not is_function(name)) or looks_local(name) or (config.folder / name).is_dir()


def _model(config: Config, place: KeyPath, name: str, labels: bool = True) -> Problems:
    """A sequence classifier; where `labels` count it has one score, as TRL loads it in each of its processes."""
    path = local_path(name, config.folder)
    if path is None:
        if looks_local(name) or name.count("/") > 1:
            yield missing(config, place, name)
        return
    try:
        settings = json.loads((path / "config.json").read_text("utf-8"))
        kinds = settings.get("architectures") or []
        number = len(settings.get("id2label") or {}) or settings.get("num_labels", 2)
    except (OSError, ValueError, AttributeError, RecursionError):
        yield config.problem(place, f"{name} holds no model: config.json is missing", "name a saved reward model")
        return
    if kinds and not any(kind.endswith("ForSequenceClassification") for kind in kinds):
        message = f"{name} is a {kinds[0]}, whose scores would be random numbers"
        yield config.problem(place, message, "name a model that `cw trl reward` made, or another sequence classifier")
    elif labels and number != 1:
        message = f"{name} has {number} labels, and TRL takes models with one score"
        yield config.problem(place, message, f"write `{SERVED}: {name}`: a service takes the positive one of two")


def columns(config: Config) -> dict[str, str]:
    """The columns that the rewards read, each with the name of the reward."""
    found: dict[str, str] = {}
    for reward in named(config):
        if reward.place == (SERVED,):
            continue
        if reward.name in ours():
            defaults = functions.settings(ours()[reward.name])
            given = reward.settings if isinstance(reward.settings, Mapping) else {}
            if "column" in defaults and not given.get("words"):
                found.setdefault(str(given.get("column") or defaults["column"]), reward.name)
        elif reward.name in TRLS:
            found |= {column: reward.name for column in TRLS[reward.name] if column not in found}
        elif match := _FUNCTION.fullmatch(reward.name):
            path = local_path(match[1], config.folder)
            for column in functions.columns(read(path), match[2]) if path else ():
                found.setdefault(column, match[2])
    return found
