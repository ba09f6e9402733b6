"""What Axolotl's keys ask of the machine: precision, attention, optimizers, adapters, and how a model is spread."""

from __future__ import annotations

import re
from collections.abc import Iterator

from cw_cli.core.config import Config
from cw_cli.core.paths import local_path, missing
from cw_cli.core.problems import Problem
from cw_cli.core.spelling import meant
from cw_cli.frameworks import hugging_face
from cw_cli.frameworks.axolotl.keys import data, deepspeed_names, foreign_plugins, listed, package_of

Problems = Iterator[Problem]

SHORT_ATTENTION = {"flash": "flash_attention_2", "flex": "flex_attention", "sdp": "sdpa"}
FSDP2_ONLY = ("muon", "polora", "q_galore_adamw8bit")
ADAPTERS = ("lora", "qlora", "llama-adapter")
ADAPTERS_OF_PLUGINS = {"mora": "mora"}
TARGETS = ("lora_target_modules", "lora_target_linear", "lora_target_parameters")
KERNELS = ("lora_mlp_kernel", "lora_qkv_kernel", "lora_o_kernel")


def checks(config: Config, gpus: int, nodes: int) -> Problems:
    yield from precision(config, gpus)
    yield from attention(config)
    yield from optimizer(config)
    yield from deepspeed(config)
    yield from sharding(config, gpus * nodes)
    yield from adapters(config)


def precision(config: Config, gpus: int) -> Problems:
    bf16, fp16 = config.get("bf16"), config.get("fp16")
    if bf16 is True and fp16 is True:
        yield config.problem(("fp16",), "fp16 and bf16 cannot both be true", "keep one; bf16 is the safer one")
    if gpus == 0:
        for key in ("bf16", "fp16", "tf32", "fp8", "load_in_4bit", "load_in_8bit"):
            if config.get(key) is True:
                message = f"{key} needs a GPU, and this run has none"
                yield config.problem((key,), message, "ask for one with `gpu: 1`")
        if config.get("rl") == "ebft" and config.get("ebft", "mode") == "strided":
            message = "ebft.mode: strided needs a GPU, and this run has none"
            yield config.problem(("ebft", "mode"), message, "ask for one with `gpu: 1`, or write structured")


def attention(config: Config) -> Problems:
    chosen, flags = config.get("attn_implementation"), data()["attention_flags"]
    used = [flag for flag in flags if config.get(flag)]
    if chosen and used:
        message = f"attn_implementation and {used[0]} say different things"
        yield config.problem((used[0],), message, "keep attn_implementation alone")
    if len(used) > 1:
        yield config.problem((used[1],), f"{used[0]} and {used[1]} exclude each other", "keep one of them")
    known = data()["attention"]
    if chosen in SHORT_ATTENTION:
        message = f"attn_implementation cannot be {chosen}"
        yield config.problem(("attn_implementation",), message, f"write {SHORT_ATTENTION[chosen]}")
    elif chosen and "/" not in chosen and chosen not in known:
        remedy = meant(chosen, known, f"write one of {', '.join(known)}, or a kernel as owner/name")
        yield config.problem(("attn_implementation",), f"attn_implementation cannot be {chosen}", remedy)
    backend = str(chosen or (flags[used[0]] if used else "")).split("@")[0].split(":")[0]
    if config.get("sample_packing") and not config.get("rl"):
        isolating = [*data()["attention_packing"], "sdpa", "eager"]
        if backend not in isolating:
            message = "sample_packing lets packed texts see each other without an attention that keeps them apart"
            remedy = "add `attn_implementation: flash_attention_2`, or flex_attention"
            yield config.problem(("sample_packing",), message, remedy, warning=True)
    if (config.get("context_parallel_size") or 1) > 1 and backend != "flash_attention_2":
        message = "context_parallel_size needs flash_attention_2"
        yield config.problem(("context_parallel_size",), message, "add `attn_implementation: flash_attention_2`")
    if config.get("scaling_softmax") and backend != "flex_attention":
        message = "scaling_softmax needs flex attention"
        yield config.problem(("scaling_softmax",), message, "add `attn_implementation: flex_attention`")


def optimizer(config: Config) -> Problems:
    name, version = str(config.get("optimizer") or ""), fsdp_version(config)
    special = name in FSDP2_ONLY or name.startswith("flash_")
    if special and config.get("deepspeed"):
        yield config.problem(("optimizer",), f"{name} does not work with DeepSpeed", "write adamw_torch_fused")
    if special and version == 1:
        yield config.problem(("optimizer",), f"{name} needs FSDP2", "add `fsdp_version: 2`")
    if name in ("adamw_8bit", "adamw_bnb_8bit") and version == 2:
        yield config.problem(("optimizer",), f"{name} does not work with FSDP2", "write adamw_torch_8bit")
    if name == "q_galore_adamw8bit" and config.get("adapter"):
        yield config.problem(("optimizer",), f"{name} trains whole models, not adapters", "delete adapter")
    if name == "polora" and config.get("adapter") not in ("lora", "qlora"):
        yield config.problem(("optimizer",), "polora trains LoRA weights alone", "add `adapter: lora`")


def deepspeed(config: Config) -> Problems:
    value = config.get("deepspeed")
    if not isinstance(value, str) or not value:
        return
    path = local_path(value, config.folder)
    if path is None and re.fullmatch(r"\w+", value):
        names = deepspeed_names()
        remedy = meant(value, names, f"write one of {', '.join(names)}, or a file's path")
        yield config.problem(("deepspeed",), f"deepspeed: there is no config {value}", remedy)
        return
    if path is None:
        found = missing(config, ("deepspeed",), value)
        remedy = f"`axolotl fetch deepspeed_configs` brings Axolotl's own; cw has {', '.join(deepspeed_names())}"
        yield found._replace(remedy=remedy) if found.severity == "error" else found
        return
    problems: list[Problem] = []
    content = hugging_face.json_mapping(config, "deepspeed", path, problems)
    yield from problems
    if content is not None and "zero_optimization" not in content:
        message = f"deepspeed: {value} has no zero_optimization"
        yield config.problem(("deepspeed",), message, "name a file as `axolotl fetch deepspeed_configs` writes them")


def fsdp_version(config: Config) -> int | None:
    """1 or 2 as Axolotl takes it; None without FSDP."""
    if not (config.get("fsdp") or config.get("fsdp_config")):
        return None
    inner = (config.get("fsdp_config", key) for key in ("fsdp_version", "version"))
    return int(config.get("fsdp_version") or next((value for value in inner if value), 1))


def sharding(config: Config, gpus: int) -> Problems:
    version = fsdp_version(config)
    offers = ("context_parallel_size", "tensor_parallel_size", "dp_shard_size", "dp_replicate_size")
    sizes = {key: config.get(key) for key in offers if (config.get(key) or 1) > 1}
    product = 1
    for size in sizes.values():
        product *= size
    if product > 1 and (gpus < product or gpus % product):
        key = next(iter(sizes))
        message = f"{' times '.join(sizes)} is {product}, and the run has {gpus or 'no'} GPU{'s' * (gpus != 1)}"
        yield config.problem((key,), message, f"ask for a multiple of {product} with `gpu:` and `nodes:`")
    if version and gpus < 2:
        message = "FSDP spreads a model over several GPUs, and this run has not got them"
        yield config.problem(
            ("fsdp_config" if config.get("fsdp_config") else "fsdp",), message, "ask for more with `gpu:`"
        )
    quantised = next((key for key in ("load_in_8bit", "load_in_4bit") if config.get(key)), None)
    if version == 2 and quantised and config.get("rl") in ("dpo", "kto", "orpo", "ipo"):
        message = f"FSDP2 cannot train {config.get('rl')} on a model with {quantised}"
        yield config.problem((quantised,), message, "use DeepSpeed, or delete it")
    offload = config.get("fsdp_config", "offload_params") or config.get("fsdp_config", "fsdp_offload_params")
    if version == 1 and offload and "8bit" in str(config.get("optimizer")):
        message = f"{config.get('optimizer')} does not work with offloaded parameters"
        yield config.problem(("optimizer",), message, "write adamw_torch_fused")
    if version == 2 and config.get("fsdp_config", "cpu_ram_efficient_loading") and config.get("load_in_4bit"):
        message = "cpu_ram_efficient_loading does not work with load_in_4bit"
        yield config.problem(("fsdp_config", "cpu_ram_efficient_loading"), message, "write false")


def adapters(config: Config) -> Problems:
    """LoRA and its kin, and the parts of a model that they work on."""
    adapter = config.get("adapter")
    if not adapter:
        return
    yield from _adapter(config, adapter)
    if adapter in ("lora", "qlora") and not config.get("lora_model_dir"):
        yield from _targets(config, adapter)
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
    for index, pattern in enumerate(_texts(config.get("lora_target_modules"))):
        try:
            re.compile(pattern)
        except re.error as error:
            place = ("lora_target_modules", index)
            yield config.problem(place, f"{pattern} is no regular expression: {error}", "name a module, as in q_proj")


def _adapter(config: Config, adapter: str) -> Problems:
    if adapter in ADAPTERS or foreign_plugins(config):
        return
    if plugin := ADAPTERS_OF_PLUGINS.get(adapter):
        if plugin not in map(package_of, listed(config)):
            message = f"adapter: {adapter} comes from a plugin that is not listed"
            yield config.problem(("adapter",), message, "add `axolotl.integrations.mora.MoraPlugin` to `plugins:`")
        return
    remedy = meant(adapter, [*ADAPTERS, *ADAPTERS_OF_PLUGINS], f"write one of {', '.join(ADAPTERS[:2])}")
    yield config.problem(("adapter",), f"Axolotl has no adapter {adapter}", remedy)


def _targets(config: Config, adapter: str) -> Problems:
    if not any(config.get(key) for key in TARGETS):
        message = f"{adapter} has nothing to work on: the config names no modules"
        yield config.problem(("adapter",), message, "add `lora_target_linear: true`, or `lora_target_modules: […]`")
    for key, line in (("lora_r", "lora_r: 16"), ("lora_alpha", "lora_alpha: 32")):
        if config.get(key) is None:
            yield config.problem(("adapter",), f"{adapter} needs {key}", f"add `{line}`")


def _texts(value: object) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
