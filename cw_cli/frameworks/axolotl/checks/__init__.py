"""Keys of Axolotl that are right one by one and wrong together: what it refuses late, or accepts without a word."""

from __future__ import annotations

from collections.abc import Iterator

from cw_cli.core import images
from cw_cli.core.config import Config
from cw_cli.core.launch_keys import LaunchKeys
from cw_cli.core.problems import Problem
from cw_cli.core.spelling import meant
from cw_cli.frameworks import hugging_face
from cw_cli.frameworks.axolotl import kinds, packages, rules
from cw_cli.frameworks.axolotl.checks import datasets, hardware, online
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
        *together(config),
        *saving(config),
        *evaluating(config),
        *preferences(config),
        *hardware.checks(config, gpus, nodes),
        *online.checks(config, gpus * nodes, keys.env),
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
            remedy = meant(short, known, f"there is {', '.join(known)}")
            yield config.problem(
                ("plugins", index), f"Axolotl has no plugin {name}, and would go on without it", remedy
            )
    there = {package_of(name) for name in listed(config)}
    for key, plugin in plugin_keys().items():
        if config.get(key) is not None and known[plugin] not in there:
            message = f"{key} belongs to a plugin that is not listed, and Axolotl drops it"
            yield Problem(message, f"add `{plugin}` to `plugins:`", config.key_origin(key))


def together(config: Config) -> Problems:
    """What the rules say of pairs of keys."""
    for key, other in rules.EXCLUSIVE:
        if config.get(key) and config.get(other):
            yield config.problem((key,), f"{key} and {other} exclude each other", "keep one of them")
    for key, needed, line in rules.NEEDS:
        if config.get(key) and not config.get(needed):
            yield config.problem((key,), f"{key} needs {needed}", f"add `{line}`, or delete {key}")
    for key, needed in rules.UNUSED:
        if config.get(key) and not config.get(needed):
            message = f"{key} changes nothing without {needed}"
            yield config.problem((key,), message, f"add {needed}, or delete it", warning=True)


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


def preferences(config: Config) -> Problems:
    """What each `rl:` asks of keys that only some of them read."""
    rl = config.get("rl")
    for key in ("trl", "ebft"):
        if config.get(key) and rl not in kinds.ONLINE:
            message = f"{key}: is for {', '.join(kinds.ONLINE)}, and this config is for {rl or 'sft'}"
            yield config.problem((key,), message, "delete it", warning=True)
    if rl != "dpo":
        for key in ("dpo_loss_type", "dpo_loss_weights"):
            if config.get(key):
                yield config.problem((key,), f"{key} is for `rl: dpo`", "delete it")
    losses, weights = config.get("dpo_loss_type"), config.get("dpo_loss_weights")
    if losses and weights and len(losses) != len(weights):
        message = f"dpo_loss_type has {len(losses)} entries and dpo_loss_weights {len(weights)}"
        yield config.problem(("dpo_loss_weights",), message, "write one weight for each loss")
    if config.get("dpo_use_liger_kernel") and (rl == "ipo" or (losses or [""])[0] == "ipo"):
        yield config.problem(("dpo_use_liger_kernel",), "dpo_use_liger_kernel cannot compute ipo", "delete it")
    if rl == "kto" and config.get("remove_unused_columns") is not False:
        message = "kto needs the columns that the trainer would throw away"
        yield config.problem(("rl",), message, "add `remove_unused_columns: false`")


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
