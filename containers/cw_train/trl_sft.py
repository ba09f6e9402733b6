"""Supervised fine-tuning with TRL: the model learns to continue texts, prompts or conversations as the data does.

Each next token's cross-entropy is the loss; `from_data.py` is the run around it.
"""

from __future__ import annotations

from cw_train.from_data import train


def main(config: str) -> None:
    train(config, "SFT")
