"""`cw verifiers grpo`: prime-rl's own config handed on, checked for what a launch must know: roles, ports, folders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from cw_cli.core.config import Config
from cw_cli.core.key import Key
from cw_cli.core.launch_keys import LaunchKeys, launch_schema
from cw_cli.core.problems import KeyPath, Problem
from cw_cli.core.schema import Schema
from cw_cli.core.spelling import meant
from cw_cli.frameworks.verifiers.evals import is_loopback
from cw_cli.frameworks.verifiers.programs import Role, accounts, role, roles

Problems = Iterator[Problem]

SUBJECT = "prime-rl 0.8"
IMAGE = "primeintellect/prime-rl:main"

TAKEN = ("env",)

ADDRESS: KeyPath = ("orchestrator", "model", "client", "base_url")
"""Where the policy is served."""

ENVIRONMENTS: tuple[KeyPath, ...] = (
    *(("orchestrator", kind, name) for kind in ("train", "eval") for name in ("env", "source")),
    ("orchestrator", "env"),
)
"""Lists of what to play: `source` since the autumn of 2026, `env` before."""

FILES: tuple[KeyPath, ...] = (
    ("model", "name"),
    *(
        (*path, "*", *block, "id")
        for path in ENVIRONMENTS
        for block in (("taskset",), ("harness",), ("env", "taskset"), ("env", "*", "harness"))
    ),
)

KNOWN: dict[str, tuple[str, str]] = {
    "trainer": ("object", "The trainer: `trainer.optim.lr`, `trainer.model.lora` and so on."),
    "orchestrator": ("object", "The orchestrator: `orchestrator.batch_size`, `orchestrator.train.env` and so on."),
    "inference": ("object", "The inference server; without this block it is one of yours."),
    "model": ("object", "The model of all parts: `model.name`."),
    "tokenizer": ("object", "The tokenizer of all parts."),
    "max_steps": ("integer", "Training steps."),
    "seq_len": ("integer", "Longest sequence, in tokens."),
    "deployment": ("object", "GPUs of the trainer and of inference: `num_train_gpus`, `num_infer_gpus`."),
    "weight_broadcast": ("object", "How inference gets new weights; between pods through the output folder."),
    "ckpt": ("object", "Checkpoints: `ckpt.interval`; a run with an older run's output_dir goes on from its newest."),
    "run": ("object", "The run's name: `run.name`."),
    "resume": ("object", "What to go on from."),
    "clean": ("boolean", "Whether to delete what lies in output_dir."),
    "env_vars": ("object", "Environment variables of all parts."),
    "wandb": ("object", "Weights & Biases."),
    "monitors": ("object", "Where metrics go: `monitors.wandb`."),
    "log": ("object", "How the parts log."),
    "output_dir": ("string", "Where all parts write, on a volume that all of them see."),
    "env_server_base_port": ("integer", "First port of the environments' servers, beside the orchestrator."),
    "bench": ("boolean", "Measure instead of training."),
    "experimental": ("object", "What may change."),
}
"""prime-rl's keys at the top, with type and help. It is on no package index, so it has the last word on all others."""

_OLD = "that was verifiers' own trainer, which is gone since 0.2; prime-rl's key is `{}`"

REMOVED = {
    "learning_rate": _OLD.format("trainer.optim.lr"),
    "num_generations": _OLD.format("orchestrator.group_size"),
    "rollouts_per_example": _OLD.format("orchestrator.group_size"),
    "per_device_train_batch_size": _OLD.format("orchestrator.batch_size"),
    "batch_size": _OLD.format("orchestrator.batch_size"),
    "max_prompt_length": _OLD.format("seq_len"),
    "max_seq_len": _OLD.format("seq_len"),
    "max_tokens": _OLD.format("orchestrator.train.sampling.max_completion_tokens"),
    "temperature": _OLD.format("orchestrator.train.sampling.temperature"),
    "model_name": _OLD.format("model.name"),
    "sampling": _OLD.format("orchestrator.train.sampling"),
    "eval": "evaluations between steps stand in the block `orchestrator.eval`",
    "env": "what to play stands in `orchestrator.train.env`; environment variables are `environment`",
    "env_id": _OLD.format("orchestrator.train.env"),
    "dataset_name": _OLD.format("orchestrator.train.env"),
    "vllm_server_host": "the run starts the inference server, and the parts find it",
    "vllm_server_port": "the run starts the inference server, and the parts find it",
    "async_generation_timeout": _OLD.format("orchestrator"),
    "trainer_gpu_ids": "write `deployment.num_train_gpus`",
    "inference_gpu_ids": "write `deployment.num_infer_gpus`",
    "clean_output_dir": "a run without output_dir has a folder of its own; name another one",
    "slurm": "cw places the parts itself; delete it",
    "dry_run": "cw validate and --dry-run show what would run",
}


@cache
def schema() -> Schema:
    keys = {
        name: Key.read(name, {"type": kind, "description": text}, "grpo", required=name == "orchestrator")
        for name, (kind, text) in KNOWN.items()
    }
    return Schema(
        SUBJECT, keys, {"grpo": "Reinforcement learning with prime-rl"}, removed=REMOVED, taken=TAKEN, open=True
    )


def serves(config: Config) -> bool:
    """Whether the run starts the inference server."""
    return config.get("inference") is not None


def gpus(config: Config, part: str) -> int:
    """GPUs of `train` on each node, or of `infer`."""
    count = config.get("deployment", f"num_{part}_gpus")
    return count if isinstance(count, int) else 1


def playing(config: Config) -> list[Role]:
    """The roles of all environments; an entry without `env` is of before verifiers 0.4, with one role."""
    found = list[Role]()
    for path in ENVIRONMENTS:
        entries = config.get(*path)
        for index, entry in enumerate(entries if isinstance(entries, list) else []):
            here: KeyPath = (*path, index)
            if isinstance(entry, Mapping) and "env" in entry:
                found += roles(config, (*here, "env"), unsaid="")
            elif isinstance(entry, Mapping) and "taskset" in entry:
                found.append(role(config, here, unsaid=""))
    return found


def cross_checks(config: Config, keys: LaunchKeys) -> Problems:
    """What keeps prime-rl's parts from starting, or from finding each other."""
    yield from _unknown(config)
    yield from _old(config)
    yield from _parts(config, keys)
    yield from _transports(config, keys)
    yield from _gpus(config, keys)
    yield from _ports(config)
    yield from _elsewhere(config, ("orchestrator",))
    yield from accounts(config, keys, playing(config))
    if keys.image is None:
        message = f"the image {IMAGE} changes from day to day, and what prime-rl accepts with it"
        yield Problem(message, "name one with `image`, by its digest", None, "warning")


def _unknown(config: Config) -> Problems:
    own = launch_schema(TAKEN).keys
    for name in config.values:
        if name not in KNOWN and name not in own and name not in REMOVED:
            remedy = meant(name, [*KNOWN, *own], "prime-rl refuses what it does not know")
            yield Problem(f"{name} is not a key of {SUBJECT}", remedy, config.key_origin(name), "warning")


def _old(config: Config) -> Problems:
    """Blocks of verifiers 0.1's own trainer."""
    for path, new in ((("trainer", "args"), "trainer.optim"), (("inference", "args"), "inference.model")):
        if config.get(*path) is not None:
            message = f"{_shown(path)} is of verifiers 0.1, whose trainer is gone since 0.2"
            yield Problem(message, f"write prime-rl's keys: `{new}` and so on", config.key_origin(*path))


def _parts(config: Config, keys: LaunchKeys) -> Problems:
    trained = any(config.get(*path) for path in ENVIRONMENTS if "eval" not in path)
    if config.has("orchestrator") and not trained:
        message = "orchestrator names no environment to train in"
        yield config.problem(("orchestrator",), message, "add a block `[[orchestrator.train.env]]` with a taskset")
    url = config.get(*ADDRESS)
    if not serves(config) and not url:
        message = "there is neither an inference block nor a server of yours"
        remedy = "add `[inference]`, or orchestrator.model.client.base_url"
        yield Problem(message, remedy, config.key_origin("orchestrator"))
    elif serves(config) and url:
        message = "the run starts the inference server, and its address is not known yet"
        yield config.problem(ADDRESS, message, "delete it")
    kind = config.get("deployment", "type")
    if kind not in (None, "single_node"):
        remedy = "delete it; `nodes` says how many nodes the trainer takes"
        yield config.problem(("deployment", "type"), f"deployment.type {kind} is for SLURM", remedy)
    if keys.retries:
        message = "prime-rl's parts start together: a trainer that is started again alone does not fit the others"
        yield config.problem(("retries",), message, "delete it; `cw rerun` goes on from the checkpoints in output_dir")


def _transports(config: Config, keys: LaunchKeys) -> Problems:
    """Rollouts and weights go through the output folder, which every part sees; other ways need addresses."""
    for block, refused in (("weight_broadcast", "nccl"), ("rollout_transport", "zmq")):
        for around in ((), ("trainer",), ("orchestrator",)):
            path: KeyPath = (*around, block, "type")
            if config.get(*path) == refused:
                message = f"{_shown(path)} {refused} connects pods directly, which cw does not arrange"
                yield config.problem(path, message, "write filesystem: it goes through the output folder")
    if "model-checkpoints" in keys.dropped_volumes and not keys.volumes:
        message = "prime-rl's parts hand each other rollouts and weights through a volume, and there is none"
        yield config.problem(("volumes",), message, "name a claim that several nodes can mount (ReadWriteMany)")


def _gpus(config: Config, keys: LaunchKeys) -> Problems:
    service = keys.services.get("inference")
    if service and (service.replicas or 1) > 1:
        message = "each inference server gets new weights at its own address, and replicas share one"
        yield config.problem(("services", "inference", "replicas"), message, "raise `deployment.num_infer_gpus`")
    told: list[tuple[KeyPath, int | None, str]] = [(("gpu",), keys.resources.gpu, "train")]
    told += [(("services", "inference", "gpu"), service.resources.gpu, "infer")] if service else []
    for path, count, part in told:
        if count == 0:
            message = f"{_shown(path)} is 0, and prime-rl works on GPUs alone"
            yield config.problem(path, message, "run it where there are some: a cluster, or a machine that has them")
        elif count is not None and count != gpus(config, part):
            shown, key = _shown(path), f"deployment.num_{part}_gpus"
            message = f"{shown} says {count} GPUs and {key} {gpus(config, part)}"
            yield config.problem(path, message, f"write `{key}: {count}` as well")
    for block, names in (("parallel", ("tp", "dp")), ("vllm", ("tensor_parallel_size", "data_parallel_size"))):
        tp, dp = (config.get("inference", block, name) for name in names)
        if isinstance(tp, int) and isinstance(dp, int) and tp * dp != gpus(config, "infer"):
            message = f"inference.{block} asks for {tp} x {dp} GPUs, and there are {gpus(config, 'infer')}"
            yield config.problem(("inference", block), message, "make deployment.num_infer_gpus their product")


def _ports(config: Config) -> Problems:
    """Two servers of one pod cannot share a port, and the inference service has a fixed one."""
    port = config.get("inference", "server", "port")
    if port not in (None, 8000):
        message = f"inference.server.port {port}: the run's service is at 8000, and cw sets it so"
        yield config.problem(("inference", "server", "port"), message, "delete it", warning=True)
    base = config.get("env_server_base_port")
    if isinstance(base, int) and not 1024 <= base <= 60000:
        message = f"env_server_base_port cannot be {base}"
        yield config.problem(("env_server_base_port",), message, "write a port between 1024 and 60000")


def _elsewhere(config: Config, path: KeyPath) -> Problems:
    """Servers beside the run, such as a teacher's, that another pod would not reach at the address given."""
    value = config.get(*path)
    if isinstance(value, Mapping):
        for name in value:
            if (*path, name) != ADDRESS:
                yield from _elsewhere(config, (*path, name))
    elif isinstance(value, list):
        for index in range(len(value)):
            yield from _elsewhere(config, (*path, index))
    elif "base_url" in path and isinstance(value, str) and is_loopback(value):
        message = f"{_shown(path)} {value} is the orchestrator itself: in a cluster, its own pod"
        yield config.problem(path, message, "write the address of a server that the pods reach", warning=True)


def _shown(path: KeyPath) -> str:
    return ".".join(map(str, path))


def summary(config: Config) -> dict[str, Any]:
    """What the templates need to know."""
    return {"serves": serves(config), "server": "prime_rl", "image": IMAGE}
