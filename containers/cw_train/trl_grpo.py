"""Group relative policy optimisation with TRL: several completions of each prompt, scored; those above their group's
mean become likelier, those below less so (Shao et al. 2024, eq. 3; TRL's default loss is that of DAPO, Yu et al. 2025).

The data has the column `prompt` and whatever the rewards of `reward_funcs` read; `from_data.py` is the run around it.
"""

from __future__ import annotations

from cw_train.from_data import train


def main(config: str) -> None:
    train(config, "GRPO", from_rewards=True)
