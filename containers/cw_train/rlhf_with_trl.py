"""RLOO and GRPO with the reward service: TRL's own trainers, told what the config says in their words.

What these algorithms do not have is refused rather than left out. `max_steps`, `save_steps` and `logging_steps` count
TRL's steps here: updates of the weights, of which a batch of completions feeds several.
"""

from __future__ import annotations

import contextlib
import math
import os
import warnings
from pathlib import Path
from typing import Any

from cw_train import RefusedError
from cw_train.checkpoints import Checkpoints, NothingLeftToTrainError, Owner, Preemption, agree, choose
from cw_train.parting import part
from cw_train.progress import TellsCompletions
from cw_train.prompts import read_prompts, tokenized
from cw_train.reward_functions import served
from cw_train.rlhf_settings import Settings

# Keys of PPO alone, with the one value that says nothing.
PPO_ALONE = {
    "adap_kl_ctrl": False,
    "target": None,
    "horizon": None,
    "kl_penalty": "kl",
    "gamma": 1.0,
    "lam": None,
    "cliprange_value": None,
    "vf_coef": None,
    "whiten_rewards": False,
    "early_stopping": False,
    "target_kl": None,
    "ratio_threshold": None,
    "missing_eos_penalty": None,
    "local_rollout_forward_batch_size": None,
}
# Ours, if the config sets them, to TRL's; else TRL's defaults hold.
RENAMED = {
    "learning_rate": "learning_rate",
    "max_grad_norm": "max_grad_norm",
    "ppo_epochs": "num_iterations",
    "init_kl_coef": "beta",
    "cliprange": "epsilon",
    "num_generations": "num_generations",
    "gradient_accumulation_steps": "gradient_accumulation_steps",
    "bf16": "bf16",
}


def train(config: str, settings: Settings, given: set[str], client: Any, preemption: Preemption) -> None:
    refuse_what_is_ppo_s(config, settings, given)

    from datasets import Dataset
    from transformers import AutoConfig, PrinterCallback, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

    from cw_train.policy import adapter
    from cw_train.trl_rlhf import context, load_tokenizer

    kinds = {"rloo": (RLOOConfig, RLOOTrainer), "grpo": (GRPOConfig, GRPOTrainer)}
    arguments_of, trainer_of = kinds[settings.algorithm]

    # 1. The prompts. TRL tokenizes them again; here it is to leave out those that are too long.
    tokenizer = load_tokenizer(config, settings)
    said, sentence = read_prompts(config, settings, tokenizer)
    reads = context(AutoConfig.from_pretrained(settings.model_name, revision=settings.model_revision))
    prompts = [prompt.said for prompt in tokenized(config, said, settings, tokenizer, reads)]

    # 2. TRL's arguments, and where to start.
    # TRL and peft use old names of gradient checkpointing themselves; the user cannot help it.
    warnings.filterwarnings("ignore", "`(is_)?gradient_checkpointing`", FutureWarning)
    try:
        training = arguments_of(**as_trl_says(settings, given))
    except ValueError as problem:
        raise RefusedError(f"{config}: {problem}") from problem
    wish = settings.resume_from_checkpoint
    owner = Owner(run=os.environ.get("CW_RUN") or None, start=wish if isinstance(wish, str) else None)
    checkpoint, where = agree(lambda: choose(Path(settings.output_dir), owner, wish))
    if training.process_index == 0:
        print(where, sentence, sep="\n", flush=True)

    # 3. The trainer, with the reward service as its reward function.
    class TellsProgress(TellsCompletions, TrainerCallback):
        pass

    class KeepsCheckpoints(Checkpoints, TrainerCallback):
        pass

    progress = TellsProgress(checkpoint)
    checkpoints = KeepsCheckpoints(owner, preemption, keep=settings.save_total_limit)
    try:
        trainer = trainer_of(
            model=settings.model_name,
            reward_funcs=served(client),
            args=training,
            train_dataset=Dataset.from_list([{"prompt": prompt} for prompt in prompts]),
            processing_class=tokenizer,
            peft_config=adapter(settings) if settings.use_peft else None,
            callbacks=[progress, checkpoints],
        )
    except ValueError as problem:  # what only the trainer sees: layers for the adapter, sizes of batches
        raise RefusedError(f"{config}: {problem}") from problem
    trainer.remove_callback(PrinterCallback)  # it would print each log once more

    # 4. Training, the model in the output folder, the curves and the last word.
    with contextlib.suppress(NothingLeftToTrainError):  # the run was stopped between its last step and the end
        trainer.train(resume_from_checkpoint=checkpoint)
    trainer.save_model(settings.output_dir)
    progress.finish(training, trainer.state)
    part(trainer)


def refuse_what_is_ppo_s(config: str, settings: Settings, given: set[str]) -> None:
    alone = [name for name, nothing in PPO_ALONE.items() if name in given and getattr(settings, name) != nothing]
    if settings.algorithm == "grpo" and settings.score_clip is not None:
        alone.append("score_clip")
    if alone:
        names = ", ".join(f"`{name}`" for name in alone)
        them = "it" if len(alone) == 1 else "them"
        raise RefusedError(f"{config}: `algorithm: {settings.algorithm}` has no {names}; leave {them} out")


def as_trl_says(settings: Settings, given: set[str]) -> dict[str, Any]:
    """The keyword arguments of TRL's config."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))  # torchrun's; TRL asks for it before it can be asked
    values = {theirs: getattr(settings, ours) for ours, theirs in RENAMED.items() if ours in given}
    if given & {"batch_size", "mini_batch_size"}:
        values["per_device_train_batch_size"] = settings.mini_batch
        values["generation_batch_size"] = settings.batch_size * processes
    if settings.score_clip is not None:
        values["reward_clip_range"] = (-settings.score_clip, settings.score_clip)
    if settings.min_new_tokens:
        values["generation_kwargs"] = {"min_new_tokens": settings.min_new_tokens}
    if settings.use_cpu:
        values.setdefault("bf16", False)
    if settings.max_steps or not settings.num_train_epochs or settings.total_episodes:
        values["max_steps"] = settings.max_steps or updates(settings, values, processes)
    else:
        values["num_train_epochs"] = settings.num_train_epochs
    same = (
        *("output_dir", "temperature", "top_k", "top_p", "repetition_penalty", "lr_scheduler_type", "warmup_steps"),
        *("logging_steps", "seed", "use_cpu", "gradient_checkpointing", "disable_tqdm", "trust_remote_code"),
    )
    return values | {
        **{name: getattr(settings, name) for name in same},
        "max_completion_length": settings.max_new_tokens,
        "save_strategy": "steps" if settings.save_steps else "no",
        "save_steps": settings.save_steps or 500,
        "report_to": "none",
        "enable_jit_checkpoint": False,  # KeepsCheckpoints leaves with a checkpoint on SIGTERM
        "model_init_kwargs": {
            "revision": settings.model_revision,
            "dtype": settings.dtype,
            "attn_implementation": settings.attn_implementation,
        },
    }


def updates(settings: Settings, values: dict[str, Any], processes: int) -> int:
    """TRL's steps until `total_episodes` completions are sampled; its default batch is 8 and each is used once."""
    size = values.get("per_device_train_batch_size", 8) * values.get("gradient_accumulation_steps", 1) * processes
    return math.ceil((settings.total_episodes or 20000) * values.get("num_iterations", 1) / size)
