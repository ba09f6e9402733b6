"""Every key of Axolotl and of its plugins, as the schema of a config."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from cw_cli.core.config import Config
from cw_cli.core.key import Key
from cw_cli.core.paths import local_path
from cw_cli.core.problems import KeyPath, Origin, Problem
from cw_cli.core.schema import Schema, read_schema
from cw_cli.core.shipped import shipped
from cw_cli.frameworks.axolotl import rules

PACKAGE = "axolotl.integrations."
DEEPSPEED = "cw://axolotl/deepspeed_configs"
"""Configs of DeepSpeed that ship with cw, under the names of those that `axolotl fetch deepspeed_configs` brings."""

_DOTTED = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)\.([A-Za-z_]\w*)")

CODE: tuple[KeyPath, ...] = (
    *(("trl", "reward_funcs", "*"), ("trl", "rollout_func"), ("trainer_cls",), ("plugins", "*")),
    *(("datasets", "*", "type"), ("test_datasets", "*", "type")),
)
"""Where a config may name Python of its own, as `module.function`."""


_DEEPSPEED = re.compile(r"(?:(?:\./)?deepspeed_configs/)?(\w+)(\.json)?")


class AxolotlSchema(Schema):
    """Axolotl's keys. Python that lies beside the config is written as `module.py:function`, so that it travels, and so
    do DeepSpeed's configs that are known by their names."""

    __slots__ = ()

    def canonical(self, config: Config) -> tuple[Config, list[Problem]]:
        for name in (*self.removed, *self.renamed):
            # Configs of all ages hold them empty, and then they say nothing.
            if config.has(name) and not config.get(name):
                config = config.without((name,))
        config, problems = super().canonical(config)
        for name in _fsdp1(config):
            message = f"Axolotl does not read fsdp_config.{name}"
            problems.append(Problem(message, "delete it", config.key_origin("fsdp_config", name), "warning"))
            config = config.without(("fsdp_config", name))
        for path, value in named(config, CODE):
            if (file := python_beside(value, config.folder)) is not None:
                config = config.with_value(path, file, config.origin(*path))
        given = config.get("deepspeed")
        if isinstance(given, str) and (shipped_one := deepspeed_of(given, config.folder)):
            if given.endswith(".json"):
                message = f"deepspeed: there is no {given} here, so cw brings its own of that name"
                remedy = f"write `deepspeed: {Path(given).stem}`, or fetch it: axolotl fetch deepspeed_configs"
                problems.append(config.problem(("deepspeed",), message, remedy, warning=True))
            config = config.with_value(("deepspeed",), shipped_one, config.origin("deepspeed"))
        return config, problems

    def check(self, config: Config, also: Iterable[str] = ()) -> Iterator[Problem]:
        for problem in super().check(config, also):
            unknown = problem.message.endswith(f" is not a key of {self.subject}")
            if unknown and (plugins := foreign_plugins(config)):
                # Only the plugin's own code knows its keys.
                message = f"{problem.message}; is it one of {', '.join(plugins)}?"
                yield problem._replace(message=message, severity="warning")
            else:
                yield problem


class PreparingSchema(AxolotlSchema):
    """The same keys for preparing data, which takes neither GPUs nor nodes, whatever the training takes."""

    __slots__ = ()

    def canonical(self, config: Config) -> tuple[Config, list[Problem]]:
        config, problems = super().canonical(config)
        for key, value in (("gpu", 0), ("nodes", 1)):
            config = config.with_value((key,), value, Origin("cw, because preparing data takes no GPU"))
        return config, problems


@cache
def data() -> Mapping[str, Any]:
    """What was generated from the published package: keys, and the lists that Axolotl itself does not look at."""
    found: Mapping[str, Any] = json.loads((shipped("schemas") / "axolotl.json").read_text("utf-8"))
    return found


@cache
def schema() -> AxolotlSchema:
    text = (shipped("schemas") / "axolotl.json").read_text("utf-8")
    base = read_schema(text, "axolotl", rules.SUBJECT, rules.OVERLAY)
    plugins = read_schema(text, "plugins", rules.SUBJECT, rules.OVERLAY)
    keys = {**plugins.keys, **{name: key for name, key in base.keys.items() if name not in rules.REMOVED}}
    keys["fsdp_config"] = _with_prefixes(keys["fsdp_config"])
    return AxolotlSchema(
        subject=rules.SUBJECT,
        keys={name: key for name, key in keys.items() if name not in rules.RENAMED},
        groups={**base.groups, **{name: f"Plugin {title}" for name, title in plugins.groups.items()}},
        aliases=data()["aliases"],
        renamed=rules.RENAMED,
        removed=rules.REMOVED,
        refused=rules.REFUSED,
        renamed_choices=rules.RENAMED_CHOICES,
    )


def _with_prefixes(key: Key) -> Key:
    """Axolotl takes each of these with `fsdp_` before it, as older configs have them, and `version`."""
    assert key.keys is not None
    old = {f"fsdp_{name}": inner for name, inner in key.keys.items() if not name.startswith("fsdp_")}
    return key._replace(keys={**key.keys, **old, "version": key.keys["fsdp_version"]})


def _fsdp1(config: Config) -> list[str]:
    """Keys for the first FSDP that configs still hold."""
    given = config.get("fsdp_config")
    return [name for name in given if name.removeprefix("fsdp_") in rules.FSDP1] if isinstance(given, Mapping) else []


def plugin_keys() -> Mapping[str, str]:
    """The plugin, as `plugins:` names it, to which a key belongs."""
    groups, plugins = data()["groups"], data()["plugins"]
    own = {name for group in data()["types"]["axolotl"] for name in groups[group]["keys"]}
    return {name: title for title, group in plugins.items() for name in groups[group]["keys"] if name not in own}


def listed(config: Config) -> list[str]:
    """The plugins that a config lists."""
    return [name for name in config.get("plugins") or [] if isinstance(name, str)]


def package_of(plugin: str) -> str | None:
    """The package of a plugin of Axolotl's own (`liger`), however it is named; None for a plugin from elsewhere."""
    name = plugin.removeprefix(PACKAGE).split(".", 1)[0]
    return name if plugin.startswith(PACKAGE) or name in data()["plugins"].values() else None


def foreign_plugins(config: Config) -> list[str]:
    return [plugin for plugin in listed(config) if package_of(plugin) is None]


def deepspeed_names() -> list[str]:
    return sorted(file.stem for file in (shipped("examples") / "axolotl" / "deepspeed_configs").glob("*.json"))


def deepspeed_of(value: str, folder: Path) -> str | None:
    """The path of the config that ships with cw for `zero2` or `deepspeed_configs/zero2.json`, unless that is here."""
    match = _DEEPSPEED.fullmatch(value)
    if match is None or match[1] not in deepspeed_names() or local_path(value, folder) is not None:
        return None
    return f"{DEEPSPEED}/{match[1]}.json"


def python_beside(value: str, folder: Path) -> str | None:
    """`rewards.py:mine` for `rewards.mine`, where `rewards.py` lies beside the config."""
    match = _DOTTED.fullmatch(value)
    if match is None:
        return None
    file = match[1].replace(".", "/") + ".py"
    return f"{file}:{match[2]}" if local_path(file, folder) is not None else None


def named(config: Config, patterns: Iterable[KeyPath]) -> Iterator[tuple[KeyPath, str]]:
    """The texts at these places; `"*"` stands for every index of a list."""
    for pattern in patterns:
        for path in _expanded(config, pattern):
            if isinstance(value := config.get(*path), str):
                yield path, value


def _expanded(config: Config, pattern: KeyPath) -> Iterator[KeyPath]:
    if "*" not in pattern:
        yield pattern
        return
    at = pattern.index("*")
    items = config.get(*pattern[:at])
    for index in range(len(items) if isinstance(items, list) else 0):
        yield from _expanded(config, (*pattern[:at], index, *pattern[at + 1 :]))
