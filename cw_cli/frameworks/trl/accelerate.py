"""The key `accelerate`: a profile of Accelerate by name or file, of which cw takes all but how many processes start."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from cw_cli.core.config import Config
from cw_cli.core.paths import local_path, looks_local
from cw_cli.core.problems import Problem
from cw_cli.core.spelling import nearest
from cw_cli.core.yaml_reader import read_yaml
from cw_cli.frameworks.trl.files import BY_NAME, missing

Problems = Iterator[Problem]

KEY = "accelerate"
NAMES = {
    "fsdp1": "FSDP",
    "fsdp2": "FSDP",
    "multi_gpu": "MULTI_GPU",
    "single_gpu": "NO",
    "zero1": "DEEPSPEED",
    "zero2": "DEEPSPEED",
    "zero3": "DEEPSPEED",
}
"""The profiles that TRL brings, and how each spreads a model."""

_PARALLEL = "parallelism_config_"
PARALLEL = tuple(
    _PARALLEL + name
    for name in (
        *("dp_replicate_size", "dp_shard_size", "tp_size", "cp_size", "cp_backend", "cp_comm_strategy"),
        *("sp_size", "sp_backend", "sp_seq_length", "sp_seq_length_is_variable", "sp_attn_implementation"),
    )
)
"""What Accelerate reads of a profile's `parallelism_config:`; the rest it drops without a word."""

SPEC: dict[str, Any] = {
    "type": ["string", "null"],
    "default": None,
    "description": "How the model is spread over GPUs: a profile of Accelerate, by the name that TRL gives it "
    f"({', '.join(NAMES)}) or the path of a file. How many processes start is up to `gpu` and `nodes`.",
}


class Profile(NamedTuple):
    kind: str
    """Accelerate's own word: FSDP, DEEPSPEED, MULTI_GPU, NO, …"""
    settings: Mapping[str, Any] = {}


def checks(config: Config, gpus: int, nodes: int) -> Problems:
    """`gpus` are those of each node."""
    value = config.get(KEY)
    key = KEY
    if value is None and config.get("deepspeed") in BY_NAME["deepspeed"]:
        key, value = "deepspeed", config.get("deepspeed")
    if value is None:
        return
    problems: list[Problem] = []
    profile = Profile(NAMES[value]) if value in NAMES else _file(config, value, problems)
    yield from problems
    if profile is None:
        return
    yield from _own(config, value, profile, gpus * nodes)
    if profile.kind == "FSDP" and gpus * nodes < 2:
        message = f"{key}: {value} spreads a model over several GPUs, and this run has not got them"
        yield config.problem((key,), message, f"delete {key}, or ask for more with `gpu:`")
    elif profile.kind == "DEEPSPEED" and gpus == 0:
        message = f"{key}: {value} is DeepSpeed, which needs a GPU"
        yield config.problem((key,), message, f"delete {key}, or ask for a GPU with `gpu: 1`")
    for other in ("fsdp", "deepspeed") if key == KEY else ():
        if config.get(other) and profile.kind in ("FSDP", "DEEPSPEED"):
            message = f"{other} and {key} both say how the model is spread"
            yield config.problem((other,), message, "keep one of them")


def _file(config: Config, value: str, problems: list[Problem]) -> Profile | None:
    path = local_path(value, config.folder)
    if path is None:
        if looks_local(value) or "/" in value:
            problems.append(missing(config, (KEY,), value))
        else:
            near = nearest(value, NAMES)
            remedy = f"did you mean {near}?" if near else f"write one of {', '.join(NAMES)}, or the path of a file"
            problems.append(config.problem((KEY,), f"{KEY}: there is no profile {value}", remedy))
        return None
    return _read(config, value, path, problems)


def _read(config: Config, value: str, path: Path, problems: list[Problem]) -> Profile | None:
    try:
        document = read_yaml(path.read_text("utf-8"), str(path))
    except (OSError, ValueError) as error:
        problems.append(config.problem((KEY,), f"{KEY}: {value} cannot be read: {error}", "check the file"))
        return None
    problems.extend(document.problems)
    if document.problems:
        return None
    kind = document.value.get("distributed_type") if isinstance(document.value, Mapping) else None
    if not isinstance(kind, str | bool):
        message = f"{KEY}: {value} is no profile of Accelerate: it has no distributed_type"
        problems.append(config.problem((KEY,), message, "write one with `accelerate config --config_file FILE`"))
        return None
    # An unquoted NO is a word here, and false for programs that read YAML 1.1.
    return Profile(str(kind).upper() if kind is not False else "NO", document.value)


def _own(config: Config, value: str, profile: Profile, processes: int) -> Problems:
    """What a file says that cannot be, or that cw decides."""
    if profile.kind not in NAMES.values():
        message = f"{KEY}: {value} is for {profile.kind}, which cw does not start"
        yield config.problem((KEY,), message, f"cw takes {', '.join(sorted(set(NAMES.values())))}")
    place = str(profile.settings.get("compute_environment", "LOCAL_MACHINE"))
    if place != "LOCAL_MACHINE":
        message = f"{KEY}: {value} is for {place}"
        yield config.problem((KEY,), message, "write `compute_environment: LOCAL_MACHINE` into it")
    deepspeed = profile.settings.get("deepspeed_config")
    if isinstance(deepspeed, Mapping) and deepspeed.get("deepspeed_config_file"):
        message = f"{KEY}: {value} names another file, which does not travel with it"
        remedy = f"write `deepspeed: {deepspeed['deepspeed_config_file']}` into the config instead of {KEY}"
        yield config.problem((KEY,), message, remedy)
    fsdp = profile.settings.get("fsdp_config")
    wrapped = isinstance(fsdp, Mapping) and fsdp.get("fsdp_activation_checkpointing")
    if wrapped and _checkpoints(config):
        message = f"{KEY}: {value} turns checkpointing on, and so does the trainer"
        yield config.problem((KEY,), message, "add `gradient_checkpointing: false`")
    yield from _parallel(config, value, profile.settings.get("parallelism_config"))
    said = profile.settings.get("num_processes")
    if isinstance(said, int) and said != max(processes, 1):
        message = f"num_processes: {said} of {value} is not used: this run has {max(processes, 1)}"
        yield config.problem((KEY,), message, "how many there are is up to `gpu:` and `nodes:`", warning=True)


def _parallel(config: Config, value: str, settings: Any) -> Problems:
    given = settings if isinstance(settings, Mapping) else {}
    for name in given:
        if name not in PARALLEL:
            near = nearest(str(name), PARALLEL)
            remedy = f"did you mean {near}?" if near else f"it may hold {', '.join(PARALLEL)}"
            message = f"{KEY}: Accelerate does not read {name}, which parallelism_config of {value} holds"
            yield config.problem((KEY,), message, remedy)
    backend = given.get(f"{_PARALLEL}cp_backend")
    if backend not in (None, "torch"):
        message = f"{KEY}: {_PARALLEL}cp_backend of {value} cannot be {backend}"
        remedy = f"sequences are split by DeepSpeed with {_PARALLEL}sp_size and {_PARALLEL}sp_backend"
        yield config.problem((KEY,), message, remedy)


def _checkpoints(config: Config) -> bool:
    new = config.get("activation_checkpointing")
    return bool(new) if new is not None else config.get("gradient_checkpointing") is not False
