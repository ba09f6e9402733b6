"""Whole runs of PPO: they learn, they tell what they do, and stopped ones end as if they had not been stopped."""

from __future__ import annotations

import json
import math
import signal
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from rlhf_lab import RewardLab, write_model
from training_lab import QUICKSTART, ROOT, Ended

UNTIMED = ("tokens_per_second", "seconds", "time", "memory_bytes")
ADAPTER: dict[str, Any] = {
    "use_peft": True,
    "lora_r": 2,
    "lora_target_modules": ["q_proj", "v_proj"],
    "lr_scheduler_type": "linear",
    "warmup_steps": 2,
}


@pytest.fixture(scope="module")
def whole(rewards: RewardLab) -> Ended:
    """A run from beginning to end."""
    ended = rewards.learn(rewards.folder / "whole", name="whole")
    assert ended.code == 0, ended.err
    return ended


def lasting(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows without what depends on the clock."""
    return [{key: row[key] for key in row if not key.startswith(UNTIMED)} for row in rows]


def same_end(ended: Ended, whole: Ended, *files: str) -> None:
    """The same weights, bit for bit, and the same numbers without gaps or doubled steps."""
    assert ended.code == 0, ended.err
    for name in files or ("model.safetensors", "value_head.safetensors"):
        assert (ended.folder / name).read_bytes() == (whole.folder / name).read_bytes()
    assert lasting(ended.rows) == lasting(whole.rows)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_best_reward_is_reached(rewards: RewardLab, seed: int) -> None:
    """The best completion is `sun` eight times over, and earns 1; an untrained model says it one time in sixteen."""
    ended = rewards.learn(
        rewards.folder / f"learned-{seed}",
        max_steps=60,
        save_steps=0,
        ppo_config={
            "seed": seed,
            "batch_size": 32,
            "mini_batch_size": 16,
            "init_kl_coef": 0.005,
            "adap_kl_ctrl": False,
        },
    )
    assert ended.code == 0, ended.err
    done = ended.event("done")
    assert done["first_reward"] < 0.2
    assert fmean(row["reward"] for row in ended.rows[-10:]) > 0.95
    assert done["last_kl"] > 5  # it has gone far from where it began: 8 ln 16 = 22 nats at the most
    assert ended.rows[-1]["entropy"] < 0.3 * ended.rows[0]["entropy"]


def test_a_strong_penalty_keeps_the_policy_near_its_reference(rewards: RewardLab) -> None:
    ended = rewards.learn(
        rewards.folder / "held",
        max_steps=30,
        save_steps=0,
        ppo_config={"batch_size": 32, "mini_batch_size": 16, "init_kl_coef": 2.0, "adap_kl_ctrl": False},
    )
    assert ended.code == 0, ended.err
    assert max(abs(row["kl"]) for row in ended.rows) < 3
    assert {row["kl_coef"] for row in ended.rows} == {2.0}


def test_progress_lines(whole: Ended) -> None:
    first, *between, last = whole.messages
    assert first == {"event": "start", "total": 6, "resumed_from": None, "step": 0}
    logged = [message for message in between if "epoch" in message]
    assert [message["step"] for message in logged] == list(range(1, 7))
    assert all(
        list(message)
        == ["step", "total", "epoch", "loss", "lr", "grad_norm", "tokens_per_second", "reward", "kl", "eta_s"]
        for message in logged
    )
    assert [message["step"] for message in between if message.get("event") == "checkpoint"] == [2, 4, 6]
    assert last == {
        "event": "done",
        "steps": 6,
        "seconds": last["seconds"],
        **{f"first_{name}": logged[0][name] for name in ("loss", "reward", "kl")},
        **{f"last_{name}": logged[-1][name] for name in ("loss", "reward", "kl")},
        "model": str(whole.folder),
        "metrics": str(whole.folder / "metrics.jsonl"),
        "plot": str(whole.folder / "reward.png"),
    }


def test_metrics_and_plots(whole: Ended) -> None:
    assert [row["step"] for row in whole.rows] == list(range(1, 7))
    for row in whole.rows:
        assert row["updates"] == 4  # 2 passes over 8 completions, 4 at a time
        assert 0 <= row["reward"] <= 1
        assert 0 < row["entropy"] <= math.log(16)
        assert 0 < row["response_tokens"] <= 8
        assert 0 <= row["clip_fraction"] <= 1
        assert row["reward_with_kl"] == pytest.approx(row["reward"] - row["kl_coef"] * row["kl"], abs=1e-5)
        assert row["loss"] == pytest.approx(row["policy_loss"] + 0.1 * row["value_loss"], rel=1e-6)
    assert whole.rows[0]["kl"] == 0
    # Ziegler et al. 2019, section 2.2, with 8 samples a step over a horizon of 10000.
    for earlier, later in zip(whole.rows, whole.rows[1:], strict=False):
        error = min(max(earlier["kl"] / 6 - 1, -0.2), 0.2)
        assert later["kl_coef"] == pytest.approx(earlier["kl_coef"] * (1 + error * 8 / 10000), rel=1e-9)
    for name in ("loss.png", "reward.png"):
        assert (whole.folder / name).read_bytes().startswith(b"\x89PNG")


def test_stdout_and_stderr_are_short(whole: Ended, rewards: RewardLab) -> None:
    others = [line for line in whole.out.splitlines() if not line.startswith("::cw:: ")]
    assert others == ["starting from the beginning", f"10 prompts from {rewards.folder / 'prompts.jsonl'}"]
    assert "it/s" not in whole.err
    assert "Warning" not in whole.err


@pytest.mark.parametrize("at", [2, 4])
def test_killed_and_started_again(rewards: RewardLab, whole: Ended, at: int) -> None:
    output = rewards.folder / f"killed-{at}"
    killed = rewards.learn(
        output, name="killed", stop=lambda message: message.get("event") == "checkpoint" and message["step"] == at
    )
    assert killed.code == -signal.SIGKILL
    again = rewards.learn(output, name="killed")
    assert again.event("start")["step"] >= at
    same_end(again, whole)


def test_sigterm_leaves_a_checkpoint(rewards: RewardLab, whole: Ended) -> None:
    output = rewards.folder / "preempted"
    changes: dict[str, Any] = {"save_steps": 0, "save_total_limit": 1, "max_steps": 200}
    stopped = rewards.learn(
        output, name="preempted", stop=lambda message: message.get("step") == 3, with_signal=signal.SIGTERM, **changes
    )
    assert stopped.code == 143, stopped.err
    step = stopped.event("preempted")["step"]
    assert 3 <= step < 200
    assert not (output / "model.safetensors").exists()
    resumed = rewards.learn(output, name="preempted", **changes | {"max_steps": step + 2})
    assert resumed.event("start")["step"] == step
    straight = rewards.learn(rewards.folder / "straight", **changes | {"max_steps": step + 2})
    same_end(resumed, straight)


def test_an_adapter_is_trained_and_goes_on(rewards: RewardLab) -> None:
    """Its dropout draws random numbers while it learns; those and the schedule are part of the checkpoint too."""
    straight = rewards.learn(rewards.folder / "adapter", name="adapter", **ADAPTER)
    assert straight.code == 0, straight.err
    assert straight.rows[0]["kl"] == 0 and straight.rows[-1]["kl"] != 0
    assert max(row["response_tokens"] for row in straight.rows) <= 8
    assert [row["lr"] / 3e-3 for row in straight.rows] == pytest.approx([0, 0.5, 1, 0.75, 0.5, 0.25])
    output = rewards.folder / "adapter-killed"
    killed = rewards.learn(output, name="a", stop=lambda message: message.get("event") == "checkpoint", **ADAPTER)
    assert killed.code == -signal.SIGKILL
    again = rewards.learn(output, name="a", **ADAPTER)
    assert again.event("start")["step"] in (2, 4)
    same_end(again, straight, "adapter_model.safetensors", "value_head.safetensors")


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # peft's own
def test_a_saved_adapter_is_a_plain_one(rewards: RewardLab) -> None:
    from peft import AutoPeftModelForCausalLM

    output = rewards.folder / "adapter-plain"
    ended = rewards.learn(output, max_steps=1, save_steps=0, **ADAPTER)
    assert ended.code == 0, ended.err
    assert not (output / "model.safetensors").exists()
    model = AutoPeftModelForCausalLM.from_pretrained(str(output))
    assert set(model.peft_config["default"].target_modules) == {"q_proj", "v_proj"}


def test_gpt2_has_no_token_for_padding_and_one_matrix_for_two_layers(rewards: RewardLab) -> None:
    model = write_model(rewards.folder / "gpt2", "gpt2", pads=False)
    straight = rewards.learn(rewards.folder / "gpt2-straight", name="g", model_name=str(model))
    output = rewards.folder / "gpt2-killed"
    changes: dict[str, Any] = {"name": "g", "model_name": str(model)}
    killed = rewards.learn(output, stop=lambda message: message.get("event") == "checkpoint", **changes)
    assert killed.code == -signal.SIGKILL
    same_end(rewards.learn(output, **changes), straight)


def test_two_processes_go_on_together(rewards: RewardLab) -> None:
    changes: dict[str, Any] = {"processes": 2, "ppo_config": {"batch_size": 4, "mini_batch_size": 2}}
    straight = rewards.learn(rewards.folder / "two", name="two", **changes)
    assert straight.code == 0, straight.err
    assert [row["step"] for row in straight.rows] == list(range(1, 7))
    assert straight.out.count("10 prompts from") == 1
    output = rewards.folder / "two-killed"
    killed = rewards.learn(
        output, name="t", stop=lambda message: message.get("step") == 3, with_signal=signal.SIGTERM, **changes
    )
    assert killed.code != 0  # torchrun's own code; each rank ends with 143
    step = killed.event("preempted")["step"]
    assert all((output / f"checkpoint-{step}" / f"rng_state_{rank}.pth").is_file() for rank in (0, 1))
    again = rewards.learn(output, name="t", **changes)
    assert again.event("start")["step"] == step
    same_end(again, straight)

    alone = rewards.learn(output, name="t", max_steps=8)
    assert alone.code == 2
    assert "is of a run with 2 processes, and this one has 1" in alone.last_line


def test_a_finished_run_that_is_started_again_trains_no_further(rewards: RewardLab) -> None:
    output = rewards.folder / "finished"
    first = rewards.learn(output, name="finished", max_steps=2)
    before = (output / "model.safetensors").read_bytes()
    (output / "model.safetensors").unlink()  # as if it had been stopped just before the end
    again = rewards.learn(output, name="finished", max_steps=2)
    assert again.code == 0, again.err
    assert again.event("start")["step"] == again.event("done")["steps"] == 2
    assert (output / "model.safetensors").read_bytes() == before
    assert again.rows == first.rows


def test_the_model_and_the_prompts_of_the_examples(rewards: RewardLab) -> None:
    ended = rewards.learn(
        rewards.folder / "examples",
        model_name=str(QUICKSTART / "model"),
        dataset_name=str(ROOT / "examples" / "rlhf" / "prompts.jsonl"),
        max_steps=1,
        save_steps=0,
    )
    assert ended.code == 0, ended.err
    assert "192 prompts from" in ended.out


def test_chat_messages_with_a_template_and_a_system_prompt(rewards: RewardLab, tmp_path: Path) -> None:
    prompts = tmp_path / "chat.jsonl"
    rows = [{"ask": [{"role": "user", "content": f"the {word}"}]} for word in ("fox", "owl", "oak")]
    prompts.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    template = tmp_path / "chat.jinja"
    template.write_text("{% for message in messages %}{{ message.content }} {% endfor %}sees", encoding="utf-8")
    changes = {"dataset_name": str(prompts), "dataset_prompt_field": "ask", "max_steps": 2, "save_steps": 0}
    refused = rewards.learn(tmp_path / "refused", **changes)
    assert refused.code == 2
    assert "has no chat template; set `chat_template_path`" in refused.last_line
    ended = rewards.learn(tmp_path / "chat", system_prompt="old red", chat_template_path=str(template), **changes)
    assert ended.code == 0, ended.err
    assert ended.rows[0]["prompt_tokens"] == 5  # old red the fox sees


def test_without_prompts_of_its_own_a_run_says_which_it_uses(rewards: RewardLab) -> None:
    ended = rewards.learn(rewards.folder / "default", dataset_name=None, max_steps=1, save_steps=0)
    assert ended.code == 0, ended.err
    assert "no dataset_name: using the 64 prompts of cw_train/default_prompts.py" in ended.out
