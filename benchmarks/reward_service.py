"""What serving a reward model costs: throughput and latency of cw's service, of a plain server that scores one request
at a time, and of the model called in process; measured in turns, in one go.

    OMP_NUM_THREADS=1 python benchmarks/reward_service.py [--texts 512] [--words 24] [--hidden 128] [--rounds 5]

The model is made here: a BERT of random weights. On an accelerator a pass over one text takes nearly as long as one
over many; a processor comes close to that with small models and short texts, the defaults. All sides score the same
texts with the same tokenizer, the servers in processes of their own. In the second table eight clients ask at the
same time, for one text each, and then for sixteen each, as the ranks of a trainer do.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

CONTAINERS = Path(__file__).resolve().parents[1] / "containers"
sys.path.insert(0, str(CONTAINERS))
CLIENTS = 8
VOCABULARY = [f"{first}{middle}{last}" for first in "bdfgklmnprst" for middle in "aeiou" for last in "bdfgklmnprst"]

PLAIN = """
import json, os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
model = AutoModelForSequenceClassification.from_pretrained(sys.argv[1]).eval()
class Answers(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer({})
    def do_POST(self):
        texts = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["texts"]
        scores = []
        with torch.inference_mode():
            for text in texts:
                scores.append(model(**tokenizer(text, return_tensors="pt")).logits[0, 0].item())
        self.answer({"scores": scores})
    def answer(self, message):
        body = json.dumps(message).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Answers).serve_forever()
"""


def make_model(folder: Path, hidden: int) -> None:
    """A classifier of random weights, so many wide, with a word for each of `VOCABULARY`."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    words = {word: index for index, word in enumerate(["[PAD]", "[UNK]", *VOCABULARY])}
    tokenizer = Tokenizer(WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=hidden,
        num_hidden_layers=4,
        num_attention_heads=hidden // 32,
        intermediate_size=4 * hidden,
        num_labels=1,
        pad_token_id=0,
    )
    BertForSequenceClassification(config).save_pretrained(folder)


def texts_of(count: int, words: int) -> list[str]:
    """Texts of half to all of so many words."""
    chance = random.Random(0)
    return [" ".join(chance.choices(VOCABULARY, k=chance.randint(words // 2, words))) for _ in range(count)]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def server(command: Sequence[str]) -> Iterator[str]:
    """A server that answers `/health`, and its URL."""
    port = free_port()
    environment = {**os.environ, "PORT": str(port), "HOST": "127.0.0.1", "PYTHONPATH": str(CONTAINERS)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        while True:
            try:
                urllib.request.urlopen(f"{url}/health", timeout=5).read()
                break
            except OSError:
                if process.poll() is not None:
                    raise SystemExit(f"{' '.join(command[:3])} ended with {process.returncode}") from None
                time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait()


def ask(url: str, texts: Sequence[str]) -> list[float]:
    body = json.dumps({"texts": texts}).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{url}/score", data=body), timeout=600) as answer:
        scores: list[float] = json.load(answer)["scores"]
        return scores


def in_requests(url: str, texts: Sequence[str], size: int, workers: int) -> list[float]:
    """All texts in requests of `size`, so many at once."""
    parts = [texts[start : start + size] for start in range(0, len(texts), size)]
    with ThreadPoolExecutor(workers) as pool:
        return [score for scores in pool.map(lambda part: ask(url, part), parts) for score in scores]


def latencies(url: str, texts: Sequence[str], each: int) -> list[float]:
    """Seconds of each request for so many texts, by all clients at once."""

    def one(start: int) -> float:
        return seconds(lambda: ask(url, texts[start : start + each]))

    with ThreadPoolExecutor(CLIENTS) as pool:
        return list(pool.map(one, range(0, len(texts), each)))


def seconds(what: Callable[[], object]) -> float:
    began = time.perf_counter()
    what()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=512)
    parser.add_argument("--words", type=int, default=24, help="of the longest texts")
    parser.add_argument("--hidden", type=int, default=128, help="width of the model")
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    texts = texts_of(chosen.texts, chosen.words)
    with tempfile.TemporaryDirectory() as place:
        model = Path(place) / "model"
        make_model(model, chosen.hidden)
        config = Path(place) / "config.yaml"
        config.write_text(f"reward_model: {model}\nuse_cpu: true\n")
        ours = [sys.executable, "-m", "cw_train", "serve_reward", "--config", str(config)]
        with server(ours) as batched, server([sys.executable, "-c", PLAIN, str(model)]) as plain:
            servers = {"cw's service": batched, "one at a time": plain}
            at_once(chosen.rounds, str(model), texts, servers)
            for each in (1, 16):
                together(chosen.rounds, texts, servers, each)


def at_once(rounds: int, model: str, texts: list[str], servers: dict[str, str]) -> None:
    """How many texts a second, when there are many to score."""
    from cw_train.reward_scorer import ModelScorer
    from cw_train.rlhf_settings import ServiceSettings

    scorer = ModelScorer(model, ServiceSettings(), use_cpu=True)
    size = ServiceSettings().max_batch_size

    def in_process() -> list[float]:
        """As the service does: texts of like length together."""
        items = scorer.encode([("", text) for text in texts])
        order = sorted(range(len(items)), key=lambda index: len(items[index]))
        found = [0.0] * len(items)
        for start in range(0, len(order), size):
            rows = order[start : start + size]
            for index, score in zip(rows, scorer.scores([items[row] for row in rows]), strict=True):
                found[index] = score
        return found

    ways: dict[str, Callable[[], list[float]]] = {"the model in process": in_process}
    ways |= {name: partial(in_requests, url, texts, 256, 4) for name, url in servers.items()}
    expected = in_process()
    for name, way in ways.items():
        worst = max(abs(one - other) for one, other in zip(way(), expected, strict=True))
        assert worst < 1e-4, f"{name} scores differently by {worst}"
    took: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            took[name].append(seconds(way))
    print(f"{len(texts)} texts, {rounds} rounds in turns, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
    print("\nAll texts at once")
    bare = statistics.median(took["the model in process"])
    for name, values in took.items():
        median = statistics.median(values)
        print(f"  {name:<22} {len(texts) / median:8.0f} texts/s   {bare / median:6.1%} of in process")


def together(rounds: int, texts: list[str], servers: dict[str, str], each: int) -> None:
    """How long a request for `each` texts takes among those of the other clients."""
    single: dict[str, list[float]] = {name: [] for name in servers}
    total: dict[str, list[float]] = {name: [] for name in servers}
    for _ in range(rounds):
        for name, url in servers.items():
            total[name].append(seconds(lambda url=url, name=name: single[name].extend(latencies(url, texts, each))))
    print(f"\n{CLIENTS} clients, requests for {each} texts")
    slow = statistics.median(total["one at a time"])
    for name, values in total.items():
        median = statistics.median(values)
        half, late = (
            1000 * cut for cut in (statistics.median(single[name]), statistics.quantiles(single[name], n=20)[-1])
        )
        print(
            f"  {name:<22} {len(texts) / median:8.0f} texts/s   latency {half:.0f} ms, 95 % within {late:.0f} ms"
            f"   {slow / median:.1f} times as fast"
        )


if __name__ == "__main__":
    main()
