"""The model server without vLLM: what an OpenAI client asks, and what it is answered."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cw_train.serve_model import Server, Writer, handler, vllm_command
from training_lab import QUICKSTART, Lab

MODEL = str(QUICKSTART / "model")


class Door:
    """The server's address, and requests to it."""

    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self.server = Server(("127.0.0.1", 0), handler(writer))
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def ask(self, path: str, body: Any = None) -> tuple[int, str]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def chat(self, **changes: Any) -> tuple[int, Any]:
        messages = [{"role": "user", "content": "The fox goes back to the"}]
        asked = {"model": MODEL, "messages": messages, "temperature": 0, "max_tokens": 5} | changes
        status, text = self.ask("/v1/chat/completions", asked)
        return status, json.loads(text)


@pytest.fixture(scope="module")
def door(lab: Lab) -> Iterator[Door]:
    made = Door(Writer(MODEL))
    assert made.ask("/health")[0] == 503
    assert made.chat()[0] == 503
    made.writer.load()
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_health_and_the_models_name(door: Door) -> None:
    assert door.ask("/health") == (200, '{"status": "ready"}')
    status, text = door.ask("/v1/models")
    assert (status, json.loads(text)["data"][0]["id"]) == (200, MODEL)
    assert door.ask("/v2")[0] == 404


def test_an_answer_is_greedy_at_temperature_0_and_counted(door: Door) -> None:
    status, answer = door.chat()
    assert status == 200
    choice = answer["choices"][0]
    assert choice["message"]["role"] == "assistant"
    assert choice["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 5
    assert answer["object"] == "chat.completion"
    assert door.chat()[1]["choices"][0]["message"] == choice["message"]


def test_a_stream_says_the_same_in_parts(door: Door) -> None:
    whole = door.chat()[1]
    body = {"model": MODEL, "stream": True, "temperature": 0, "max_tokens": 5}
    messages = [{"role": "user", "content": [{"type": "text", "text": "The fox goes back to the"}]}]
    _, text = door.ask("/v1/chat/completions", {**body, "messages": messages})
    *parts, end = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    assert end == "[DONE]"
    said, finish, usage = map(json.loads, parts)
    assert said["choices"][0]["delta"]["content"] == whole["choices"][0]["message"]["content"]
    assert finish["choices"][0]["finish_reason"] == "length"
    assert usage["usage"] == whole["usage"]


def test_plain_completions_and_stop_words(door: Door) -> None:
    body = {"model": MODEL, "prompt": "The fox", "temperature": 0, "max_tokens": 8}
    text = json.loads(door.ask("/v1/completions", body)[1])["choices"][0]["text"]
    assert text
    stop = text[2:4]
    _, answer = door.ask("/v1/completions", {**body, "stop": [stop]})
    choice = json.loads(answer)["choices"][0]
    assert choice["text"] == text[: text.index(stop)]
    assert choice["finish_reason"] == "stop"


def test_sampling_follows_a_seed(door: Door) -> None:
    said = [door.chat(temperature=1.0, seed=seed)[1]["choices"][0]["message"]["content"] for seed in (1, 1, 2)]
    assert said[0] == said[1] != said[2]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"n": 2}, "gives one text"),
        ({"logprobs": True}, "no log-probabilities"),
        ({"messages": [{"role": "user", "content": "fox " * 500}]}, "the model has room for 128"),
        ({"temperature": "warm"}, "the request cannot be used"),
    ],
)
def test_what_it_cannot_do_is_refused_with_a_sentence(door: Door, changes: dict[str, Any], says: str) -> None:
    status, answer = door.chat(**changes)
    assert status == 400
    assert says in answer["error"]["message"]


def test_flags_of_vllm_come_from_the_config(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("cw_train.serve_model.gpus_here", lambda: 4)
    monkeypatch.delenv("HOST", raising=False)
    flags = {"max_model_len": 8192, "enable_prefix_caching": False, "trust-remote-code": True, "hf_overrides": {"a": 1}}
    program, *words = vllm_command("owner/model", 8000, flags | {"dtype": None})
    assert Path(program).name == "vllm"
    assert words == [
        *("serve", "owner/model", "--host", "0.0.0.0", "--port", "8000", "--max-model-len", "8192"),
        *("--no-enable-prefix-caching", "--trust-remote-code", "--hf-overrides", '{"a": 1}'),
        *("--tensor-parallel-size", "4"),
    ]
    assert "4" not in vllm_command("m", 1, {"tensor_parallel_size": 2})
