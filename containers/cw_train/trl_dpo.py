"""Direct preference optimisation with TRL: the chosen answer becomes likelier than the rejected one, measured against
the model as it was (Rafailov et al. 2023, eq. 7).

The data has the columns `chosen` and `rejected`, and perhaps `prompt`; `from_data.py` is the run around the loss.
"""

from __future__ import annotations

from cw_train.from_data import train


def main(config: str) -> None:
    train(config, "DPO")
