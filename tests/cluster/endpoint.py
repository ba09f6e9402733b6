"""A small OpenAI-compatible server for a pod: it answers with the last word of what it is asked, as its model's name
tells it to. `GET /asked` lists the prompts of each model."""

from __future__ import annotations

import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

REFUSED = "say 1"
asked: dict[str, list[str]] = {}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.answer("application/json", json.dumps(asked))

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        model, prompt = request["model"], request["messages"][-1]["content"]
        asked.setdefault(model, []).append(prompt)
        if model == "broken" and prompt == REFUSED:
            self.send_error(400, "broken")
            return
        if model == "slow":
            time.sleep(0.5)
        head = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": model}
        said = {"delta": {"role": "assistant", "content": prompt.split()[-1]}, "finish_reason": None}
        usage = {"prompt_tokens": 2, "completion_tokens": 1, "total_tokens": 3}
        parts = [
            {**head, "choices": [{"index": 0, **said}]},
            {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
            {**head, "choices": [], "usage": usage},
        ]
        lines = [f"data: {json.dumps(part)}\n\n" for part in parts]
        self.answer("text/event-stream", "".join([*lines, "data: [DONE]\n\n"]))

    def answer(self, kind: str, content: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(content.encode())

    def log_message(self, *_: Any) -> None:
        """Who asked for what is told by /asked."""


if __name__ == "__main__":
    ThreadingHTTPServer(("", 8000), Handler).serve_forever()
