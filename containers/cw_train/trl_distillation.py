"""Distillation with TRL: the model learns to say what it says as a larger teacher would.

It continues prompts itself, and on each token of that the distance of its distribution from the teacher's is the loss:
a Jensen-Shannon divergence between forward and reverse KL (`beta`; Agarwal et al. 2024, On-Policy Distillation of
Language Models). `from_data.py` is the run around it.
"""

from __future__ import annotations

from cw_train.from_data import train


def main(config: str) -> None:
    train(config, "Distillation")
