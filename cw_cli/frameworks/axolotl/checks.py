"""Everything that is wrong with an Axolotl config beyond its single keys."""

from __future__ import annotations

from collections.abc import Iterator

from cw_cli.core import images
from cw_cli.core.config import Config
from cw_cli.core.launch_keys import LaunchKeys
from cw_cli.core.problems import Problem
from cw_cli.core.spelling import nearest
from cw_cli.frameworks import hugging_face
from cw_cli.frameworks.axolotl import adapters, datasets, kinds, packages, rl, together, training
from cw_cli.frameworks.axolotl.keys import PACKAGE, data, listed, package_of, plugin_keys

Problems = Iterator[Problem]

MODEL = "base_model"


def cross_checks(config: Config, keys: LaunchKeys, training_type: str, *, gpus: int) -> list[Problem]:
    """All mistakes of a canonical config; `gpus` are those of each node."""
    nodes = keys.resources.nodes
    # That it is missing is the schema's to say.
    model = hugging_face.model(config, MODEL, tokenizer=False) if config.get(MODEL) else ()
    held = images.checks(config, keys.image, "axolotl", packages.needs(config), gpus)
    if training_type == kinds.PREPROCESS:
        # The same config as the training's, so what that asks of GPUs is no mistake here.
        return [*kinds.checks(config, training_type), *plugins(config), *datasets.checks(config), *model]
    return [
        *kinds.checks(config, training_type),
        *model,
        *plugins(config),
        *together.checks(config),
        *adapters.checks(config),
        *training.checks(config, gpus, nodes),
        *rl.checks(config, gpus * nodes, keys.env),
        *datasets.checks(config),
        *hugging_face.output(config, MODEL),
        *secrets(config),
        *launching(config),
        *held,
    ]


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
            near = nearest(short, known)
            remedy = f"did you mean {near}?" if near else f"there is {', '.join(known)}"
            yield config.problem(
                ("plugins", index), f"Axolotl has no plugin {name}, and would go on without it", remedy
            )
    there = {package_of(name) for name in listed(config)}
    for key, plugin in plugin_keys().items():
        if config.get(key) is not None and known[plugin] not in there:
            message = f"{key} belongs to a plugin that is not listed, and Axolotl drops it"
            yield Problem(message, f"add `{plugin}` to `plugins:`", config.key_origin(key))


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
