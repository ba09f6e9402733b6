"""The kinds of training that Axolotl has, and which of them a config is for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cw_cli.core.config import Config
from cw_cli.core.problems import Problem

PREPROCESS = "preprocess"

TYPES = (
    *("sft", "pretrain", "dpo", "ipo", "simpo", "orpo", "kto", "grpo", "gdpo", "ebft", "reward", "process_reward"),
    PREPROCESS,
)

FAMILIES: Mapping[str, str] = {
    **dict.fromkeys(("sft", "pretrain", "process_reward"), "sft"),
    **dict.fromkeys(("dpo", "ipo", "simpo", "grpo", "gdpo"), "dpo"),
    **{name: name for name in ("orpo", "kto", "ebft", "reward")},
}
"""Which dataset types go with a kind of training."""

ONLINE = ("grpo", "gdpo", "ebft")
"""The kinds that generate while they train."""


def kind_of(config: Config) -> str:
    """What Axolotl would do with the config."""
    if rl := config.get("rl"):
        return str(rl)
    for key, kind in (("reward_model", "reward"), ("process_reward_model", "process_reward")):
        if config.get(key):
            return kind
    return "pretrain" if config.get("pretraining_dataset") else "sft"


def checks(config: Config, asked: str) -> Iterator[Problem]:
    """Whether the config is for what was asked for."""
    found = kind_of(config)
    if asked == PREPROCESS:
        for key in ("pretraining_dataset", "skip_prepare_dataset", "streaming"):
            if config.get(key):
                message = f"with {key} there is nothing to prepare: Axolotl reads the data while it trains"
                yield config.problem((key,), message, f"run `cw axolotl {found}`")
    elif asked == "pretrain" and found == "sft" and _plain_text(config):
        return
    elif asked != found:
        key = next((name for name in _WRITTEN if config.get(name)), "")
        if key:
            shown = f"{key}: {config.get(key)}" if key == "rl" else key
            message = f"this config is for {found} ({shown}), not for {asked}"
            yield config.problem((key,), message, f"run `cw axolotl {found}`, or change {key}")
        else:
            message = f"nothing in this config asks for {asked}: Axolotl would train on texts (sft)"
            yield config.problem((_KEY.get(asked, "rl"),), message, f"add `{_LINE.get(asked, f'rl: {asked}')}`")
    if config.get("rl") and config.get("reward_model"):
        yield config.problem(("reward_model",), "reward_model and rl are two kinds of training", "keep one of them")


_WRITTEN = ("rl", "reward_model", "process_reward_model", "pretraining_dataset")
_KEY = {"reward": "reward_model", "process_reward": "process_reward_model", "pretrain": "pretraining_dataset"}
_LINE = {
    "reward": "reward_model: true",
    "process_reward": "process_reward_model: true",
    "pretrain": "pretraining_dataset: […]",
}


def _plain_text(config: Config) -> bool:
    """Pre-training on data that is all there at the start is written as datasets of plain text."""
    types = [entry.get("type") for entry in config.get("datasets") or [] if isinstance(entry, Mapping)]
    return bool(types) and all(item in ("completion", "pretrain") for item in types)
