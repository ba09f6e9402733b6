"""Reinforcement learning from a reward service: PPO, or TRL's RLOO and GRPO with the same service.

PPO, a step at a time: the policy completes a batch of prompts; the service scores the completions; every token is
charged for how far the policy has moved from the model it began as, and the last one earns the score; a value head
says what was to be expected, so that each token has an advantage; then a few passes of clipped updates make tokens
with a positive advantage likelier. The keys are those of TRL's PPO trainer up to 0.11, which TRL no longer has.

The step is `ppo.py`, its equations `ppo_formulas.py`, the networks `policy.py`; this file is the run around it.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cw_train import RefusedError
from cw_train.checkpoints import Checkpoints, NothingLeftToTrainError, Owner, Preemption, agree, choose
from cw_train.from_data import read_config
from cw_train.parting import gather
from cw_train.progress import TellsRewards
from cw_train.prompts import read_prompts, tokenized, turn
from cw_train.rlhf_settings import Settings, read_settings


def main(config: str) -> None:
    preemption = Preemption()  # first of all: process 1 of a container ignores SIGTERM unless it listens

    # What `env:` sets must be there before the libraries are imported.
    values = read_config(config)
    os.environ.update({name: str(value) for name, value in values.pop("env", {}).items()})
    settings, given = read_settings(config, values)
    if settings.disable_tqdm:
        os.environ.update(TQDM_DISABLE="1", HF_DATASETS_DISABLE_PROGRESS_BARS="1", HF_HUB_DISABLE_PROGRESS_BARS="1")
    if not os.environ.get("REWARD_MODEL_URL"):
        raise RefusedError(
            "REWARD_MODEL_URL is not set, so there is no reward service to ask; `cw trl rlhf` starts one"
        )
    from cw_train.reward_client import RewardClient

    client = RewardClient.from_environment(deadline=settings.reward_timeout)
    if settings.algorithm == "ppo":
        train(config, settings, client, preemption)
    else:
        from cw_train import rlhf_with_trl

        rlhf_with_trl.train(config, settings, given, client, preemption)


def train(config: str, settings: Settings, client: Any, preemption: Preemption) -> None:
    from accelerate import PartialState
    from transformers import TrainerControl, TrainerState, set_seed

    from cw_train.policy import load
    from cw_train.ppo import PPO

    # 1. Where to start: with this run's newest whole checkpoint, with what `resume_from_checkpoint` says, or afresh.
    here = PartialState(cpu=settings.use_cpu)
    output = Path(settings.output_dir)
    wish = settings.resume_from_checkpoint
    owner = Owner(run=os.environ.get("CW_RUN") or None, start=wish if isinstance(wish, str) else None)
    checkpoint, sentence = agree(lambda: choose(output, owner, wish))
    say = print if here.is_main_process else lambda *_: None
    say(sentence)

    # 2. The policy with its value head, and the reference. One seed for all, so that every process begins the same.
    set_seed(settings.seed)
    tokenizer = load_tokenizer(config, settings)
    policy, reference = load(settings, tokenizer, checkpoint, here.device)

    # 3. The prompts.
    said, sentence = read_prompts(config, settings, tokenizer)
    prompts = tokenized(config, said, settings, tokenizer, context(policy.model.config))
    left_out = len(said) - len(prompts)
    say(sentence + (f"; {left_out} of them are empty or too long" if left_out else ""))

    # 4. What learns. From here on each process draws random numbers of its own.
    state = TrainerState(max_steps=settings.steps(len(prompts), here.num_processes))
    state.is_world_process_zero = here.is_main_process
    ppo = PPO(policy, reference, tokenizer, client, state.max_steps)
    set_seed(settings.seed + here.process_index)
    if checkpoint:
        state.global_step = ppo.restore(Path(checkpoint))

    # 5. The hooks are those that TRL's trainers call.
    arguments = SimpleNamespace(
        output_dir=settings.output_dir, device=here.device, save_strategy="steps", save_only_model=False
    )
    control = TrainerControl()
    progress = TellsPPO(checkpoint)
    checkpoints = Checkpoints(owner, preemption, keep=settings.save_total_limit)
    progress.on_train_begin(arguments, state, control)
    with contextlib.suppress(NothingLeftToTrainError):  # the run was stopped between its last step and the end
        checkpoints.on_train_begin(arguments, state, control)

    # 6. Training. The processes share out each step's prompts.
    each = settings.batch_size * here.num_processes
    sampled = 0.0  # tokens since this process began, over all processes
    for step in range(state.global_step + 1, state.max_steps + 1):
        turns = turn(step, len(prompts), each, settings.seed)[here.process_index :: here.num_processes]
        numbers = ppo.step([prompts[index] for index in turns])
        sampled += numbers["sampled_tokens"]
        state.global_step, state.epoch = step, step * each / len(prompts)
        last = step == state.max_steps
        control.should_log = last or step % settings.logging_steps == 0
        control.should_save = bool(settings.save_steps) and (last or step % settings.save_steps == 0)
        progress.on_step_end(arguments, state, control)
        checkpoints.on_step_end(arguments, state, control)
        if control.should_log:
            progress.on_log(arguments, state, control, numbers | {"num_tokens": sampled})
        if control.should_save:
            ppo.save(output / f"checkpoint-{step}", step)
            progress.on_save(arguments, state, control)
            checkpoints.on_save(arguments, state, control)
    checkpoints.on_train_end(arguments, state, control)

    # 7. The model and its tokenizer, in the output folder itself; then the curves and the last word.
    if here.is_main_process:
        policy.save(output)
        tokenizer.save_pretrained(output)
    progress.finish(arguments, state)
    gather(here)
    here.destroy_process_group()


def load_tokenizer(config: str, settings: Settings) -> Any:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(
        settings.model_name, revision=settings.model_revision, trust_remote_code=settings.trust_remote_code
    )
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token_id is None:
            raise RefusedError(
                f"{config}: the tokenizer of {settings.model_name} has neither a padding nor an end token"
            )
        tokenizer.pad_token = tokenizer.eos_token
    if settings.chat_template_path:
        try:
            tokenizer.chat_template = Path(settings.chat_template_path).read_text(encoding="utf-8")
        except OSError as problem:
            raise RefusedError(f"{config}: `chat_template_path` cannot be read: {problem}") from problem
    return tokenizer


def context(model_config: Any) -> int:
    """The tokens that a model reads at most; far too many where it does not say."""
    return getattr(model_config.get_text_config(), "max_position_embeddings", None) or 1 << 20


class TellsPPO(TellsRewards):
    columns = (
        *("reward_std", "reward_with_kl", "kl_coef", "entropy", "explained_variance"),
        *("policy_loss", "value_loss", "clip_fraction", "value_clip_fraction", "policy_kl", "ratio"),
        *("updates", "skipped_updates", "prompt_tokens", "response_tokens", "ended"),
        *("seconds_generating", "seconds_scoring", "seconds_learning"),
    )
