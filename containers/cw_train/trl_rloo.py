"""REINFORCE leave-one-out with TRL: several completions of each prompt, scored; each is measured against the mean of
the others (Ahmadian et al. 2024, eq. 9), with a penalty for moving away from the model as it was.

The data has the column `prompt` and whatever the rewards of `reward_funcs` read; `from_data.py` is the run around it.
"""

from __future__ import annotations

from cw_train.from_data import train


def main(config: str) -> None:
    train(config, "RLOO", from_rewards=True)
