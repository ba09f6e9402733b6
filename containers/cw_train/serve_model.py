"""A model behind an OpenAI-compatible door: vLLM where it is installed, else Transformers, for small models and trials.

`POST /v1/chat/completions` and `/v1/completions`, streamed or not, `GET /v1/models`, and `GET /health`, which answers
200 once the model can write. vLLM takes the place of this process, with the flags that the config's `vllm:` names.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cw_train import RefusedError
from cw_train.from_data import read_config
from cw_train.progress import announce
from cw_train.serve_vllm import gpus_here

LONGEST = 256  # new tokens where a request does not say


def main(config: str) -> None:
    values = read_config(config)
    model = values.get("model")
    if not isinstance(model, str) or not model:
        raise RefusedError(f"{config}: `model` is missing: a folder or a name on the Hub")
    port = int(os.environ.get("PORT", "8000"))
    if importlib.util.find_spec("vllm") is not None:
        command = vllm_command(model, port, values.get("vllm") or {})
        print(" ".join(command), flush=True)
        os.execv(command[0], command)
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("transformers") is None:
        raise RefusedError("neither vLLM nor Transformers with torch is installed here, so nothing can serve the model")
    print("vLLM is not installed: Transformers answers, one request after the other", flush=True)
    serve(model, port)


def vllm_command(model: str, port: int, flags: dict[str, Any]) -> list[str]:
    """`vllm serve` with the config's flags; it takes all GPUs that there are unless those say otherwise."""
    program = shutil.which("vllm") or os.path.join(os.path.dirname(sys.executable), "vllm")
    given = {str(name).replace("_", "-"): value for name, value in flags.items()}
    if "tensor-parallel-size" not in given and (count := gpus_here()) > 1:
        given["tensor-parallel-size"] = count
    words = [program, "serve", model, "--host", os.environ.get("HOST") or "0.0.0.0", "--port", str(port)]
    for name, value in given.items():
        if value is True:
            words.append(f"--{name}")
        elif value is False:
            words.append(f"--no-{name}")
        elif value is not None:
            words += [f"--{name}", value if isinstance(value, str) else json.dumps(value)]
    return words


def serve(model: str, port: int) -> None:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    writer = Writer(model)
    server = Server((os.environ.get("HOST", ""), port), handler(writer))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    writer.load()
    announce({"event": "serving", "model": model, "port": port})
    stop.wait()
    server.shutdown()


class RefusalError(Exception):
    """What a request is answered instead of text."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class Writer:
    """A causal language model that continues one prompt at a time."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ready = False
        self.lock = threading.Lock()

    def load(self) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.torch = torch
        self.tokenizer = AutoTokenizer.from_pretrained(self.name)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = AutoModelForCausalLM.from_pretrained(self.name, dtype="auto").to(self.device).eval()
        self.ready = True

    def prompt(self, request: dict[str, Any]) -> list[int]:
        """Token ids: of the chat template's rendering, or of the plain texts where the model has none."""
        if "messages" not in request:
            return list(self.tokenizer(str(request.get("prompt", "")))["input_ids"])
        messages = [{**message, "content": _plain(message.get("content"))} for message in request["messages"]]
        if self.tokenizer.chat_template:
            text = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])
        return list(self.tokenizer("\n".join(message["content"] for message in messages))["input_ids"])

    def write(self, request: dict[str, Any]) -> tuple[str, str, int, int]:
        """The text, why it ends (`stop` or `length`), and the counts of tokens read and written."""
        if not self.ready:
            raise RefusalError(503, "the model is being loaded")
        ids = self.prompt(request)
        room = getattr(self.model.config, "max_position_embeddings", 0) or 2**31
        wanted = request.get("max_completion_tokens") or request.get("max_tokens") or LONGEST
        longest = min(int(wanted), room - len(ids))
        if not ids or longest < 1:
            raise RefusalError(400, f"the prompt has {len(ids)} tokens, and the model has room for {room}")
        temperature = request.get("temperature")
        temperature = 1.0 if temperature is None else float(temperature)
        how: dict[str, Any] = {"do_sample": temperature > 0}
        if temperature > 0:
            how |= {"temperature": temperature, "top_p": float(request.get("top_p") or 1.0), "top_k": 0}
        with self.lock, self.torch.inference_mode():
            if request.get("seed") is not None:
                self.torch.manual_seed(int(request["seed"]))
            given = self.torch.tensor([ids], device=self.device)
            pad = (
                self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else self.tokenizer.eos_token_id
            )
            out = self.model.generate(
                given, attention_mask=self.torch.ones_like(given), max_new_tokens=longest, pad_token_id=pad, **how
            )
        new = out[0, len(ids) :].tolist()
        text = self.tokenizer.decode(new, skip_special_tokens=True)
        stops = [request["stop"]] if isinstance(request.get("stop"), str) else request.get("stop") or []
        cut = min((text.index(stop) for stop in stops if stop in text), default=None)
        ended = "stop" if cut is not None or len(new) < longest else "length"
        return text[:cut], ended, len(ids), len(new)


def _plain(content: Any) -> str:
    """The text of a message, whose content may be a list of parts."""
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return "" if content is None else str(content)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def handler(writer: Writer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 600  # seconds that a connection may say nothing

        def do_GET(self) -> None:
            if self.path == "/health":
                self.answer(200 if writer.ready else 503, {"status": "ready" if writer.ready else "loading"})
            elif self.path == "/v1/models":
                self.answer(200, {"object": "list", "data": [{"id": writer.name, "object": "model"}]})
            else:
                self.answer(404, error(f"there is no {self.path}"))

        def do_POST(self) -> None:
            try:
                if self.path not in ("/v1/chat/completions", "/v1/completions"):
                    raise RefusalError(404, f"there is no {self.path}")
                request = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
                begin = time.time()
                parts = chunks(request, writer, chat=self.path == "/v1/chat/completions", begin=begin)
                if request.get("stream"):
                    self.stream(parts)
                else:
                    self.answer(200, whole(list(parts)))
            except RefusalError as refusal:
                self.answer(refusal.status, error(str(refusal)))
            except (ValueError, TypeError, KeyError) as problem:
                self.answer(400, error(f"the request cannot be used: {problem}"))

        def stream(self, parts: Iterator[dict[str, Any]]) -> None:
            first = next(parts)  # a refusal still has a status of its own
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            for part in (first, *parts):
                self.wfile.write(f"data: {json.dumps(part)}\n\n".encode())
            self.wfile.write(b"data: [DONE]\n\n")
            self.close_connection = True

        def answer(self, status: int, content: dict[str, Any]) -> None:
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            """Probes and requests by the thousand are no news."""

    return Handler


def error(sentence: str) -> dict[str, Any]:
    return {"error": {"message": sentence, "type": "invalid_request_error"}}


def chunks(request: dict[str, Any], writer: Writer, *, chat: bool, begin: float) -> Iterator[dict[str, Any]]:
    """The answer in the shape of a stream: the text, why it ends, and the usage."""
    if int(request.get("n") or 1) != 1 or request.get("logprobs"):
        raise RefusalError(400, "this server gives one text and no log-probabilities; vLLM gives more")
    text, ended, read, written = writer.write(request)
    head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(begin), "model": request.get("model") or writer.name}
    head["object"] = "chat.completion.chunk" if chat else "text_completion"
    said = {"delta": {"role": "assistant", "content": text}} if chat else {"text": text}
    nothing = {"delta": {}} if chat else {"text": ""}
    usage = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
    yield {**head, "choices": [{"index": 0, **said, "finish_reason": None}]}
    yield {**head, "choices": [{"index": 0, **nothing, "finish_reason": ended}]}
    yield {**head, "choices": [], "usage": usage}


def whole(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """The stream as one answer."""
    first, end, last = parts
    choice = dict(first["choices"][0], finish_reason=end["choices"][0]["finish_reason"])
    if "delta" in choice:
        choice["message"] = choice.pop("delta")
    return {**first, "object": first["object"].removesuffix(".chunk"), "choices": [choice], "usage": last["usage"]}
