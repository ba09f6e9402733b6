"""A reward service: `POST /score` gives each text a score, whoever asks, many askers in one pass of the model.

    {"texts": ["…"]} or {"pairs": [{"prompt": "…", "completion": "…"}]}  →  {"scores": [0.5]}

Prompts and completions are texts or lists of chat messages. `GET /health` answers 200 once the model has scored, and
`GET /metrics` counts what was done. It keeps to the standard library: what it serves is one model.
"""

from __future__ import annotations

import hmac
import json
import os
import queue
import signal
import socket
import threading
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cw_train import RefusedError
from cw_train.from_data import read_config
from cw_train.progress import announce
from cw_train.reward_scorer import FunctionScorer, ModelScorer, Pair, checked
from cw_train.rlhf_settings import ServiceSettings, read_service

DRAIN_SECONDS = 15.0  # for what is being computed when the service is told to stop


def main(config: str) -> None:
    # 1. The config: the whole run's, of which this is a part.
    values = read_config(config)
    os.environ.update({name: str(value) for name, value in values.pop("env", {}).items()})
    settings, name = read_service(config, values), model_name(config, values)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())

    # 2. The door is open before the model is loaded: it says that it is not ready yet.
    service = Service(settings, os.environ.get("REWARD_MODEL_TOKEN", ""))
    server = Server((os.environ.get("HOST", ""), int(os.environ.get("PORT", "8000"))), handler(service))
    threading.Thread(target=server.serve_forever, daemon=True).start()

    # 3. The model, and a first score as the proof that it works.
    is_function = name.rpartition(":")[0].endswith(".py") or (":" in name and not os.path.exists(name))
    scorer = FunctionScorer(name) if is_function else ModelScorer(name, settings, use_cpu=bool(values.get("use_cpu")))
    checked(scorer.scores(scorer.encode([("", "ready")])))
    worker = threading.Thread(target=service.work, args=(scorer,), daemon=True)
    worker.start()
    service.state = "ready"
    port = server.server_address[1]
    announce({"event": "serving", "model": name, "port": port})
    print(f"serving {name} on port {port}", flush=True)

    # 4. Until somebody says stop: then what is in the queue is answered, and nothing new is taken.
    stop.wait()
    service.state = "stopping"
    print("stopping: what waits is answered first", flush=True)
    service.close()
    worker.join(DRAIN_SECONDS)
    time.sleep(0.2)  # the last answers are on their way
    server.shutdown()


def model_name(config: str, values: dict[str, Any]) -> str:
    name = values.get("reward_model")
    if not isinstance(name, str) or not name:
        raise RefusedError(f"{config}: `reward_model` is missing: a folder, a name on the Hub, or file.py:function")
    return name


class RefusalError(Exception):
    """What a request is answered instead of scores."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class Waiting:
    """The pairs of one request, and the place for their scores."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self.pairs = pairs
        self.items: list[Any] = []
        """The pairs as the model reads them."""
        self.scores: list[float | None] = [None] * len(pairs)
        self.missing = len(pairs)
        self.error = ""
        self.done = threading.Event()

    def take(self, index: int, score: float) -> None:
        self.scores[index] = score
        self.missing -= 1
        if not self.missing:
            self.done.set()

    def fail(self, sentence: str) -> None:
        self.error = sentence
        self.done.set()


class Service:
    """The queue between the requests and the model."""

    def __init__(self, settings: ServiceSettings, token: str) -> None:
        self.settings = settings
        self.token = token
        self.state = "loading"
        self.waiting: queue.Queue[Waiting | None] = queue.Queue()
        self.queued = 0
        """Texts that wait or are being scored."""
        self.lock = threading.Lock()
        self.counts = dict.fromkeys(("requests", "texts", "refused", "failed", "batches"), 0)
        self.seconds = 0.0

    def score(self, pairs: Sequence[Pair]) -> list[float]:
        """The scores, once a pass of the model had room for all of the pairs."""
        if self.state != "ready":
            raise RefusalError(503, f"the reward service is {self.state}")
        if len(pairs) > self.settings.max_queue:
            raise RefusalError(413, f"{len(pairs)} texts are more than {self.settings.max_queue} in one request")
        with self.lock:
            if self.queued + len(pairs) > self.settings.max_queue:
                self.counts["refused"] += 1
                raise RefusalError(503, f"{self.queued} texts wait already")
            self.queued += len(pairs)
            self.counts["requests"] += 1
            self.counts["texts"] += len(pairs)
        request = Waiting(pairs)
        if pairs:
            self.waiting.put(request)
            request.done.wait()
        with self.lock:
            self.queued -= len(pairs)
        if request.error:
            raise RefusalError(500, request.error)
        return [score for score in request.scores if score is not None]

    def close(self) -> None:
        self.waiting.put(None)

    def work(self, scorer: Any) -> None:
        """Pass after pass, each with as many texts as wait, texts of one length beside each other."""
        while (requests := self._next()) is not None:
            begin = time.monotonic()
            for request in requests:
                try:
                    request.items = scorer.encode(request.pairs)
                except Exception as problem:  # a text that the model cannot read is that request's own trouble
                    request.fail(f"the text cannot be read: {problem}")
            rows = [
                (request, index, item)
                for request in requests
                if not request.error
                for index, item in enumerate(request.items)
            ]
            rows.sort(key=lambda row: scorer.length(row[2]))
            size = self.settings.max_batch_size
            for start in range(0, len(rows), size):
                self._pass(scorer, rows[start : start + size])
            self.seconds += time.monotonic() - begin

    def _pass(self, scorer: Any, rows: list[tuple[Waiting, int, Any]]) -> None:
        self.counts["batches"] += 1
        try:
            scores = checked(scorer.scores([item for _, _, item in rows]))
        except Exception as problem:  # told to whoever asked, and the next ones are served
            self.counts["failed"] += 1
            for request, _, _ in rows:
                request.fail(f"{type(problem).__name__}: {problem}")
            return
        for (request, index, _), score in zip(rows, scores, strict=True):
            request.take(index, score)

    def _next(self) -> list[Waiting] | None:
        """The requests that wait, and those that come within `max_wait_ms`; None when there will be no more."""
        first = self.waiting.get()
        if first is None:
            return None
        found, texts = [first], len(first.pairs)
        until = time.monotonic() + self.settings.max_wait_ms / 1000
        while texts < self.settings.max_batch_size:
            try:
                more = self.waiting.get(timeout=max(until - time.monotonic(), 0))
            except queue.Empty:
                break
            if more is None:
                self.waiting.put(None)
                break
            found.append(more)
            texts += len(more.pairs)
        return found

    def metrics(self) -> str:
        lines = [f"cw_reward_{name}_total {count}" for name, count in self.counts.items()]
        lines += [f"cw_reward_queued {self.queued}", f"cw_reward_busy_seconds_total {self.seconds:.3f}"]
        return "".join(f"{line}\n" for line in lines)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        if not address[0] and socket.has_dualstack_ipv6():
            self.address_family = socket.AF_INET6
        super().__init__(address, handler)

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:  # both kinds of addresses at once
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


def handler(service: Service) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 120  # seconds that a connection may say nothing
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            if self.path == "/health":
                ready = service.state == "ready"
                self.answer(200 if ready else 503, {"status": service.state})
            elif self.path == "/metrics":
                self.answer(200, service.metrics(), "text/plain; version=0.0.4")
            else:
                self.answer(404, {"error": f"there is no {self.path}; there are /health, /score and /metrics"})

        def do_POST(self) -> None:
            try:
                if self.path != "/score":
                    raise RefusalError(404, f"there is no {self.path}; POST to /score")
                self.authorize()
                self.answer(200, {"scores": service.score(read_pairs(self.body()))})
            except RefusalError as refusal:
                self.answer(refusal.status, {"error": str(refusal)})

        def authorize(self) -> None:
            given = self.headers.get("Authorization", "").removeprefix("Bearer ")
            if service.token and not hmac.compare_digest(given.encode(), service.token.encode()):
                self.close_connection = True  # the body is not read
                raise RefusalError(401, "the token is missing or wrong")

        def body(self) -> Any:
            length = self.headers.get("Content-Length", "")
            if not length.isdigit():
                self.close_connection = True
                raise RefusalError(411, "the request does not say how long it is")
            if int(length) > service.settings.max_request_bytes:
                self.close_connection = True
                raise RefusalError(413, f"{length} bytes are more than {service.settings.max_request_bytes}")
            try:
                return json.loads(self.rfile.read(int(length)))
            except ValueError as problem:
                raise RefusalError(400, f"the request is not JSON: {problem}") from None

        def answer(self, status: int, content: Any, kind: str = "application/json") -> None:
            data = (content if isinstance(content, str) else json.dumps(content)).encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            if status == 503:
                self.send_header("Retry-After", "1")
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            """Probes and requests by the thousand are no news; /metrics counts them."""

    return Handler


def read_pairs(content: Any) -> list[Pair]:
    """What a request asks about; raises `RefusalError` that names the field which is wrong."""
    if not isinstance(content, dict) or ("texts" in content) == ("pairs" in content):
        raise RefusalError(400, "write an object with either `texts` or `pairs`")
    kind = "texts" if "texts" in content else "pairs"
    if not isinstance(content[kind], list):
        raise RefusalError(400, f"`{kind}` must be a list")
    found: list[Pair] = []
    for index, item in enumerate(content[kind]):
        if kind == "texts":
            found.append(("", _said(item, f"texts[{index}]")))
        elif isinstance(item, dict) and set(item) == {"prompt", "completion"}:
            parts = (_said(item[key], f"pairs[{index}].{key}") for key in ("prompt", "completion"))
            found.append((next(parts), next(parts)))
        else:
            raise RefusalError(400, f"pairs[{index}] must have `prompt` and `completion`, and nothing else")
    return found


def _said(value: Any, where: str) -> Any:
    if isinstance(value, str):
        return value
    messages = isinstance(value, list) and all(
        isinstance(message, dict) and isinstance(message.get("role"), str) and isinstance(message.get("content"), str)
        for message in value
    )
    if not messages:
        raise RefusalError(400, f"{where} must be a text or a list of messages with role and content")
    return value
