"""A server with the endpoints of vLLM that TRL asks, in development mode: a model on the processor behind them.

Called as `vllm serve MODEL --host HOST --port PORT …`. Every request is noted in the file that `LAB_NOTES` names.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

parser = argparse.ArgumentParser()
parser.add_argument("verb", choices=["serve"])
parser.add_argument("model")
parser.add_argument("--host")
parser.add_argument("--port", type=int)
parser.add_argument("--tensor-parallel-size", type=int)
parser.add_argument("--data-parallel-size", type=int)
parser.add_argument("--weight-transfer-config", type=json.loads)
parser.add_argument("--logprobs-mode")
chosen, others = parser.parse_known_args()
notes, weights = Path(os.environ["LAB_NOTES"]), Path(os.environ["LAB_WEIGHTS"])
model = AutoModelForCausalLM.from_pretrained(chosen.model).eval()
updating = False


def note(**what: Any) -> None:
    with notes.open("a") as file:
        file.write(json.dumps(what) + "\n")


def receive(update: dict[str, Any]) -> None:
    """Weights in the order in which they were announced."""
    assert updating
    while not weights.exists():
        time.sleep(0.01)
    tensors = torch.load(weights)
    weights.unlink()
    for name, dtype, shape, tensor in zip(
        update["names"], update["dtype_names"], update["shapes"], tensors, strict=True
    ):
        assert (str(tensor.dtype), list(tensor.shape)) == (f"torch.{dtype}", shape), name
        model.get_parameter(name).data.copy_(tensor)


@torch.inference_mode()
def complete(asked: dict[str, Any]) -> list[dict[str, Any]]:
    """`n` sampled completions of each prompt, with the chance of every token after temperature."""
    choices = []
    for prompt in asked["prompt"]:
        out = model.generate(
            torch.tensor([prompt]),
            do_sample=True,
            temperature=asked["temperature"],
            top_k=asked["top_k"],
            top_p=asked["top_p"],
            max_new_tokens=asked["max_tokens"],
            num_return_sequences=asked["n"],
            return_dict_in_generate=True,
            output_scores=True,
        )
        chances = torch.stack(out.scores, 1).log_softmax(-1)  # (n, length, vocabulary)
        for row, chance in zip(out.sequences[:, len(prompt) :].tolist(), chances, strict=True):
            end = model.generation_config.eos_token_id
            row = row[: row.index(end) + 1] if end in row else row
            told = [chance[place, token].item() for place, token in enumerate(row)]
            names = [f"token_id:{token}" for token in row]
            logprobs = {
                "tokens": names,
                "token_logprobs": told,
                "top_logprobs": [{name: value} for name, value in zip(names, told, strict=True)],
            }
            choices.append({"prompt_token_ids": prompt, "token_ids": row, "logprobs": logprobs})
    return choices


class Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        match self.path.partition("?")[0]:
            case "/health":
                self.answer({})
            case "/v1/models":
                self.answer({"data": [{"id": chosen.model}]})
            case "/get_world_size" if os.environ.get("VLLM_SERVER_DEV_MODE") == "1":
                self.answer({"world_size": chosen.tensor_parallel_size * chosen.data_parallel_size})
            case "/server_info" if os.environ.get("VLLM_SERVER_DEV_MODE") == "1":
                known = {"weight_transfer_config": chosen.weight_transfer_config}
                self.answer({"vllm_config": known | {"model_config": {"logprobs_mode": chosen.logprobs_mode}}})
            case _:
                self.answer({"error": "no such path"}, 404)

    def do_POST(self) -> None:
        global updating
        asked = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        note(path=self.path, init=asked.get("init_info"), prompts=len(asked.get("prompt") or ()))
        match self.path:
            case "/v1/completions":
                self.answer({"choices": complete(asked)})
            case "/start_weight_update" | "/finish_weight_update":
                updating = self.path == "/start_weight_update"
                self.answer({})
            case "/update_weights":
                receive(asked["update_info"])
                self.answer({})
            case "/init_weight_transfer_engine":
                self.answer({})
            case "/reset_prefix_cache":
                self.answer({"success": True})
            case _:
                self.answer({"error": "no such path"}, 404)

    def answer(self, message: dict[str, Any], status: int = 200) -> None:
        body = json.dumps(message).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


note(path="start", arguments=others)
ThreadingHTTPServer((chosen.host, chosen.port), Answers).serve_forever()
