"""The trainer's side of the inference service: it claims the server, and tells TRL where it is."""

from __future__ import annotations

import http.client
import json
import os
import socket
import time
import urllib.error
import urllib.request
from typing import Any

from cw_train import GaveUpError

DEADLINE = 1800.0  # seconds that a server may take to start afresh; large models load slowly
PAUSE = 1.0


def use_inference(values: dict[str, Any]) -> None:
    """Let a config with `use_vllm` take its completions from the service that `INFERENCE_URL` names, if there is one.

    The server is claimed by one process of a run, the one that TRL lets talk to it. Raises `GaveUpError` when it stays
    away.
    """
    url = os.environ.get("INFERENCE_URL")
    if not url:
        return
    values |= {"vllm_mode": "server", "vllm_server_base_url": url}
    for key in ("vllm_tensor_parallel_size", "vllm_gpu_memory_utilization", "vllm_max_model_length"):
        values.pop(key, None)  # the server has them
    if os.environ.get("RANK", "0") == "0":
        claim(os.environ["INFERENCE_CLAIM_URL"], url, f"{socket.gethostname()}-{os.getpid()}", DEADLINE)


def claim(door: str, url: str, trainer: str, deadline: float) -> None:
    """Wait until the server is `trainer`'s and healthy; `deadline` is in seconds."""
    until = time.monotonic() + deadline
    told = False
    while True:
        try:
            if _post(f"{door}/claim", {"trainer": trainer}) == 200:
                with urllib.request.urlopen(f"{url}/health", timeout=10):
                    return
            trouble = "it starts afresh for this trainer"
        except (OSError, http.client.HTTPException) as problem:
            trouble = str(problem) or type(problem).__name__
        if time.monotonic() > until:
            raise GaveUpError(f"the inference service at {url} did not answer for {deadline:.0f} seconds: {trouble}")
        if not told:
            print(f"waiting for the inference service: {trouble}", flush=True)
            told = True
        time.sleep(PAUSE)


def _post(url: str, message: dict[str, str]) -> int:
    request = urllib.request.Request(url, data=json.dumps(message).encode())
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refusal:
        return refusal.code
