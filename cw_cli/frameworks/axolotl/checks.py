"""Everything that is wrong with an Axolotl config beyond its single keys."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from cw_cli.core import images
from cw_cli.core.config import Config
from cw_cli.core.launch_keys import LaunchKeys
from cw_cli.core.paths import local_path, looks_local
from cw_cli.core.problems import Problem
from cw_cli.core.spelling import meant
from cw_cli.frameworks.axolotl import adapters, datasets, kinds, packages, rl, together, training
from cw_cli.frameworks.axolotl.keys import PACKAGE, data, listed, package_of, plugin_keys
from cw_cli.frameworks.trl.files import missing

Problems = Iterator[Problem]

_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


def cross_checks(config: Config, keys: LaunchKeys, training_type: str, *, gpus: int) -> list[Problem]:
    """All mistakes of a canonical config; `gpus` are those of each node."""
    nodes = keys.resources.nodes
    held = images.checks(config, keys.image, "axolotl", packages.needs(config), gpus)
    if training_type == kinds.PREPROCESS:
        # The same config as the training's, so what that asks of GPUs is no mistake here.
        return [*kinds.checks(config, training_type), *plugins(config), *datasets.checks(config), *model(config)]
    return [
        *kinds.checks(config, training_type),
        *model(config),
        *plugins(config),
        *together.checks(config),
        *adapters.checks(config),
        *training.checks(config, gpus, nodes),
        *rl.checks(config, gpus * nodes, keys.env),
        *datasets.checks(config),
        *output(config),
        *secrets(config),
        *launching(config),
        *held,
    ]


def model(config: Config) -> Problems:
    value = config.get("base_model")
    if not isinstance(value, str) or not value:
        return
    path = local_path(value, config.folder)
    if path is not None and path.is_dir():
        if not (path / "config.json").is_file():
            what = "an adapter" if (path / "adapter_config.json").is_file() else "no model: config.json is missing"
            yield config.problem(("base_model",), f"{value} holds {what}", "name the folder of a whole model")
    elif path is not None:
        yield config.problem(("base_model",), f"base_model: {value} is a file", "name the folder that it is in")
    elif looks_local(value) or value.count("/") > 1:
        yield missing(config, ("base_model",), value)
    elif not _HUB_NAME.fullmatch(value):
        message = f"base_model: {value} is neither a folder here nor a name on the Hugging Face Hub"
        yield config.problem(("base_model",), message, "names on the Hub look like owner/name")


def plugins(config: Config) -> Problems:
    """Axolotl goes on without a plugin that it cannot import, and without the keys of one that is not listed."""
    known = data()["plugins"]
    for index, name in enumerate(config.get("plugins") or []):
        if not isinstance(name, str):
            continue
        full = name if name.startswith(PACKAGE) else f"{PACKAGE}{name}"
        if package_of(name) is None:
            continue
        # `liger.plugin.LigerPlugin` is the same as `liger.LigerPlugin`.
        short = f"{PACKAGE}{package_of(name)}.{full.rsplit('.', 1)[-1]}"
        if short not in known:
            remedy = meant(short, known, f"there is {', '.join(known)}")
            yield config.problem(
                ("plugins", index), f"Axolotl has no plugin {name}, and would go on without it", remedy
            )
    there = {package_of(name) for name in listed(config)}
    for key, plugin in plugin_keys().items():
        if config.get(key) is not None and known[plugin] not in there:
            message = f"{key} belongs to a plugin that is not listed, and Axolotl drops it"
            yield Problem(message, f"add `{plugin}` to `plugins:`", config.key_origin(key))


def output(config: Config) -> Problems:
    value, base = config.get("output_dir"), config.get("base_model")
    if not isinstance(value, str) or not value or "\0" in value:
        return
    target = Path(os.path.realpath(config.folder / os.path.expanduser(value)))
    found = local_path(base, config.folder) if isinstance(base, str) else None
    if target.is_file():
        yield config.problem(("output_dir",), f"output_dir: {value} is a file", "name a folder")
    elif found is not None and target == found.resolve():
        message = f"output_dir: {value} is where the model is read from"
        yield config.problem(("output_dir",), message, "name another folder")


def secrets(config: Config) -> Problems:
    for key, variable in (("comet_api_key", "COMET_API_KEY"), ("swanlab_api_key", "SWANLAB_API_KEY")):
        if config.get(key):
            message = f"{key} would be written into the cluster for all to read"
            remedy = f"write `secrets: {{{variable}: my-secret/key}}` instead"
            yield Problem(message, remedy, config.origin(key).hidden())


def launching(config: Config) -> Problems:
    for key in ("use_ray", "local_rank", "world_size", "device_map"):
        if config.get(key) not in (None, False):
            message = f"{key} is for another way to launch; cw starts one process for each GPU"
            yield config.problem((key,), message, "delete it")
