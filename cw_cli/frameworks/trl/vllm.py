"""Completions by vLLM: on the trainer's own GPUs, or by a server elsewhere."""

from __future__ import annotations

from collections.abc import Iterator

from cw_cli.core.config import Config
from cw_cli.core.problems import Problem

Problems = Iterator[Problem]

SERVER_ALONE = (
    "vllm_server_base_url",
    "vllm_server_host",
    "vllm_server_port",
    "vllm_server_timeout",
    "vllm_group_port",
)
COLOCATED_ALONE = (
    *("vllm_gpu_memory_utilization", "vllm_max_model_length", "vllm_tensor_parallel_size", "vllm_enable_sleep_mode"),
)


def checks(config: Config, gpus: int, processes: int) -> Problems:
    yield from importance(config)
    given = [key for key in (*SERVER_ALONE, *COLOCATED_ALONE, "vllm_mode") if config.has(key)]
    if not config.get("use_vllm"):
        for key in given:
            yield config.problem((key,), f"{key} is not used without use_vllm", "add `use_vllm: true`", warning=True)
        return
    mode = config.get("vllm_mode") or "colocate"
    if gpus == 0:
        message = "vLLM needs a GPU, and so does sending weights to a server with vLLM; this run has none"
        yield config.problem(("use_vllm",), message, "delete use_vllm, or ask for a GPU with `gpu: 1`")
    elif config.get("image") is None:
        message = "the image that cw takes by default has no vLLM"
        yield config.problem(("use_vllm",), message, "name one with vLLM and TRL as `image:`", warning=True)
    for key in SERVER_ALONE if mode == "colocate" else COLOCATED_ALONE:
        if config.has(key):
            other = "server" if mode == "colocate" else "colocate"
            message = f"{key} is not used with vllm_mode: {mode}"
            yield config.problem((key,), message, f"delete it, or write `vllm_mode: {other}`", warning=True)
    host = config.get("vllm_server_host")
    if mode == "server" and not config.get("vllm_server_base_url") and host in (None, "0.0.0.0"):
        message = "vllm_mode: server names no server, and cw starts none"
        remedy = "write `vllm_server_base_url: http://HOST:8000`, or `vllm_mode: colocate`"
        yield config.problem(("vllm_mode",), message, remedy)
    parallel = config.get("vllm_tensor_parallel_size") or 1
    if mode == "colocate" and gpus and processes % parallel:
        message = f"vllm_tensor_parallel_size ({parallel}) does not divide the {processes} processes of the run"
        yield config.problem(("vllm_tensor_parallel_size",), message, "write a divisor of their number")


def importance(config: Config) -> Problems:
    """The correction for vLLM's own probabilities."""
    low, key = config.get("vllm_importance_sampling_clip_min"), "vllm_importance_sampling_clip_max"
    high = config.get(key) if config.has(key) else 3.0
    if low is not None and high is not None and low >= high:
        message = f"vllm_importance_sampling_clip_min ({low:g}) is not below {key} ({high:g})"
        yield config.problem(("vllm_importance_sampling_clip_min",), message, "write a smaller number")
    mode = config.get("vllm_importance_sampling_mode") or "sequence_mask"
    corrected = config.get("vllm_importance_sampling_correction") is not False
    if corrected and mode.endswith("_truncate") and low is None and high is None:
        message = f"vllm_importance_sampling_mode: {mode} has no limit to cut at"
        yield config.problem(("vllm_importance_sampling_mode",), message, f"write a number as {key}")
    if config.get("loss_type") == "vespo" and config.get("use_vllm") and corrected and mode.startswith("sequence"):
        message = f"loss_type: vespo does not work with vllm_importance_sampling_mode: {mode}"
        yield config.problem(("loss_type",), message, "write `vllm_importance_sampling_mode: token_mask`")
