"""A profile of Accelerate, by name or file, for processes that run already: FSDP, DeepSpeed, or whatever it says.

`accelerate launch --config_file` turns a profile into environment variables, which the trainer reads, and starts
processes. Here torchrun has started them, so the variables are all that is taken; Accelerate itself writes them.
"""

from __future__ import annotations

import os
import socket
from importlib import resources
from pathlib import Path
from typing import Any

from cw_train import RefusedError

DEEPSPEED = ("zero1", "zero2", "zero3")
"""Profiles that `deepspeed:` may name as well."""

OTHERS = ("OMP_NUM_THREADS", "PYTHONPATH")
"""What the launcher sets for the processes that it starts; they have it already."""


def take_profile(config: str, values: dict[str, Any]) -> None:
    """Set the variables of the profile that `accelerate` or `deepspeed` names; it is taken out of `values`.

    Where the config itself says how precisely to compute, the profile does not. Must come before Accelerate is asked
    for anything. Raises `RefusedError` when there is no such profile.
    """
    name = values.pop("accelerate", None)
    if not name and values.get("deepspeed") in DEEPSPEED:
        name = values.pop("deepspeed")
    found = variables(config, str(name)) if name else {}
    if any(values.get(key) is not None for key in ("bf16", "fp16")):
        found.pop("ACCELERATE_MIXED_PRECISION", None)
    if "WORLD_SIZE" not in os.environ and (values.get("deepspeed") or "ACCELERATE_USE_DEEPSPEED" in found):
        found |= alone()
    os.environ.update(found)


def alone() -> dict[str, str]:
    """What torchrun tells a single process: DeepSpeed asks for it even where torchrun was not needed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}


def variables(config: str, name: str) -> dict[str, str]:
    """The environment variables that `accelerate launch` would add for a profile."""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env

    # The profile's own numbers of processes and nodes would be taken where these are not given.
    counts = {
        "--num_processes": os.environ.get("WORLD_SIZE", "1"),
        "--num_machines": "1",
        "--machine_rank": "0",
        "--main_process_port": "0",
        "--gpu_ids": "all",
    }
    words = [word for pair in counts.items() for word in pair]
    try:
        arguments = launch_command_parser().parse_args(["--config_file", str(file(config, name)), *words, "recipe"])
        arguments, profile, precise = _validate_launch_command(arguments)
        if arguments.use_deepspeed:
            said = [*profile.deepspeed_config, *(["mixed_precision"] if precise else [])]
            arguments.deepspeed_fields_from_accelerate_config = ",".join(said)
            _, environment = prepare_deepspeed_cmd_env(arguments)
        else:
            environment = prepare_multi_gpu_env(arguments)
    except (AttributeError, KeyError, TypeError, ValueError) as problem:
        raise RefusedError(f"{config}: accelerate: {name} is no profile that Accelerate takes: {problem}") from problem
    return {key: value for key, value in environment.items() if key not in OTHERS and os.environ.get(key) != value}


def file(config: str, name: str) -> Path:
    """The file of a profile; a name is that of one that TRL brings."""
    path = Path(name)
    if path.is_file():
        return path
    shipped = Path(str(resources.files("trl.accelerate_configs").joinpath(f"{name}.yaml")))
    if not shipped.is_file():
        known = ", ".join(sorted(found.stem for found in shipped.parent.glob("*.yaml")))
        raise RefusedError(
            f"{config}: accelerate: there is no profile {name}; there is {known}, or write a file's path"
        )
    return shipped
