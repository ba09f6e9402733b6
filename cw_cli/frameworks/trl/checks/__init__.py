"""Keys of TRL that are right one by one and wrong together: what TRL refuses once it runs, found before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from cw_cli.core.config import Config
from cw_cli.core.framework import TrainingType
from cw_cli.core.paths import local_path, looks_local, missing
from cw_cli.core.problems import Problem
from cw_cli.frameworks import hugging_face
from cw_cli.frameworks.trl import accelerate, distillation
from cw_cli.frameworks.trl.checks import columns, hardware, losses, online

Problems = Iterator[Problem]

MODEL = "model_name_or_path"
JSON_KEYS = ("deepspeed", "fsdp_config", "accelerator_config")
"""Keys that hold a mapping, or the path of a JSON file with it."""


def cross_checks(config: Config, training_type: TrainingType, *, gpus: int, nodes: int) -> list[Problem]:
    """All mistakes of a canonical config; `gpus` are those of each node."""
    name = str(training_type)
    if name in online.TYPES:
        own = online.checks(config, name, gpus, nodes)
    elif training_type == distillation.DISTILLATION:
        own = distillation.checks(config, max(gpus, 1) * nodes)
    else:
        own = OWN[name](config)
    return [
        *hardware.checks(config, gpus, nodes),
        *accelerate.checks(config, gpus, nodes),
        *intervals(config),
        *best_model(config),
        *schedule(config),
        *resuming(config),
        *secrets(config),
        *files(config),
        *own,
    ]


def supervised(config: Config) -> Problems:
    yield from sequences(config)
    yield from columns.supervised(config)


def reward(config: Config) -> Problems:
    yield from columns.scores(config)
    yield from columns.pairs(config)


def dpo(config: Config) -> Problems:
    yield from losses.dpo(config)
    yield from columns.pairs(config)


def kto(config: Config) -> Problems:
    yield from losses.kto(config)
    yield from columns.labelled(config)


OWN: dict[str, Callable[[Config], Problems]] = {
    "sft": supervised,
    "dpo": dpo,
    "kto": kto,
    "reward": reward,
}
"""What a training type on a dataset asks beyond what all ask."""


def intervals(config: Config) -> Problems:
    """How often something happens: whole steps, or a share of all steps."""
    log = _get(config, "logging_strategy", "steps") == "steps"
    evaluate = _get(config, "eval_strategy", "no")
    logged, saved = _get(config, "logging_steps", 10), _get(config, "save_steps", 500)
    counts = []
    if log:
        counts.append(("logging_steps", logged))
    if evaluate == "steps" and (config.get("eval_steps") or not log):
        counts.append(("eval_steps", config.get("eval_steps") or logged))
    if _get(config, "save_strategy", "steps") == "steps":
        counts.append(("save_steps", saved))
    for key, count in counts:
        if count == 0 and key != "save_steps":
            yield config.problem((key,), f"{key} cannot be 0", "write 1 or more")
        elif count > 1 and count % 1 != 0:
            yield config.problem((key,), f"{key} cannot be {count:g}", "write whole steps, or a share below 1")
    if config.get("eval_on_start") and evaluate == "no":
        message = "eval_on_start needs evaluation data, which TRL loads only with an eval_strategy"
        yield config.problem(("eval_on_start",), message, "add `eval_strategy: steps` or `epoch`")


def best_model(config: Config) -> Problems:
    save, evaluate = _get(config, "save_strategy", "steps"), _get(config, "eval_strategy", "no")
    best = bool(config.get("load_best_model_at_end"))
    if save == "best" and not best and config.get("metric_for_best_model") is None:
        message = "save_strategy: best needs to know what is best"
        yield config.problem(("save_strategy",), message, "add `metric_for_best_model: loss`")
    if save == "best" and evaluate == "no":
        message = "save_strategy: best saves nothing without evaluation"
        yield config.problem(("save_strategy",), message, "add `eval_strategy: steps` or `epoch`", warning=True)
    if not best or save == "best":
        return
    key = "load_best_model_at_end"
    if save != evaluate:
        message = f"{key} needs evaluation and saving at the same time, not `{evaluate}` and `{save}`"
        yield config.problem((key,), message, "give eval_strategy and save_strategy the same value")
    elif save == "steps" and not _multiple(_get(config, "save_steps", 500), _every(config)):
        place = "save_steps" if config.has("save_steps") else key
        message = (
            f"save_steps ({_get(config, 'save_steps', 500):g}) is not a multiple of eval_steps ({_every(config):g})"
        )
        yield config.problem((place,), message, f"{key} needs each saved model evaluated: make it a multiple")


def _every(config: Config) -> float:
    """The steps between two evaluations; TRL takes those of the log where none are said."""
    return config.get("eval_steps") or _get(config, "logging_steps", 10) or 1


def _multiple(save: float, evaluate: float) -> bool:
    if save % evaluate == 0:
        return True
    if (save < 1) != (evaluate < 1):
        return False
    return save < 1 and (save * 1_000_000) % (evaluate * 1_000_000) == 0


def schedule(config: Config) -> Problems:
    kind = _get(config, "lr_scheduler_type", "linear")
    if kind in ("reduce_lr_on_plateau", "greedy") and _get(config, "eval_strategy", "no") == "no":
        message = f"lr_scheduler_type: {kind} follows the evaluation loss, and nothing is evaluated"
        yield config.problem(("lr_scheduler_type",), message, "add `eval_strategy: steps` or `epoch`")
    settings = config.get("lr_scheduler_kwargs")
    names = set(settings) if isinstance(settings, Mapping) else set()
    if isinstance(settings, str):
        return
    if kind in ("cosine_with_min_lr", "cosine_warmup_with_min_lr") and len(names & {"min_lr", "min_lr_rate"}) != 1:
        message = f"lr_scheduler_type: {kind} needs its lowest learning rate, once"
        yield config.problem(("lr_scheduler_type",), message, "add `lr_scheduler_kwargs: {min_lr_rate: 0.1}`")
    if kind == "warmup_stable_decay" and "num_decay_steps" not in names:
        message = "lr_scheduler_type: warmup_stable_decay needs the length of its decay"
        yield config.problem(("lr_scheduler_type",), message, "add `lr_scheduler_kwargs: {num_decay_steps: 100}`")
    if _streams(config) and _get(config, "max_steps", -1) <= 0:
        key = "streaming" if config.get("datasets") else "dataset_streaming"
        yield config.problem((key,), "a streamed dataset has no known length", "add `max_steps:`")


def _streams(config: Config) -> bool:
    return bool(config.get("streaming") if config.get("datasets") else config.get("dataset_streaming"))


def sequences(config: Config) -> Problems:
    packing = bool(config.get("packing"))
    endless = config.has("max_length") and config.get("max_length") is None
    eval_packing = packing if config.get("eval_packing") is None else bool(config.get("eval_packing"))
    evaluates = _get(config, "eval_strategy", "no") != "no"
    if endless and (packing or (eval_packing and evaluates)):
        key = "packing" if packing else "eval_packing"
        yield config.problem((key,), f"{key} needs a max_length to fill", "write a number, as in `max_length: 1024`")
    if config.get("padding_free") and not packing and not endless:
        message = "padding_free without packing does not cut long rows, so TRL refuses a max_length"
        yield config.problem(("padding_free",), message, "add `packing: true`, or `max_length: null`")
    if config.has("packing_strategy") and not packing and not config.get("eval_packing"):
        message = "packing_strategy is not used without packing"
        yield config.problem(("packing_strategy",), message, "add `packing: true`, or delete it", warning=True)


def resuming(config: Config) -> Problems:
    resume = config.get("resume_from_checkpoint")
    if isinstance(resume, str) and resume.lower() in ("true", "false"):
        message = f"resume_from_checkpoint is the text {resume!r}, which TRL takes for a folder"
        yield config.problem(("resume_from_checkpoint",), message, f"write {resume.lower()} without quotes")
    if config.get("save_only_model") and (resume or config.get("retries")):
        message = "with save_only_model a run cannot continue where it stopped: the optimizer is not saved"
        yield config.problem(("save_only_model",), message, "delete save_only_model", warning=True)


def secrets(config: Config) -> Problems:
    if config.get("hub_token"):
        problem = config.problem(
            ("hub_token",), "a token does not belong in a config", "put it into a Secret and name that under `secrets:`"
        )
        # Neither does it belong on the screen.
        yield problem._replace(origin=problem.origin.hidden() if problem.origin else None)


def files(config: Config) -> Problems:
    """What the config names on this machine: is it there, and is it what TRL expects."""
    yield from hugging_face.model(config, MODEL)
    yield from hugging_face.output(config, MODEL, "dataset_name")
    for key in JSON_KEYS:
        value = config.get(key)
        read = key != "fsdp_config" or config.get("fsdp")
        if read and isinstance(value, str) and not value.startswith("{"):
            yield from _json_file(config, key, value)
    for key in ("chat_template_path", "resume_from_checkpoint"):
        value = config.get(key)
        if isinstance(value, str) and value.lower() not in ("true", "false"):
            needed = looks_local(value) or value.count("/") > 1 or key == "resume_from_checkpoint"
            if needed and local_path(value, config.folder) is None:
                yield missing(config, (key,), value)


def _json_file(config: Config, key: str, value: str) -> Problems:
    path = local_path(value, config.folder)
    if path is None and value in accelerate.BY_NAME.get(key, ()):
        return
    if path is None:
        yield missing(config, (key,), value)
        return
    problems: list[Problem] = []
    hugging_face.json_mapping(config, key, path, problems)
    yield from problems


def _get(config: Config, key: str, default: Any) -> Any:
    """The value of `key`, or what TRL takes where there is none."""
    value = config.get(key)
    return default if value is None else value
