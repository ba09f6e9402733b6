"""The reward service over HTTP, and its client: the model's own scores, whoever asks, and sentences for the rest."""

from __future__ import annotations

import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from cw_train import RefusedError
from cw_train.reward_client import RewardClient, RewardServiceGone
from rlhf_lab import GPT2, LLAMA, WORDS, make_tokenizer
from training_lab import CONTAINERS

PAIRS = [(" ".join(WORDS[: n % 5 + 1]), " ".join(WORDS[n % 7 : n % 7 + n % 3 + 1])) for n in range(40)]


def make_classifier(folder: Path, labels: list[str], kind: str = "llama") -> Path:
    """A tiny classifier of words with random weights, and its tokenizer."""
    import torch
    from transformers import AutoModelForSequenceClassification, GPT2Config, LlamaConfig

    torch.manual_seed(3)
    names = {"id2label": dict(enumerate(labels)), "label2id": {name: n for n, name in enumerate(labels)}}
    size = {"vocab_size": len(WORDS) + 2, "num_labels": len(labels), "bos_token_id": None, "eos_token_id": 1, **names}
    if kind == "gpt2":  # no padding token, as GPT-2 itself
        config: Any = GPT2Config(**GPT2, **size)
    else:
        config = LlamaConfig(**LLAMA, initializer_range=0.5, pad_token_id=0, **size)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    tokenizer = make_tokenizer()
    if kind == "gpt2":
        tokenizer.pad_token = None
    tokenizer.save_pretrained(folder)
    return folder


class Serving:
    """A service in a process of its own."""

    def __init__(self, folder: Path, config: dict[str, Any], **environment: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        path = folder / f"serve-{self.port}.yaml"
        path.write_text(yaml.safe_dump({"use_cpu": True, **config}))
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        own = {"PYTHONPATH": str(CONTAINERS), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "HOST": "127.0.0.1"}
        self.log = (folder / f"serve-{self.port}.log").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cw_train", "serve_reward", "--config", str(path)],
            env={**kept, **own, "PORT": str(self.port), **environment},
            stdout=self.log,
            stderr=self.log,
            cwd=folder,
        )

    def ready(self) -> Serving:
        until = time.monotonic() + 60
        while self.get("/health")[0] != 200:
            assert time.monotonic() < until and self.process.poll() is None, self.said()
            time.sleep(0.1)
        return self

    def get(self, path: str) -> tuple[int, str]:
        return self.request(urllib.request.Request(self.url + path))

    def post(self, content: Any, **headers: str) -> tuple[int, str]:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        return self.request(urllib.request.Request(f"{self.url}/score", data, headers))

    def request(self, request: urllib.request.Request) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def said(self) -> str:
        self.log.seek(0)
        return self.log.read()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.log.close()


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Serving]]:
    started: list[Serving] = []

    def start(config: dict[str, Any], **environment: str) -> Serving:
        started.append(Serving(tmp_path_factory.mktemp("serving"), config, **environment))
        return started[-1]

    yield start
    for item in started:
        item.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_classifier(tmp_path_factory.mktemp("model"), ["score"])


@pytest.fixture(scope="module")
def service(serve: Callable[..., Serving], folder: Path) -> Serving:
    return serve({"reward_model": str(folder), "reward_service": {"max_batch_size": 7}}).ready()


def direct(folder: Path, pairs: list[tuple[str, str]], label: int = 0, end: bool = True) -> list[float]:
    """The model's scores, one text at a time, without any padding; `end` for an end token behind the text."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model.config.pad_token_id = None  # one row needs none
    found = []
    for prompt, completion in pairs:
        ids = tokenizer(prompt + completion + tokenizer.eos_token * end, return_tensors="pt").input_ids
        with torch.no_grad():
            found.append(float(model(input_ids=ids).logits[0, label]))
    return found


def client_of(*services: Serving, deadline: float = 10.0) -> RewardClient:
    return RewardClient(",".join(item.url for item in services), deadline=deadline)


def test_scores_are_the_models_own_in_their_order(service: Serving, folder: Path) -> None:
    assert client_of(service).score(PAIRS) == pytest.approx(direct(folder, PAIRS), abs=1e-5)
    assert client_of(service).score([]) == []


def test_many_clients_at_once_get_their_own_scores(service: Serving, folder: Path) -> None:
    expected = direct(folder, PAIRS)
    asking = client_of(service)
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda pair: asking.score([pair])[0], PAIRS))
    assert found == pytest.approx(expected, abs=1e-5)
    status, text = service.get("/metrics")
    counts = dict(line.rsplit(" ", 1) for line in text.splitlines())
    assert status == 200
    assert int(counts["cw_reward_batches_total"]) < int(counts["cw_reward_texts_total"])


def test_texts_stand_alone_and_messages_are_read(service: Serving, folder: Path) -> None:
    status, text = service.post({"texts": ["sun rain"]})
    assert (status, json.loads(text)["scores"]) == (200, pytest.approx(direct(folder, [("", "sun rain")]), abs=1e-5))
    prompt, completion = [{"role": "user", "content": "sun"}], [{"role": "assistant", "content": "rain"}]
    status, text = service.post({"pairs": [{"prompt": prompt, "completion": completion}]})
    assert status == 200
    assert len(json.loads(text)["scores"]) == 1


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        (b"{", 400, "not JSON"),
        ({}, 400, "`texts` or `pairs`"),
        ({"texts": "sun"}, 400, "`texts` must be a list"),
        ({"texts": [5]}, 400, "texts[0]"),
        ({"pairs": [{"prompt": "a"}]}, 400, "pairs[0]"),
        ({"pairs": [{"prompt": "a", "completion": [{"role": 1}]}]}, 400, "pairs[0].completion"),
        ({"texts": ["sun"] * 9000}, 413, "9000 texts"),
    ],
)
def test_what_is_wrong_is_named(service: Serving, content: Any, status: int, words: str) -> None:
    found, text = service.post(content)
    assert found == status
    assert words in json.loads(text)["error"]


def test_a_request_that_is_too_large_is_not_read(serve: Callable[..., Serving], folder: Path) -> None:
    small = serve({"reward_model": str(folder), "reward_service": {"max_request_bytes": 100}}).ready()
    assert small.post({"texts": ["sun " * 100]})[0] in (413, 0)
    assert small.post({"texts": ["sun"]})[0] == 200


def test_without_its_token_nobody_gets_a_score(serve: Callable[..., Serving], folder: Path) -> None:
    guarded = serve({"reward_model": str(folder)}, REWARD_MODEL_TOKEN="secret").ready()
    assert guarded.post({"texts": ["sun"]})[0] == 401
    assert guarded.post({"texts": ["sun"]}, Authorization="Bearer secret")[0] == 200
    with pytest.raises(RefusedError, match="token"):
        client_of(guarded).score([("sun", "rain")])
    assert RewardClient(guarded.url, deadline=5, token="secret").score([("sun", "rain")])


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_one_label_of_several_is_the_reward(serve: Callable[..., Serving], tmp_path: Path, kind: str) -> None:
    folder = make_classifier(tmp_path / "sentiment", ["NEGATIVE", "POSITIVE"], kind)
    positive = serve({"reward_model": str(folder)}).ready()
    # Without a padding token the end token is one, which the model does not look at.
    expected = direct(folder, PAIRS[:5], label=1, end=kind != "gpt2")
    assert client_of(positive).score(PAIRS[:5]) == pytest.approx(expected, abs=1e-5)
    share = {"label": "negative", "function_to_apply": "softmax"}
    negative = serve({"reward_model": str(folder), "reward_service": share}).ready()
    assert all(0 < score < 1 for score in client_of(negative).score(PAIRS[:5]))


def test_labels_that_say_nothing_are_listed(serve: Callable[..., Serving], tmp_path: Path) -> None:
    folder = make_classifier(tmp_path / "topics", ["sports", "news", "art"])
    refused = serve({"reward_model": str(folder)})
    assert refused.process.wait(60) == 2
    assert "reward_service.label is missing: the model has the labels sports, news, art" in refused.said()


def test_a_function_of_a_file_scores(serve: Callable[..., Serving], tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "def suns(prompts, completions):\n    return [text.count('sun') for text in completions]\n"
    )
    scoring = serve({"reward_model": f"{tmp_path}/mine.py:suns"}).ready()
    assert client_of(scoring).score([("sun", "sun sun"), ("", "rain")]) == [2.0, 0.0]
    missing = serve({"reward_model": f"{tmp_path}/mine.py:moons"})
    assert missing.process.wait(60) == 2
    assert "moons" in missing.said()


def test_a_score_that_is_no_number_never_leaves(serve: Callable[..., Serving], tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(
        "def bad(prompts, completions):\n    return [float('nan') if 'sun' in text else 1 for text in completions]\n"
    )
    scoring = serve({"reward_model": f"{tmp_path}/bad.py:bad"}).ready()
    status, text = scoring.post({"texts": ["sun"]})
    assert status == 500
    assert "nan" in json.loads(text)["error"]
    with pytest.raises(RewardServiceGone, match="nan"):
        client_of(scoring).score([("", "sun")])
    assert client_of(scoring).score([("", "rain")]) == [1.0]


def test_told_to_stop_it_answers_what_it_has_and_ends(serve: Callable[..., Serving], tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "import time\ndef slow(prompts, completions):\n    time.sleep(1)\n    return [1.0] * len(completions)\n"
    )
    scoring = serve({"reward_model": f"{tmp_path}/slow.py:slow"}).ready()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(scoring.post, {"texts": ["sun"]})
        time.sleep(0.4)
        scoring.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        assert scoring.get("/health")[0] == 503
        assert scoring.post({"texts": ["rain"]})[0] == 503
        assert answer.result()[0] == 200
    assert scoring.process.wait(20) == 0


def test_a_replica_that_dies_is_done_without(serve: Callable[..., Serving], folder: Path) -> None:
    one, two = (serve({"reward_model": str(folder)}).ready() for _ in range(2))
    asking = client_of(one, two)
    expected = asking.score(PAIRS * 5)
    one.process.kill()
    one.process.wait()
    assert asking.score(PAIRS * 5) == pytest.approx(expected, abs=1e-5)


def test_a_service_that_is_gone_is_said_in_a_sentence(serve: Callable[..., Serving], folder: Path) -> None:
    gone = serve({"reward_model": str(folder)}).ready()
    gone.process.kill()
    gone.process.wait()
    with pytest.raises(RewardServiceGone, match=rf"{gone.url} gave no scores for \d+ seconds"):
        client_of(gone, deadline=1.0).score([("a", "b")])


class Misbehaving(http.server.BaseHTTPRequestHandler):
    answers: list[tuple[int, bytes]]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        status, data = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def misbehave() -> Iterator[Callable[..., str]]:
    servers: list[http.server.ThreadingHTTPServer] = []

    def start(*answers: tuple[int, bytes]) -> str:
        kind = type("Handler", (Misbehaving,), {"answers": list(answers)})
        servers.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind))
        threading.Thread(target=servers[-1].serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'{"scores": [NaN]}', "nan"),
        (b'{"scores": [1.0, 2.0]}', "2 scores for 1 texts"),
        (b'{"scores": [true]}', "True"),
        (b'{"scores": "1"}', "scores for 1"),
        (b'{"scores": ["1.0"]}', "'1.0'"),
        (b"<html>Welcome</html>", "Welcome"),
        (b"[]", "no scores"),
    ],
)
def test_what_is_no_score_never_gets_in(misbehave: Callable[..., str], data: bytes, words: str) -> None:
    with pytest.raises(RewardServiceGone, match=words):
        RewardClient(misbehave((200, data)), deadline=5).score([("a", "b")])


def test_a_busy_service_is_asked_again(misbehave: Callable[..., str]) -> None:
    url = misbehave((503, b"busy"), (502, b""), (429, b""), (200, b'{"scores": [0.5]}'))
    assert RewardClient(url, deadline=20).score([("a", "b")]) == [0.5]
