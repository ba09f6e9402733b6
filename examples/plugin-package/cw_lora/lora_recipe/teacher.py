"""The teacher as a service: for tokens, the likeliest next ones and their logits.

`GET /health` answers once the model is loaded. `POST /likeliest` takes `{"input_ids": [[…]], "attention_mask": [[…]]}`
of shape (texts, length) and answers `{"logits": …, "tokens": …}` of shape (texts, length, top_k).
"""

from __future__ import annotations

import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

import torch
from lora_recipe.settings import Distill
from transformers import AutoModelForCausalLM


def main(config: Distill) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = AutoModelForCausalLM.from_pretrained(config.teacher, dtype="auto").to(device).eval()

    @torch.inference_mode()
    def likeliest(asked: dict) -> dict:
        texts = {name: torch.tensor(asked[name], device=device) for name in ("input_ids", "attention_mask")}
        best = model(**texts).logits.float().topk(config.top_k)
        return {"logits": best.values.tolist(), "tokens": best.indices.tolist()}

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer({"model": config.teacher})

        def do_POST(self) -> None:
            self.answer(likeliest(json.loads(self.rfile.read(int(self.headers["Content-Length"])))))

        def answer(self, message: dict) -> None:
            body = json.dumps(message).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """A line for each request would bury everything else."""

    # One at a time: the model is what takes the time.
    with HTTPServer(("", int(os.environ["PORT"])), Answers) as server:
        print(f"serving {config.teacher} on port {server.server_port}", flush=True)
        server.serve_forever()
