"""vLLM beside or inside a trainer: when a run gets an inference service, and what both sides have to agree on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cw_cli.core.config import Config
from cw_cli.core.launch_keys import LaunchKeys
from cw_cli.core.problems import Problem
from cw_cli.core.resources import Resources
from cw_cli.core.schema import Renamed
from cw_cli.frameworks.trl.rules import ABOVE_0, AT_LEAST_0, AT_LEAST_1

Problems = Iterator[Problem]

ROLE = "inference"
OF_A_SERVER = ("vllm_server_base_url", "vllm_server_host", "vllm_server_port")
"""Where a server of the user's own is."""
OF_A_CONNECTION = ("vllm_server_timeout", "vllm_group_port")
OF_VLLM = ("vllm_gpu_memory_utilization", "vllm_max_model_length", "vllm_tensor_parallel_size")
"""How vLLM runs, wherever that is; a server of the user's own was told already."""
COLOCATED = ("vllm_enable_sleep_mode",)
GROUP_PORT = 51216
"""Where TRL's main process waits for the server's workers, in the trainer's pod."""

OVERLAY: dict[str, dict[str, Any]] = {
    # Free text in the dataclasses; refused once the model is loaded.
    "vllm_mode": {"enum": ["server", "colocate"]},
    "vllm_model_impl": {"enum": ["vllm", "transformers", "auto"]},
    "vllm_gpu_memory_utilization": {**ABOVE_0, "maximum": 1},
    "vllm_tensor_parallel_size": AT_LEAST_1,
    "vllm_max_model_length": AT_LEAST_1,
    "vllm_server_timeout": AT_LEAST_0,
}

RENAMED = {
    "vllm_guided_decoding_regex": Renamed("vllm_structured_outputs_regex"),
    "vllm_max_model_len": Renamed("vllm_max_model_length"),
}

_SERVER = "it is an option of `vllm serve`"
REMOVED = {
    "vllm_device": "vLLM runs on the trainer's GPUs (`vllm_mode: colocate`) or as a server of its own",
    "vllm_dtype": _SERVER,
    "vllm_enable_prefix_caching": _SERVER,
}


def is_served(config: Config) -> bool:
    """Whether cw starts an inference service: vLLM is wanted, not inside the trainer, and no server is named."""
    return bool(config.get("use_vllm")) and config.get("vllm_mode") != "colocate" and not _named(config)


def resources(config: Config) -> Resources:
    """Of the inference service: a GPU for each of vLLM's workers."""
    asked = config.get("services", ROLE, "gpu")
    gpu = asked if isinstance(asked, int) else config.get("vllm_tensor_parallel_size") or 1
    return Resources(gpu=gpu, cpu=str(8 * gpu), memory=f"{64 * gpu}Gi")


def checks(config: Config, keys: LaunchKeys, gpus: int) -> Problems:
    """`gpus` are those of each node of the trainer."""
    if not config.get("use_vllm"):
        for key in (*OF_A_SERVER, *OF_A_CONNECTION, *OF_VLLM, *COLOCATED, "vllm_mode"):
            if config.has(key):
                yield config.problem(
                    (key,), f"{key} is not used without use_vllm", "add `use_vllm: true`", warning=True
                )
        return
    if gpus == 0:
        message = "vLLM needs a GPU, and so does sending weights to a server with vLLM; this run has none"
        yield config.problem(("use_vllm",), message, "delete use_vllm, or ask for a GPU with `gpu: 1`")
    elif keys.image is None:
        message = "the image that cw takes by default has no vLLM"
        remedy = "name one with vLLM and TRL as `image:`; cw images build trl --vllm makes one"
        yield config.problem(("use_vllm",), message, remedy, warning=True)
    yield from _unused(config)
    if is_served(config):
        yield from _served(config, keys)
    else:
        yield from _parallel(config, gpus * keys.resources.nodes)


def _named(config: Config) -> bool:
    return bool(config.get("vllm_server_base_url")) or config.get("vllm_server_host") not in (None, "0.0.0.0")


def _unused(config: Config) -> Problems:
    """Keys of another way to run vLLM than the one that was chosen."""
    colocated, served = config.get("vllm_mode") == "colocate", is_served(config)
    where = "inside the trainer" if colocated else "in a service of the run" if served else "on your own server"
    wrong = [
        *((*OF_A_SERVER, *OF_A_CONNECTION) if colocated else OF_A_SERVER if served else OF_VLLM),
        *(() if colocated else COLOCATED),
    ]
    for key in wrong:
        if config.has(key):
            message = f"{key} is not used: vLLM runs {where}"
            yield config.problem((key,), message, "delete it, or choose another `vllm_mode:`", warning=True)


def _parallel(config: Config, processes: int) -> Problems:
    parallel = config.get("vllm_tensor_parallel_size") or 1
    if config.get("vllm_mode") == "colocate" and processes and processes % parallel:
        message = f"vllm_tensor_parallel_size ({parallel}) does not divide the {processes} processes of the run"
        yield config.problem(("vllm_tensor_parallel_size",), message, "write a divisor of their number")


def _served(config: Config, keys: LaunchKeys) -> Problems:
    """What the service and the trainer have to agree on, or would wait for each other for ever."""
    own = keys.services.get(ROLE)
    if config.get("vllm_mode") is None:
        gpu = (own.resources.gpu if own else None) or resources(config).gpu
        count = "a GPU" if gpu == 1 else f"{gpu} GPUs"
        message = f"vLLM runs in a service of its own, on {count} beside the trainer's"
        remedy = "write `vllm_mode: server` to say so, or `vllm_mode: colocate` to run it on the trainer's own GPUs"
        yield config.problem(("use_vllm",), message, remedy, warning=True)
    length, completion = config.get("vllm_max_model_length"), config.get("max_completion_length") or 512
    if length is not None and length <= completion:
        message = f"vllm_max_model_length ({length}) leaves no room for a prompt before {completion} tokens"
        yield config.problem(("vllm_max_model_length",), message, f"write more than {completion}")
    if own is None:
        return
    place = ("services", ROLE)
    if (own.replicas or 1) > 1:
        message = "TRL sends its weights to one inference server, and the other replicas would keep the old ones"
        yield config.problem((*place, "replicas"), message, "delete it; `gpu: N` makes the one server faster")
    gpu, tensor = own.resources.gpu, config.get("vllm_tensor_parallel_size")
    if gpu and tensor and gpu % tensor:
        message = f"vllm_tensor_parallel_size ({tensor}) does not divide the {gpu} GPUs of the inference service"
        yield config.problem(("vllm_tensor_parallel_size",), message, "write a divisor of their number")
    if own.image not in (None, keys.image):
        message = "trainer and inference service have different images: their NCCL and vLLM have to be the same"
        yield config.problem((*place, "image"), message, "delete it, and name the image of both as `image:`")
    for name, value in own.env.items():
        if name.startswith("NCCL_") and keys.env.get(name) != value:
            message = f"{name} is set for the inference service alone: both sides need the same or they hang"
            yield config.problem((*place, "env", name), message, "write it under the run's own `env:`")
