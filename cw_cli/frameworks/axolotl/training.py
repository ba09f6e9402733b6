"""Steps, precision, attention, optimizers and the spreading of a model: keys of Axolotl that are wrong together."""

from __future__ import annotations

import json
from collections.abc import Iterator

from cw_cli.core.config import Config
from cw_cli.core.paths import local_path
from cw_cli.core.problems import Problem
from cw_cli.core.spelling import meant
from cw_cli.frameworks.axolotl.keys import data
from cw_cli.frameworks.trl.files import missing

Problems = Iterator[Problem]

SHORT_ATTENTION = {"flash": "flash_attention_2", "flex": "flex_attention", "sdp": "sdpa"}
FSDP2_ONLY = ("muon", "polora", "q_galore_adamw8bit")
NOT_WITH_DEEPSPEED = ("muon", "polora", "q_galore_adamw8bit")


def checks(config: Config, gpus: int, nodes: int) -> Problems:
    yield from saving(config)
    yield from evaluating(config)
    yield from precision(config, gpus)
    yield from attention(config)
    yield from optimizer(config)
    yield from deepspeed(config)
    yield from sharding(config, gpus * nodes)


def saving(config: Config) -> Problems:
    strategy = config.get("save_strategy")
    if strategy and strategy != "steps" and config.get("save_steps"):
        message = f"save_steps is for `save_strategy: steps`, and it is {strategy}"
        yield config.problem(("save_steps",), message, "delete one of them")
    if strategy == "best" and not config.get("metric_for_best_model"):
        message = "save_strategy: best needs to know what is best"
        yield config.problem(("save_strategy",), message, "add `metric_for_best_model: eval_loss`")
    if config.get("early_stopping_patience"):
        save, evaluate = config.get("save_steps"), config.get("eval_steps")
        if not save or not evaluate or save % evaluate:
            message = "early_stopping_patience needs save_steps and eval_steps, one a multiple of the other"
            yield config.problem(("early_stopping_patience",), message, "add `eval_steps: 50` and `save_steps: 100`")
    if config.get("rl") == "simpo" and config.get("warmup_ratio"):
        yield config.problem(("warmup_ratio",), "simpo takes no warmup_ratio", "write warmup_steps instead")
    if config.get("batch_size") and not config.get("micro_batch_size"):
        message = "batch_size needs micro_batch_size, which says how it is cut"
        yield config.problem(("batch_size",), message, "add `micro_batch_size: 1`")


def evaluating(config: Config) -> Problems:
    strategy, steps = config.get("eval_strategy"), config.get("eval_steps")
    if strategy and strategy != "steps":
        for key in ("eval_steps", "evals_per_epoch"):
            if config.get(key):
                message = f"{key} is for `eval_strategy: steps`, and it is {strategy}"
                yield config.problem((key,), message, "delete one of them")
    nothing = not config.get("val_set_size") and not config.get("test_datasets")
    wanted = next((key for key in ("eval_steps", "eval_strategy", "evals_per_epoch") if config.get(key)), None)
    if nothing and wanted and strategy != "no":
        # Axolotl refuses where val_set_size is written as 0, and evaluates nothing where it is left out.
        written = config.get("val_set_size") == 0 and (steps or strategy) and config.has("val_set_size")
        message = f"{wanted} has nothing to evaluate on"
        remedy = "add `val_set_size: 0.05` or test_datasets, or delete it"
        yield config.problem((wanted,), message, remedy, warning=not written)
    if config.get("do_bench_eval") and not (steps or config.get("evals_per_epoch")):
        yield config.problem(("do_bench_eval",), "do_bench_eval needs eval_steps", "add `evals_per_epoch: 1`")
    if (
        config.get("sample_packing")
        and config.get("eval_table_size")
        and config.get("eval_sample_packing") is not False
    ):
        message = "eval_table_size does not work with packed evaluation data"
        yield config.problem(("eval_table_size",), message, "add `eval_sample_packing: false`")


def precision(config: Config, gpus: int) -> Problems:
    bf16, fp16 = config.get("bf16"), config.get("fp16")
    if bf16 is True and fp16 is True:
        yield config.problem(("fp16",), "fp16 and bf16 cannot both be true", "keep one; bf16 is the safer one")
    if gpus == 0:
        for key in ("bf16", "fp16", "tf32", "fp8", "load_in_4bit", "load_in_8bit"):
            if config.get(key) is True:
                message = f"{key} needs a GPU, and this run has none"
                yield config.problem((key,), message, "ask for one with `gpu: 1`")


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
    if path is None:
        found = missing(config, ("deepspeed",), value)
        remedy = "`axolotl fetch deepspeed_configs` brings Axolotl's own; put the folder beside the config"
        yield found._replace(remedy=remedy) if found.severity == "error" else found
        return
    try:
        content = json.loads(path.read_text("utf-8"))
    except OSError as error:
        yield config.problem(("deepspeed",), f"deepspeed: {value} cannot be read: {error.strerror}", "name a file")
        return
    except (ValueError, RecursionError) as error:
        yield config.problem(("deepspeed",), f"deepspeed: {value} is not JSON: {error}", "correct the file")
        return
    if not isinstance(content, dict) or "zero_optimization" not in content:
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
