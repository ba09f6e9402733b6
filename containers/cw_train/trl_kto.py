"""Kahneman-Tversky optimisation with TRL: answers that people liked become likelier, those that they did not less so,
measured against the model as it was (Ethayarajh et al. 2024, eq. 8).

The data has the columns `prompt`, `completion` and `label`; `from_data.py` is the run around the loss.
"""

from __future__ import annotations

from cw_train.from_data import train


def main(config: str) -> None:
    train(config, "KTO")
