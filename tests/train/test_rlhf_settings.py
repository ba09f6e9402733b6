"""The config of `trl_rlhf`: what it takes, under which names, and the sentences for what it does not."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
from cw_train import RefusedError
from cw_train.from_data import read_config
from cw_train.rlhf_settings import BLOCK, Settings, read_settings
from rlhf_lab import RewardLab

# The defaults of `trl.PPOConfig` in TRL 0.11.4. A `mini_batch_size` of 128 is what ours comes to.
CLASSIC = {
    "learning_rate": 1.41e-5,
    "adap_kl_ctrl": True,
    "init_kl_coef": 0.2,
    "kl_penalty": "kl",
    "target": 6.0,
    "horizon": 10000.0,
    "gamma": 1.0,
    "lam": 0.95,
    "cliprange": 0.2,
    "cliprange_value": 0.2,
    "vf_coef": 0.1,
    "batch_size": 128,
    "mini_batch": 128,
    "gradient_accumulation_steps": 1,
    "ppo_epochs": 4,
    "max_grad_norm": None,
    "early_stopping": False,
    "target_kl": 1.0,
    "ratio_threshold": 10.0,
    "score_clip": None,
    "whiten_rewards": False,
    "seed": 0,
}


def read(**values: Any) -> Settings:
    return read_settings("here.yaml", {"model_name": "m"} | values)[0]


def test_the_defaults_are_the_classic_ones() -> None:
    settings = read()
    assert {name: getattr(settings, name) for name in CLASSIC} == CLASSIC


def test_a_config_as_people_write_it(tmp_path: Path) -> None:
    path = tmp_path / "rlhf.yaml"
    path.write_text(
        "model_name: some/chat-model\nreward_model: some-judge\noutput_dir: out\n"
        "ppo_config:\n  learning_rate: 1e-5\n  batch_size: 16\n  mini_batch_size: 4\n  max_grad_norm: 1\n"
    )
    values = read_config(str(path))
    values.pop("env")
    settings, given = read_settings(str(path), values)
    assert (settings.learning_rate, settings.max_grad_norm, settings.update_batch) == (1e-5, 1.0, 4)
    assert {"model_name", "learning_rate", "batch_size"} <= given
    assert "gamma" not in given


def test_keys_of_the_block_may_stand_beside_it() -> None:
    assert read(gamma=0.5) == read(ppo_config={"gamma": 0.5})


def test_other_names_of_a_key() -> None:
    settings = read(response_length=9, ppo_config={"steps": 512, "num_ppo_epochs": 2})
    assert (settings.max_new_tokens, settings.total_episodes, settings.ppo_epochs) == (9, 512, 2)
    assert read_settings("here", {"model_name_or_path": "m"})[0].model_name == "m"


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"ppo_config": {"lerning_rate": 1}}, "unknown key `lerning_rate`; did you mean `learning_rate`?"),
        ({"ppo_config": [1]}, "`ppo_config` must be a list of `key: value` lines"),
        ({"ppo_config": {"output_dir": "x"}}, "`output_dir` belongs beside `ppo_config`, not in it"),
        ({"gamma": 1, "ppo_config": {"gamma": 1}}, "`gamma` is set twice"),
        ({"model_name_or_path": "n"}, "`model_name_or_path` is set twice"),
        ({"ppo_config": {"log_with": "wandb"}}, "`log_with` has gone: the numbers are in metrics.jsonl"),
        ({"ppo_config": {"gamma": 1.5}}, "`gamma` must be at most 1, not 1.5"),
        ({"ppo_config": {"cliprange": 0}}, "`cliprange` must be more than 0, not 0"),
        ({"lora_dropout": 1.0}, "`lora_dropout` must be less than 1, not 1.0"),
        ({"temperature": "hot"}, "`temperature` must be a number, not 'hot'"),
        ({"temperature": float("nan")}, "`temperature` must be a number, not nan"),
        ({"max_steps": 1.5}, "`max_steps` must be a whole number, not 1.5"),
        ({"max_steps": True}, "`max_steps` must be a whole number, not True"),
        ({"use_peft": "yes"}, "`use_peft` must be true or false, not 'yes'"),
        ({"ppo_config": {"kl_penalty": "kll"}}, "`kl_penalty` must be one of kl, abs, mse, full, not 'kll'"),
        ({"lora_target_modules": [1]}, "`lora_target_modules` must be a list of texts or a text, not [1]"),
        ({"algorithm": "dpo"}, "`algorithm` must be one of ppo, rloo, grpo, not 'dpo'"),
        (
            {"ppo_config": {"batch_size": 10, "mini_batch_size": 4}},
            "`batch_size` (10) must be a multiple of `mini_batch_size` times `gradient_accumulation_steps` (4 x 1)",
        ),
        ({"min_new_tokens": 65}, "`min_new_tokens` must not be more than `max_new_tokens`"),
        ({"num_generations": 4}, "`num_generations` is for `algorithm: rloo` and `grpo`"),
        ({"model_name": ""}, "`model_name` is missing"),
    ],
)
def test_what_cannot_be_is_refused(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(RefusedError, match=re.escape(sentence)):
        read(**values)


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(RefusedError, match=r"here\.yaml: .*`gamma`.*; .*`nonsense`|`nonsense`.*; .*`gamma`"):
        read(nonsense=1, ppo_config={"gamma": 2})


def test_an_adapter_is_no_model_to_train(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(RefusedError, match="is an adapter: merge it into its model first"):
        read(model_name=str(tmp_path))


def test_small_batches_need_no_size_of_mini_batches() -> None:
    assert read(ppo_config={"batch_size": 16}).mini_batch == 16
    assert read(ppo_config={"batch_size": 16, "gradient_accumulation_steps": 4}).mini_batch == 4


@pytest.mark.parametrize(
    ("values", "steps"),
    [
        ({"max_steps": 7, "total_episodes": 1000}, 7),
        ({"total_episodes": 1000, "num_train_epochs": 1}, 32),  # 1000 completions, 32 a step
        ({"num_train_epochs": 2}, 7),  # 200 completions of 100 prompts
        ({}, 625),  # 20000, as TRL 0.11 has it
    ],
)
def test_how_many_steps(values: dict[str, Any], steps: int) -> None:
    assert read(ppo_config={"batch_size": 16}, **values).steps(prompts=100, processes=2) == steps


def test_every_key_is_explained() -> None:
    for item in dataclasses.fields(Settings):
        assert item.metadata["help"].endswith(".") or "…" in item.metadata["help"]
        assert item.metadata.get("block") in (None, BLOCK)
        assert item.default is not dataclasses.MISSING


def test_without_a_service_there_is_nothing_to_learn_from(rewards: RewardLab) -> None:
    ended = rewards.learn(rewards.folder / "alone", environment={"REWARD_MODEL_URL": ""})
    assert ended.code == 2
    assert ended.last_line == (
        "error: REWARD_MODEL_URL is not set, so there is no reward service to ask; `cw trl rlhf` starts one"
    )


def test_a_mistake_in_the_file_ends_with_its_sentence(rewards: RewardLab) -> None:
    ended = rewards.learn(rewards.folder / "mistaken", ppo_config={"batch_size": 10})
    assert ended.code == 2
    assert "must be a multiple of `mini_batch_size`" in ended.last_line
    assert "Traceback" not in ended.err
