"""vLLM beside a trainer: `vllm serve` as TRL 1.16 needs it, and a door at which a trainer claims the server.

TRL sends its weights to the server over NCCL, in a group that both sides open once. A trainer that starts again finds
the old group in a server that still runs, and hangs. So a server belongs to the trainer that claims it first; when
another asks, the server ends, is started afresh by whoever looks after it, and belongs to the new one.

    POST /claim {"trainer": "…"}  →  200 it is yours, 409 it belonged to another and ends now
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cw_train import GaveUpError, RefusedError
from cw_train.from_data import read_config

END_SECONDS = 20.0  # for vLLM to end its workers


def main(config: str) -> None:
    # 1. The config: the trainer's own.
    values = read_config(config)
    os.environ.update({name: str(value) for name, value in values.pop("env", {}).items()})
    command = vllm_command(values, gpus_here(), vllm_version())
    # The endpoints that take weights exist only in this mode. Nobody but the run's pods may reach them.
    environment = {**os.environ, "VLLM_SERVER_DEV_MODE": "1"}

    # 2. The server, and the door beside it.
    print(f"starting {shlex.join(command)}", flush=True)
    server = subprocess.Popen(command, env=environment)
    claims = Claims()
    door = Door((os.environ.get("HOST", ""), int(os.environ.get("CLAIM_PORT", "8001"))), handler(claims))
    threading.Thread(target=door.serve_forever, daemon=True).start()

    # 3. Until it ends, or has to.
    asked = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked.set())
    while server.poll() is None and not asked.is_set() and not claims.lost.is_set():
        asked.wait(0.2)
    if server.poll() is None:
        server.terminate()
        try:
            server.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
    elif not asked.is_set():
        raise GaveUpError(f"vLLM ended by itself with exit code {server.returncode}")
    if claims.lost.is_set():
        raise GaveUpError("another trainer claims this server: it starts afresh")


def vllm_command(values: dict[str, Any], gpus: int, version: tuple[int, ...]) -> list[str]:
    """What TRL's own `vllm-serve` would run for the model of this config on so many GPUs.

    Raises `RefusedError` when the model cannot be spread over them.
    """
    tensor = values.get("vllm_tensor_parallel_size") or gpus
    if gpus % tensor:
        raise RefusedError(f"vllm_tensor_parallel_size ({tensor}) does not divide the {gpus} GPUs of this service")
    command = ["vllm", "serve", str(values["model_name_or_path"])]
    command += ["--host", os.environ.get("HOST", "0.0.0.0"), "--port", os.environ.get("PORT", "8000")]
    command += ["--tensor-parallel-size", str(tensor), "--data-parallel-size", str(gpus // tensor)]
    command += ["--gpu-memory-utilization", str(values.get("vllm_gpu_memory_utilization") or 0.9)]
    command += ["--dtype", "auto", "--kv-cache-dtype", "auto"]
    command += ["--model-impl", str(values.get("vllm_model_impl") or "vllm"), "--uvicorn-log-level", "info"]
    for option, key in (("--revision", "model_revision"), ("--max-model-len", "vllm_max_model_length")):
        if values.get(key) is not None:
            command += [option, str(values[key])]
    if values.get("trust_remote_code"):
        command += ["--trust-remote-code"]
    if version >= (0, 30):  # what reads the images of prompts has a switch of its own since then
        command += ["--enable-scale-out"]
    # Weights come over NCCL; probabilities are those after temperature, as many of them as TRL asks for.
    command += ["--weight-transfer-config", json.dumps({"backend": "nccl"})]
    return [*command, "--logprobs-mode", "processed_logprobs", "--max-logprobs", "-1"]


def vllm_version() -> tuple[int, ...]:
    """Of the vLLM in this image; raises `RefusedError` when there is none."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return tuple(int(part) for part in version("vllm").split(".")[:2])
    except PackageNotFoundError:
        raise RefusedError("this image has no vLLM: name one that has it, and TRL, as `image:`") from None


def gpus_here() -> int:
    """GPUs of this container; vLLM looks for them itself, so counting none is no mistake."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return max(len([name for name in visible.split(",") if name.strip()]), 1)
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False).stdout
    except OSError:
        return 1
    return max(listed.count("GPU "), 1)


class Claims:
    """Whose server this is."""

    def __init__(self) -> None:
        self.trainer: str | None = None
        self.lost = threading.Event()
        self.lock = threading.Lock()

    def take(self, trainer: str) -> bool:
        """Whether the server is the trainer's."""
        with self.lock:
            self.trainer = self.trainer or trainer
            if self.trainer != trainer:
                self.lost.set()
            return not self.lost.is_set()


class Door(ThreadingHTTPServer):
    daemon_threads = True


def handler(claims: Claims) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            try:
                asked = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
                trainer = str(asked["trainer"])
            except (ValueError, KeyError, TypeError):
                return self.answer(400, 'write {"trainer": "its name"}')
            if claims.take(trainer):
                return self.answer(200, "it is yours")
            return self.answer(409, "it belonged to another trainer and starts afresh")

        def answer(self, status: int, sentence: str) -> None:
            body = json.dumps({"said": sentence}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """A trainer asks once; the vLLM log is what counts."""

    return Handler
