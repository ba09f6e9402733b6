"""LoRA and its kin, and the parts of a model that it works on."""

from __future__ import annotations

import re
from collections.abc import Iterator

from cw_cli.core.config import Config
from cw_cli.core.problems import Problem
from cw_cli.core.spelling import meant
from cw_cli.frameworks.axolotl.keys import foreign_plugins, listed, package_of

OWN = ("lora", "qlora", "llama-adapter")
OF_PLUGINS = {"mora": "mora"}
TARGETS = ("lora_target_modules", "lora_target_linear", "lora_target_parameters")
KERNELS = ("lora_mlp_kernel", "lora_qkv_kernel", "lora_o_kernel")


def checks(config: Config) -> Iterator[Problem]:
    adapter = config.get("adapter")
    if not adapter:
        return
    yield from _known(config, adapter)
    if adapter in ("lora", "qlora") and not config.get("lora_model_dir"):
        yield from _complete(config, adapter)
    if adapter == "qlora" and not config.get("merge_lora"):
        for key in ("load_in_8bit", "gptq"):
            if config.get(key):
                yield config.problem((key,), f"qlora loads the model in 4 bits, and {key} says otherwise", "delete it")
        if not config.get("load_in_4bit"):
            message = "qlora needs a model that is loaded in 4 bits"
            yield config.problem(("adapter",), message, "add `load_in_4bit: true`, or write `adapter: lora`")
    if adapter == "lora" and config.get("load_in_8bit"):
        for key in KERNELS:
            if config.get(key):
                yield config.problem((key,), f"{key} does not work with load_in_8bit", "delete one of them")
    if config.get("lora_target_parameters") and config.get("lora_dropout"):
        message = "with lora_target_parameters there can be no dropout"
        yield config.problem(("lora_dropout",), message, "write `lora_dropout: 0`")
    if config.get("peft_layers_to_transform") and config.get("unfrozen_parameters"):
        message = "unfrozen_parameters and peft_layers_to_transform choose different parts of the model"
        yield config.problem(("unfrozen_parameters",), message, "keep one of them")
    for index, pattern in enumerate(_list(config.get("lora_target_modules"))):
        try:
            re.compile(pattern)
        except re.error as error:
            place = ("lora_target_modules", index)
            yield config.problem(place, f"{pattern} is no regular expression: {error}", "name a module, as in q_proj")


def _known(config: Config, adapter: str) -> Iterator[Problem]:
    if adapter in OWN or foreign_plugins(config):
        return
    if plugin := OF_PLUGINS.get(adapter):
        if plugin not in map(package_of, listed(config)):
            message = f"adapter: {adapter} comes from a plugin that is not listed"
            yield config.problem(("adapter",), message, "add `axolotl.integrations.mora.MoraPlugin` to `plugins:`")
        return
    remedy = meant(adapter, [*OWN, *OF_PLUGINS], f"write one of {', '.join(OWN[:2])}")
    yield config.problem(("adapter",), f"Axolotl has no adapter {adapter}", remedy)


def _complete(config: Config, adapter: str) -> Iterator[Problem]:
    if not any(config.get(key) for key in TARGETS):
        message = f"{adapter} has nothing to work on: the config names no modules"
        yield config.problem(("adapter",), message, "add `lora_target_linear: true`, or `lora_target_modules: […]`")
    for key, line in (("lora_r", "lora_r: 16"), ("lora_alpha", "lora_alpha: 32")):
        if config.get(key) is None:
            yield config.problem(("adapter",), f"{adapter} needs {key}", f"add `{line}`")


def _list(value: object) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
