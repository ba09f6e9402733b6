"""RLOO and GRPO with the reward service: they learn, go on, and refuse what they do not have."""

from __future__ import annotations

import re
import signal
from typing import Any

import pytest
from cw_train import RefusedError
from cw_train.rlhf_settings import read_settings
from cw_train.rlhf_with_trl import as_trl_says, refuse_what_is_ppo_s
from rlhf_lab import RewardLab

SIZES = {"batch_size": 16, "mini_batch_size": 16, "ppo_epochs": 1, "seed": 1}
BLOCK: dict[str, Any] = {"learning_rate": 1e-2, "max_grad_norm": 1.0, "init_kl_coef": 0.0, **SIZES}


@pytest.mark.parametrize("algorithm", ["rloo", "grpo"])
def test_the_reward_rises(rewards: RewardLab, algorithm: str) -> None:
    ended = rewards.learn(
        rewards.folder / algorithm,
        name=algorithm,
        algorithm=algorithm,
        num_generations=4,
        max_steps=40,
        save_steps=40,
        whole_block=BLOCK,
    )
    assert ended.code == 0, ended.err
    done = ended.event("done")
    assert done["first_reward"] < 0.3
    assert done["last_reward"] > 0.7
    assert [row["step"] for row in ended.rows] == list(range(1, 41))
    assert ended.event("checkpoint")["step"] == 40
    assert (ended.folder / "reward.png").is_file()
    assert "10 prompts from" in ended.out
    assert "Warning" not in ended.err


def test_it_goes_on_after_sigterm(rewards: RewardLab) -> None:
    output = rewards.folder / "rloo-stopped"
    changes = {"name": "rs", "algorithm": "rloo", "max_steps": 60, "whole_block": BLOCK}
    stopped = rewards.learn(output, stop=lambda line: line.get("step") == 3, with_signal=signal.SIGTERM, **changes)
    assert stopped.code == 143, stopped.err
    again = rewards.learn(output, **changes)
    assert again.code == 0, again.err
    assert again.event("start")["step"] == stopped.event("preempted")["step"]
    assert [row["step"] for row in again.rows] == list(range(1, 61))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"ppo_config": {"adap_kl_ctrl": True, "lam": 0.9}}, "has no `adap_kl_ctrl`, `lam`; leave them out"),
        ({"ppo_config": {"vf_coef": 0.1}}, "has no `vf_coef`; leave it out"),
        ({"missing_eos_penalty": 1}, "has no `missing_eos_penalty`; leave it out"),
        ({"ppo_config": {"score_clip": 1.0}}, "`algorithm: grpo` has no `score_clip`; leave it out"),
    ],
)
def test_keys_of_ppo_alone_are_refused(values: dict[str, Any], sentence: str) -> None:
    settings, given = read_settings("here", {"model_name": "m", "algorithm": "grpo"} | values)
    with pytest.raises(RefusedError, match=re.escape(sentence)):
        refuse_what_is_ppo_s("here", settings, given)


def test_keys_that_say_nothing_here_are_taken() -> None:
    block = {"adap_kl_ctrl": False, "whiten_rewards": False, "kl_penalty": "kl", "gamma": 1}
    refuse_what_is_ppo_s("here", *read_settings("here", {"model_name": "m", "algorithm": "rloo", "ppo_config": block}))


def test_what_trl_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    block = {
        "batch_size": 16,
        "mini_batch_size": 4,
        "gradient_accumulation_steps": 2,
        "ppo_epochs": 3,
        "cliprange": 0.1,
    }
    values = {"model_name": "m", "algorithm": "rloo", "max_new_tokens": 20, "total_episodes": 320, "ppo_config": block}
    told = as_trl_says(*read_settings("here", values))
    assert told["per_device_train_batch_size"] == 4
    assert told["gradient_accumulation_steps"] == 2
    assert told["generation_batch_size"] == 32
    assert told["num_iterations"] == 3
    assert told["epsilon"] == 0.1
    assert told["max_completion_length"] == 20
    assert told["max_steps"] == 320 // 16 * 3  # 16 completions an update, each used three times
    assert not {"beta", "learning_rate", "max_grad_norm"} & set(told)  # TRL's own defaults


def test_sizes_that_trl_does_not_take(rewards: RewardLab) -> None:
    ended = rewards.learn(rewards.folder / "sizes", algorithm="grpo", num_generations=7, max_steps=1, whole_block=BLOCK)
    assert ended.code == 2
    assert "num_generations" in ended.last_line
