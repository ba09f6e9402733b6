"""A reward model with TRL: a score for each answer, higher for the chosen one of a pair (Bradley and Terry 1952; as in
Ouyang et al. 2022, eq. 1).

The data has the columns `chosen` and `rejected`, and perhaps `prompt`; `from_data.py` is the run around the loss.
"""

from __future__ import annotations

from cw_train.from_data import train


def main(config: str) -> None:
    train(config, "Reward")
