"""LoRA that learns what a larger model thinks of each next token, rather than the one that is written.

The loss is T^2 KL(teacher || student) over the teacher's `top_k` likeliest tokens, both models' probabilities at
temperature T. (arXiv:1503.02531, section 2; T^2 keeps the size of the gradients)
"""

from __future__ import annotations

import json
import os
import urllib.request

import torch
from lora_recipe.settings import Distill
from lora_recipe.train import train
from torch.nn.functional import kl_div, log_softmax
from transformers import Trainer


def main(config: Distill) -> None:
    url = os.environ["TEACHER_URL"]

    class FromTeacher(Trainer):
        def compute_loss(self, model, inputs, return_outputs=False, **_):
            read = inputs["labels"] != -100  # (texts, length); the rest is padding
            outputs = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
            likeliest = ask(url, inputs)
            tokens = torch.tensor(likeliest["tokens"], device=read.device)  # (texts, length, top_k)
            taught = torch.tensor(likeliest["logits"], device=read.device)
            student = outputs.logits.float().gather(-1, tokens)
            loss = divergence(student, taught, config.temperature)[read].mean()
            return (loss, outputs) if return_outputs else loss

    train(config, FromTeacher)


def divergence(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """T^2 KL(teacher || student) of logits of shape (…, top_k), as (…)."""
    of_student, of_teacher = (log_softmax(logits / temperature, -1) for logits in (student, teacher))
    return temperature**2 * kl_div(of_student, of_teacher, reduction="none", log_target=True).sum(-1)


def ask(url: str, inputs: dict[str, torch.Tensor]) -> dict:
    body = json.dumps({name: inputs[name].tolist() for name in ("input_ids", "attention_mask")}).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{url}/likeliest", data=body), timeout=300) as answer:
        return json.load(answer)
