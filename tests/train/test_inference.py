"""vLLM as a service of the run: its command, whose it is, and a GRPO run that takes its completions from one."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

LAB = Path(__file__).with_name("inference_lab")
ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "examples" / "quickstart" / "model"

pytest.importorskip("trl", reason="TRL is not installed: pip install cw-cli[train]")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    program = tmp_path / "bin" / "vllm"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {LAB / "server.py"} "$@"\n')
    program.chmod(0o755)
    port, claim = free_port(), free_port()
    return {
        **os.environ,
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT / 'containers'}:{LAB / 'site'}",
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "CLAIM_PORT": str(claim),
        "INFERENCE_URL": f"http://127.0.0.1:{port}",
        "INFERENCE_CLAIM_URL": f"http://127.0.0.1:{claim}",
        "VLLM_HOST_IP": "127.0.0.1",
        "CUDA_VISIBLE_DEVICES": "",
        "LAB_NOTES": str(tmp_path / "notes.jsonl"),
        "LAB_WEIGHTS": str(tmp_path / "weights.pt"),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    rows = [{"prompt": f"The {animal}"} for animal in ("fox", "owl", "cat", "dog")] * 4
    (tmp_path / "data" / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "rewards.py").write_text(
        "def letters(completions, **columns):\n    return [float(text.count('e')) for text in completions]\n"
    )
    path = tmp_path / "config.yaml"
    path.write_text(f"""
model_name_or_path: {MODEL}
dataset_name: {tmp_path / "data"}
output_dir: {tmp_path / "out"}
reward_funcs: {tmp_path / "rewards.py"}:letters
use_vllm: true
vllm_tensor_parallel_size: 1
per_device_train_batch_size: 4
num_generations: 4
max_completion_length: 8
learning_rate: 3.0e-2
max_steps: 3
logging_steps: 1
save_strategy: "no"
report_to: none
use_cpu: true
bf16: false
""")
    return path


@pytest.fixture
def serve(environment: dict[str, str], config: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Start the service and wait until it is healthy."""
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "cw_train", "serve_vllm", "--config", str(config)]
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        started.append(process)
        until = time.monotonic() + 60
        while not answers(environment):
            assert process.poll() is None and time.monotonic() < until, process.communicate(timeout=5)
            time.sleep(0.1)
        return process

    yield start
    for process in started:
        process.terminate()
        process.communicate(timeout=30)


def answers(environment: dict[str, str]) -> bool:
    try:
        return urllib.request.urlopen(f"{environment['INFERENCE_URL']}/health", timeout=5).status == 200
    except OSError:
        return False


def claim(environment: dict[str, str], message: Any) -> int:
    request = urllib.request.Request(f"{environment['INFERENCE_CLAIM_URL']}/claim", data=json.dumps(message).encode())
    try:
        return urllib.request.urlopen(request, timeout=10).status
    except urllib.error.HTTPError as refusal:
        return refusal.code


def notes(environment: dict[str, str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(environment["LAB_NOTES"]).read_text().splitlines()]


@pytest.mark.parametrize(("gpus", "version"), [(1, (0, 22)), (4, (0, 31))])
@pytest.mark.parametrize(
    ("keys", "fields"),
    [
        ({}, {}),
        (
            {"model_revision": "v1", "vllm_max_model_length": 2048, "trust_remote_code": True},
            {"revision": "v1", "max_model_len": 2048, "trust_remote_code": True},
        ),
        (
            {"vllm_gpu_memory_utilization": 0.8, "vllm_model_impl": "transformers"},
            {"gpu_memory_utilization": 0.8, "vllm_model_impl": "transformers"},
        ),
    ],
)
def test_the_command_is_trls_own(
    keys: dict[str, Any], fields: dict[str, Any], gpus: int, version: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    from cw_train.serve_vllm import vllm_command
    from trl.scripts import vllm_serve

    for name in ("HOST", "PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(
        vllm_serve, "is_vllm_available", lambda min_version: version >= tuple(map(int, min_version.split(".")[:2]))
    )
    theirs = vllm_serve.build_command(vllm_serve.ScriptArguments("m", tensor_parallel_size=gpus, **fields))
    ours = vllm_command({"model_name_or_path": "m", **keys}, gpus, version)
    assert ours[:2] == ["vllm", "serve"]
    assert sorted(ours[2:]) == sorted(theirs[theirs.index("serve") + 1 :])


def test_gpus_that_a_model_cannot_be_spread_over_are_refused() -> None:
    from cw_train import RefusedError
    from cw_train.serve_vllm import vllm_command

    values = {"model_name_or_path": "m", "vllm_tensor_parallel_size": 2}
    command = vllm_command(values, 4, (0, 31))
    assert command[command.index("--data-parallel-size") + 1] == "2"
    with pytest.raises(RefusedError, match="does not divide the 3 GPUs"):
        vllm_command(values, 3, (0, 31))


def test_a_server_belongs_to_one_trainer(
    serve: Callable[[], subprocess.Popen[str]], environment: dict[str, str]
) -> None:
    server = serve()
    assert claim(environment, ["nonsense"]) == 400
    assert [claim(environment, {"trainer": name}) for name in ("one", "one", "two")] == [200, 200, 409]
    out, _ = server.communicate(timeout=30)
    assert server.returncode == 1 and "another trainer claims this server: it starts afresh" in out
    assert not answers(environment)
    serve()
    assert claim(environment, {"trainer": "two"}) == 200


def test_it_ends_with_its_server_when_it_is_told_to(
    serve: Callable[[], subprocess.Popen[str]], environment: dict[str, str]
) -> None:
    server = serve()
    server.send_signal(signal.SIGTERM)
    assert server.wait(30) == 0
    assert not answers(environment)


def test_it_fails_with_its_server(environment: dict[str, str], config: Path) -> None:
    config.write_text("model_name_or_path: /no/such/model\n")
    command = [sys.executable, "-m", "cw_train", "serve_vllm", "--config", str(config)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "error: vLLM ended by itself with exit code 1" in done.stderr


def test_an_image_without_vllm_is_named(environment: dict[str, str], config: Path) -> None:
    command = [sys.executable, "-m", "cw_train", "serve_vllm", "--config", str(config)]
    without = {**environment, "PYTHONPATH": str(ROOT / "containers")}
    done = subprocess.run(command, env=without, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "this image has no vLLM" in done.stderr


@pytest.mark.timeout(240)
def test_a_trainer_takes_its_completions_from_the_service(
    serve: Callable[[], subprocess.Popen[str]], environment: dict[str, str], config: Path
) -> None:
    """TRL's own client against the endpoints. The server has the trainer's weights at each step: the chances of what
    it wrote are those that the trainer finds."""
    serve()
    command = [sys.executable, str(LAB / "trainer.py"), "trl_grpo", "--config", str(config)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    said = [note["path"] for note in notes(environment)]
    assert said.count("/v1/completions") == 3
    assert said.index("/init_weight_transfer_engine") < said.index("/v1/completions")
    assert said.count("/update_weights") == said.count("/reset_prefix_cache") >= 2
    (init,) = [note["init"] for note in notes(environment) if note.get("init")]
    assert init == {
        "master_address": "127.0.0.1",
        "master_port": 51216,
        "rank_offset": 1,
        "world_size": 2,
        "packed": True,
    }
    rows = [json.loads(line) for line in (config.parent / "out" / "metrics.jsonl").read_text().splitlines()]
    ratios = [row["sampling/importance_sampling_ratio/mean"] for row in rows]
    assert ratios == pytest.approx([1, 1, 1], abs=0.02)


@pytest.mark.timeout(240)
def test_a_model_that_is_distilled_writes_its_completions_there(
    serve: Callable[[], subprocess.Popen[str]], environment: dict[str, str], config: Path
) -> None:
    """The student's weights are at the server before each step's completions; one is asked for of each prompt."""
    values = yaml.safe_load(config.read_text())
    for key in ("reward_funcs", "num_generations"):
        del values[key]
    values |= {"teacher_model_name_or_path": str(ROOT / "examples" / "distillation" / "teacher"), "beta": 0}
    values |= {"gradient_accumulation_steps": 2, "log_completions": False}
    config.write_text(yaml.safe_dump(values))
    serve()
    command = [sys.executable, str(LAB / "trainer.py"), "trl_distillation", "--config", str(config)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    said = [note["path"] for note in notes(environment)]
    assert said.count("/v1/completions") == 3
    assert said.count("/update_weights") == said.count("/reset_prefix_cache") >= 2
    assert [note["prompts"] for note in notes(environment) if note["path"] == "/v1/completions"] == [8, 8, 8]
    rows = [json.loads(line) for line in (config.parent / "out" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3]
    assert all(row["loss"] > 0 for row in rows)
