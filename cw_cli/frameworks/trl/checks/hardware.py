"""What TRL's keys ask of the machine: precision, GPUs, memory, and how a model is loaded and spread."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from cw_cli.core.config import Config
from cw_cli.core.problems import Problem
from cw_cli.frameworks.trl.rules import ATTENTION

Problems = Iterator[Problem]

LORA = (
    *("lora_r", "lora_alpha", "lora_dropout", "lora_target_modules", "lora_target_parameters"),
    *("lora_modules_to_save", "lora_task_type", "use_rslora", "use_dora"),
)
FOUR_BIT = ("bnb_4bit_quant_type", "use_bnb_nested_quant", "bnb_4bit_quant_storage")


def checks(config: Config, gpus: int, nodes: int) -> Problems:
    yield from precision(config, gpus)
    yield from devices(config, gpus * nodes)
    yield from checkpointing(config)
    yield from adapters(config)
    yield from sharding(config)
    yield from loading(config)


def precision(config: Config, gpus: int) -> Problems:
    bf16, fp16 = config.get("bf16"), bool(config.get("fp16"))
    use_cpu = bool(config.get("use_cpu"))
    if bf16 and fp16:
        yield config.problem(("fp16",), "fp16 and bf16 cannot both be true", "keep one; bf16 is the safer one")
    if config.get("bf16_full_eval") and config.get("fp16_full_eval"):
        yield config.problem(("fp16_full_eval",), "fp16_full_eval and bf16_full_eval cannot both be true", "keep one")
    if fp16 and (use_cpu or gpus == 0):
        message = "fp16 is for GPUs; a processor computes more slowly with it"
        yield config.problem(("fp16",), message, "delete it, or ask for a GPU with `gpu: 1`", warning=True)
    if config.get("tf32") and gpus == 0:
        yield config.problem(("tf32",), "tf32 needs a GPU", "delete it, or ask for a GPU with `gpu: 1`")
    # TRL turns bf16 on by itself.
    if bf16 is None:
        bf16 = not fp16
    if (bf16 or config.get("bf16_full_eval")) and not use_cpu and gpus == 0:
        key = next((name for name in ("bf16", "bf16_full_eval") if config.get(name)), "bf16")
        message = f"{key} needs a GPU, and this run has none"
        if not config.get(key):
            message = "this run has no GPU, and TRL turns bf16 on unless told otherwise"
        yield config.problem((key,), message, "ask for a GPU with `gpu: 1`, or write `use_cpu: true` and `bf16: false`")
    elif bf16 and use_cpu and not fp16:
        key = "bf16" if config.has("bf16") else "use_cpu"
        message = "TRL computes with 16-bit numbers unless told otherwise, which most processors do slowly"
        yield config.problem((key,), message, "write `bf16: false`", warning=True)


def devices(config: Config, gpus: int) -> Problems:
    if config.get("use_cpu") and gpus > 0:
        message = f"use_cpu leaves the {gpus} GPUs idle" if gpus > 1 else "use_cpu leaves the GPU idle"
        yield config.problem(("use_cpu",), message, "delete use_cpu, or write `gpu: 0`", warning=True)
    if config.get("fsdp") and gpus < 2:
        message = "fsdp spreads a model over several GPUs, and this run has not got them"
        yield config.problem(("fsdp",), message, "delete fsdp, or ask for more with `gpu:`")
    if config.get("parallelism_config") is not None:
        message = "parallelism_config is a Python object, which a YAML file cannot hold"
        yield config.problem(("parallelism_config",), message, "delete it, and write `fsdp:` or `deepspeed:`")
    workers = config.get("dataloader_num_workers") or 0
    if workers == 0 and config.get("dataloader_prefetch_factor") is not None:
        message = "dataloader_prefetch_factor needs workers that load data"
        yield config.problem(("dataloader_prefetch_factor",), message, "add `dataloader_num_workers: 2`, or delete it")
    if workers == 0 and config.get("dataloader_persistent_workers"):
        message = "dataloader_persistent_workers needs workers that load data"
        yield config.problem(("dataloader_persistent_workers",), message, "add `dataloader_num_workers: 2`")


def checkpointing(config: Config) -> Problems:
    """Saving memory by computing activations twice."""
    new, old = config.get("activation_checkpointing"), config.get("gradient_checkpointing")
    if new is not None and old is not None and bool(new) != bool(old):
        message = "gradient_checkpointing is the old name of activation_checkpointing, and they differ"
        yield config.problem(("gradient_checkpointing",), message, "keep activation_checkpointing only", warning=True)
    active = new if new is not None else old is not False
    name = "activation_checkpointing_kwargs"
    if config.get(name) is None:
        name = "gradient_checkpointing_kwargs"
    settings = config.get(name)
    if isinstance(settings, Mapping) and settings.get("selective"):
        if not active:
            message = "selective checkpointing needs checkpointing to be on"
            yield config.problem((name, "selective"), message, "delete selective, or turn checkpointing on")
        if settings.get("use_reentrant"):
            message = "selective checkpointing does not work with use_reentrant"
            yield config.problem((name, "use_reentrant"), message, "delete use_reentrant")
    if active and config.get("fsdp") and _option(config.get("fsdp_config"), "activation_checkpointing"):
        message = "fsdp_config turns checkpointing on, and so does the trainer"
        remedy = "add `gradient_checkpointing: false`"
        yield config.problem(("fsdp_config",), message, remedy)


def adapters(config: Config) -> Problems:
    quantised = [key for key in ("load_in_4bit", "load_in_8bit") if config.get(key)]
    if len(quantised) == 2:
        yield config.problem(("load_in_8bit",), "load_in_4bit and load_in_8bit cannot both be true", "keep one")
    if not config.get("use_peft"):
        if quantised:
            message = f"a model loaded with {quantised[0]} can only be trained with LoRA"
            yield config.problem((quantised[0],), message, f"add `use_peft: true`, or delete {quantised[0]}")
        for key in LORA:
            if config.has(key):
                message = f"{key} is not used without use_peft"
                yield config.problem((key,), message, "add `use_peft: true`, or delete it", warning=True)
    else:
        yield from _targets(config, _words(config.get("lora_target_modules")))
    if not config.get("load_in_4bit"):
        for key in FOUR_BIT:
            if config.has(key):
                message = f"{key} is not used without load_in_4bit"
                yield config.problem((key,), message, "add `load_in_4bit: true`, or delete it", warning=True)
    if quantised and config.get("model_init_kwargs", "quantization_config") is not None:
        message = f"quantization_config and {quantised[0]} say the same thing"
        yield config.problem(("model_init_kwargs", "quantization_config"), message, "keep one of them")


def _targets(config: Config, names: list[str]) -> Problems:
    """The layers that get an adapter, by the end of their names; a single one is a pattern of the whole name."""
    if "lm_head" in names:
        message = "TRL does not train LoRA weights on lm_head"
        yield config.problem(("lora_target_modules",), message, "take lm_head out of lora_target_modules")
    elif len(names) == 1 and names[0] != "all-linear" and re.fullmatch(r"\w+", names[0]):
        message = f"TRL takes a single name for a pattern of whole names, and no layer is called just {names[0]}"
        yield config.problem(("lora_target_modules",), message, f"write `lora_target_modules: .*{names[0]}`")


def _words(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [str(item) for item in value or []]


def sharding(config: Config) -> Problems:
    deepspeed, fsdp = config.get("deepspeed"), config.get("fsdp")
    if deepspeed and fsdp:
        yield config.problem(("fsdp",), "fsdp and deepspeed do the same work", "keep one of them")
    if config.has("fsdp_config") and not fsdp:
        yield config.problem(("fsdp_config",), "fsdp_config is not used without fsdp", "add `fsdp: true`", warning=True)
    if config.get("save_only_model"):
        if (deepspeed or fsdp) and config.get("load_best_model_at_end"):
            message = "save_only_model keeps too little to load the best model at the end"
            yield config.problem(("save_only_model",), message, "delete save_only_model or load_best_model_at_end")
        if fsdp and _option(config.get("fsdp_config"), "state_dict_type") == "SHARDED_STATE_DICT":
            message = "save_only_model cannot be used when each GPU saves its own part"
            yield config.problem(("save_only_model",), message, "write `state_dict_type: FULL_STATE_DICT`")
    stage = deepspeed.get("zero_optimization") if isinstance(deepspeed, Mapping) else None
    if isinstance(stage, Mapping) and stage.get("stage") == 3 and config.get("auto_find_batch_size"):
        message = "auto_find_batch_size does not work with stage 3 of DeepSpeed"
        yield config.problem(("auto_find_batch_size",), message, "delete it and write per_device_train_batch_size")


def _option(settings: Any, name: str) -> Any:
    """An entry of `fsdp_config`, whose names may have a prefix."""
    if not isinstance(settings, Mapping):
        return None
    return settings.get(name, settings.get(f"fsdp_{name}"))


def loading(config: Config) -> Problems:
    if config.get("use_liger_kernel") and _option(config.get("liger_kernel_config"), "fused_linear_cross_entropy"):
        message = "fused_linear_cross_entropy replaces what TRL's own loss needs"
        yield config.problem(("liger_kernel_config",), message, "delete fused_linear_cross_entropy")
    optimizer = str(config.get("optim") or "")
    if optimizer.startswith(("galore_", "apollo_")) and config.get("optim_target_modules") is None:
        message = f"optim: {optimizer} needs to know which layers it is for"
        yield config.problem(("optim",), message, "add `optim_target_modules: all-linear`")
    attention = config.get("attn_implementation")
    if isinstance(attention, str) and "/" not in attention and attention not in ATTENTION:
        remedy = f"write one of {', '.join(ATTENTION)}, or a kernel of the Hub as owner/name"
        yield config.problem(("attn_implementation",), f"attn_implementation cannot be {attention}", remedy)
