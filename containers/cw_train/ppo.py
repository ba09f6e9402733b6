"""PPO, a step at a time: sample completions, score them, find each token's advantage, and learn from them."""

from __future__ import annotations

import contextlib
import json
import math
import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from torch import Tensor
from torch.nn.utils import clip_grad_norm_, get_total_norm

from cw_train import RefusedError
from cw_train.policy import Policy, Reference, Texts, complete
from cw_train.ppo_formulas import (
    adapted,
    entropy,
    full_divergence,
    generalized_advantages,
    kl_penalty,
    policy_losses,
    token_logprobs,
    token_rewards,
    total,
    value_losses,
    variance,
    whiten,
)
from cw_train.prompts import Prompt, answer
from cw_train.rlhf_settings import Settings

Numbers = dict[str, float]


@dataclass(frozen=True)
class Experience:
    """What a step learns from. The tensors are [B, R] float32, and mean nothing where the texts' mask is 0."""

    texts: Texts
    logprobs: Tensor  # of the policy that sampled the completions
    values: Tensor  # what that policy's value head expected before each token
    advantages: Tensor  # whitened
    returns: Tensor  # what the value head should have expected

    def rows(self, rows: list[int]) -> Experience:
        texts = self.texts.rows(rows)
        width = texts.mask.shape[1]
        tensors = (self.logprobs, self.values, self.advantages, self.returns)
        return Experience(texts, *(tensor[rows, :width] for tensor in tensors))


class PPO:
    """A policy that learns, and all that a step changes: weights, optimizer, schedule, weight of the KL penalty."""

    def __init__(self, policy: Policy, reference: Reference, tokenizer: Any, client: Any, steps: int) -> None:
        from transformers import get_scheduler

        self.policy, self.reference, self.tokenizer, self.client = policy, reference, tokenizer, client
        self.settings = settings = policy.settings
        self.processes = PartialState().num_processes
        self.weights = [weight for weight in policy.parameters() if weight.requires_grad]
        fused = self.weights[0].device.type == "cuda" or None
        self.optimizer = torch.optim.Adam(self.weights, lr=settings.learning_rate, fused=fused)
        self.scheduler = get_scheduler(settings.lr_scheduler_type, self.optimizer, settings.warmup_steps, steps)
        self.learner: Any = policy
        if self.processes > 1:
            self.learner = torch.nn.parallel.DistributedDataParallel(policy, broadcast_buffers=False)
        self.kl_coef = settings.init_kl_coef

    def step(self, prompts: Sequence[Prompt]) -> Numbers:
        """Learn from one completion of each prompt. The numbers are over all processes, the prompts of this one."""
        settings = self.settings
        began = time.perf_counter()
        self.policy.eval()
        texts = complete(self.policy, [prompt.tokens for prompt in prompts])
        generated = time.perf_counter()
        experience, seen = self.gather(prompts, texts)
        scored = time.perf_counter()
        self.policy.train()
        learned = self.learn(experience)
        used = {"kl_coef": self.kl_coef, "learning_rate": self.scheduler.get_last_lr()[0]}
        if settings.adap_kl_ctrl:
            samples = settings.batch_size * self.processes
            self.kl_coef = adapted(self.kl_coef, seen["kl"], settings.target, samples, settings.horizon)
        self.scheduler.step()
        seconds = {
            "seconds_generating": generated - began,
            "seconds_scoring": scored - generated,
            "seconds_learning": time.perf_counter() - scored,
        }
        return used | seen | learned | seconds

    # ---- Experience

    def gather(self, prompts: Sequence[Prompt], texts: Texts) -> tuple[Experience, Numbers]:
        """Scores, penalties and advantages of completions."""
        settings, mask = self.settings, texts.mask
        pairs = self.pairs(prompts, texts)
        answered = beside(lambda: self.client.score(pairs))  # the service works while we do
        logprobs, values, kl, entropies = self.observe(texts)
        raw = torch.tensor(answered(), dtype=torch.float32, device=mask.device)
        scores = raw if settings.score_clip is None else raw.clamp(-settings.score_clip, settings.score_clip)
        if settings.missing_eos_penalty is not None:
            ended = torch.tensor(texts.ended, device=mask.device)
            scores = torch.where(ended, scores, scores - settings.missing_eos_penalty)
        rewards = token_rewards(scores, kl, mask, self.kl_coef)
        earned = rewards.sum()
        if settings.whiten_rewards:
            rewards = whiten(rewards, mask, shift_mean=False)
        advantages, returns = generalized_advantages(rewards, values, mask, settings.gamma, settings.lam)
        experience = Experience(texts, logprobs, values, whiten(advantages, mask), returns)
        return experience, summary(experience, raw, earned, kl, entropies)

    def pairs(self, prompts: Sequence[Prompt], texts: Texts) -> list[tuple[Any, Any]]:
        """What the service scores: each prompt and its completion, as texts or as messages."""
        rows = zip(texts.responses.tolist(), texts.lengths, strict=True)
        spoken = self.tokenizer.batch_decode([row[:length] for row, (_, length) in rows], skip_special_tokens=True)
        return [(prompt.said, answer(prompt.said, text)) for prompt, text in zip(prompts, spoken, strict=True)]

    @torch.no_grad()
    def observe(self, texts: Texts) -> tuple[Tensor, ...]:
        """Log-probabilities, values, KL penalties and entropies of the tokens, [B, R] each and 0 where nothing is."""
        kind, size = self.settings.kl_penalty, self.settings.mini_batch
        count, width = texts.mask.shape
        parts = []
        for first in range(0, count, size):
            some = texts.rows(range(first, min(first + size, count)))
            logits, values = self.policy.read(some)
            before = self.reference.logits(some)
            logprobs = token_logprobs(logits, some.responses)
            if kind == "full":
                kl = full_divergence(logits, before)
            else:
                kl = kl_penalty(kind, logprobs - token_logprobs(before, some.responses))
            part = torch.stack([logprobs, values, kl, entropy(logits)]) * some.mask
            parts.append(torch.nn.functional.pad(part, (0, width - part.shape[-1])))
        return tuple(torch.cat(parts, dim=1))

    # ---- Learning

    def learn(self, experience: Experience) -> Numbers:
        """The updates of a step: `ppo_epochs` passes over its texts, in a new order each. Means over the updates."""
        settings = self.settings
        told: list[list[float]] = []
        skipped, stopped = 0, False
        for rows in self.updates():
            means, norm = self.gradients(experience, rows)
            *_, moved, ratio = means
            usable = ratio <= settings.ratio_threshold and math.isfinite(norm)
            stopped = settings.early_stopping and moved > 1.5 * settings.target_kl
            if usable and not stopped:
                self.optimizer.step()
            self.optimizer.zero_grad()
            told.append([*means, norm])
            if stopped:
                break
            skipped += not usable
        means = [sum(column) / len(told) for column in zip(*told, strict=True)]
        names = ("policy_loss", "value_loss", "clip_fraction", "value_clip_fraction", "policy_kl", "ratio", "grad_norm")
        numbers = dict(zip(names, means, strict=True))
        numbers["loss"] = numbers["policy_loss"] + settings.vf_coef * numbers["value_loss"]
        return numbers | {"updates": len(told) - skipped - stopped, "skipped_updates": skipped}

    def updates(self) -> list[list[int]]:
        """The rows of each update of a step."""
        count, size = self.settings.batch_size, self.settings.update_batch
        orders = [torch.randperm(count).tolist() for _ in range(self.settings.ppo_epochs)]
        return [order[first : first + size] for order in orders for first in range(0, count, size)]

    def gradients(self, experience: Experience, rows: list[int]) -> tuple[list[float], float]:
        """Leave the gradients of an update in the weights; tell its means, as `losses` lists them, and their norm.

        The loss is the mean over the tokens of all its texts, whatever mini-batches and processes they lie in.
        """
        size = self.settings.mini_batch
        tokens = total(experience.texts.mask[rows].sum().float())
        summed = torch.zeros(6, device=tokens.device)
        for first in range(0, len(rows), size):
            some = experience.rows(rows[first : first + size])
            together = self.processes == 1 or first + size >= len(rows)
            with contextlib.nullcontext() if together else self.learner.no_sync():
                loss, numbers = losses(*self.learner(some.texts), some, self.settings)
                (loss * self.processes / tokens).backward()  # the processes' gradients are averaged
            summed += numbers
        if self.settings.max_grad_norm is not None:
            norm = clip_grad_norm_(self.weights, self.settings.max_grad_norm)
        else:
            norm = get_total_norm([weight.grad for weight in self.weights if weight.grad is not None])
        return (total(summed) / tokens).tolist(), norm.item()

    # ---- Checkpoints

    def save(self, folder: Path, step: int) -> None:
        """Rank 0 saves what all processes share, each its own random numbers."""
        here = PartialState()
        folder.mkdir(parents=True, exist_ok=True)
        if here.is_main_process:
            self.policy.save(folder)
            self.tokenizer.save_pretrained(folder)
            torch.save(self.optimizer.state_dict(), folder / "optimizer.pt")
            torch.save(self.scheduler.state_dict(), folder / "scheduler.pt")
            reached = {"global_step": step, "kl_coef": self.kl_coef, "processes": here.num_processes}
            (folder / "trainer_state.json").write_text(json.dumps(reached), encoding="utf-8")
        drawn = {"torch": torch.get_rng_state(), "python": random.getstate()}
        if here.device.type == "cuda":
            drawn["cuda"] = torch.cuda.get_rng_state(here.device)
        torch.save(drawn, folder / f"rng_state_{here.process_index}.pth")

    def restore(self, folder: Path) -> int:
        """Take up what `save` left, but for the weights; the steps taken.

        Raises:
            RefusedError: another number of processes, or something else than PPO, wrote the checkpoint.
        """
        here = PartialState()
        reached = json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
        if "kl_coef" not in reached:
            raise RefusedError(f"{folder} is not a checkpoint of PPO")
        if reached["processes"] != here.num_processes:
            raise RefusedError(
                f"{folder} is of a run with {reached['processes']} processes, and this one has {here.num_processes}: "
                "it goes on only with as many"
            )
        self.kl_coef = reached["kl_coef"]
        self.optimizer.load_state_dict(torch.load(folder / "optimizer.pt", map_location="cpu", weights_only=True))
        self.scheduler.load_state_dict(torch.load(folder / "scheduler.pt", weights_only=True))
        drawn = torch.load(folder / f"rng_state_{here.process_index}.pth", weights_only=True)
        torch.set_rng_state(drawn["torch"])
        random.setstate(drawn["python"])
        if "cuda" in drawn:
            torch.cuda.set_rng_state(drawn["cuda"], here.device)
        return int(reached["global_step"])


def beside(work: Callable[[], Any]) -> Callable[[], Any]:
    """Start work in a thread that ends with the process; the function returned waits for its result."""
    result: Future[Any] = Future()

    def run() -> None:
        try:
            result.set_result(work())
        except BaseException as problem:  # raised again where the result is waited for
            result.set_exception(problem)

    threading.Thread(target=run, daemon=True).start()
    return result.result


def losses(logprobs: Tensor, values: Tensor, experience: Experience, settings: Settings) -> tuple[Tensor, Tensor]:
    """The loss of some texts, summed over their tokens, and sums to tell of it, [6]:
    policy loss, value loss, tokens where each of them is clipped, log p_old - log p, p / p_old."""
    mask, old, before = experience.texts.mask, experience.logprobs, experience.values
    logprobs = logprobs.where(mask.bool(), old)  # so that nothing can overflow in the padding
    policy = policy_losses(logprobs, old, experience.advantages, settings.cliprange) * mask
    value = value_losses(values, before, experience.returns, settings.cliprange_value) * mask
    with torch.no_grad():
        ratio = (logprobs - old).exp()
        clipped = policy > -experience.advantages * ratio * mask
        value_clipped = value > (values - experience.returns).square() / 2 * mask
        told = (policy, value, clipped, value_clipped, (old - logprobs) * mask, ratio * mask)
        sums = torch.stack([tokens.sum(dtype=torch.float32) for tokens in told])
    return policy.sum() + settings.vf_coef * value.sum(), sums


def summary(experience: Experience, scores: Tensor, earned: Tensor, kl: Tensor, entropies: Tensor) -> Numbers:
    """The numbers of a step's completions, over all processes; scores [B] as the service gave them."""
    texts, returns = experience.texts, experience.returns
    missed = returns - experience.values
    prompt_tokens, tokens = (torch.tensor(column) for column in torch.tensor(texts.lengths).sum(0).tolist())
    counts = (torch.tensor(len(scores)), tokens, prompt_tokens, torch.tensor(sum(texts.ended)))
    sums = (scores.sum(), earned, kl.sum(), entropies.sum(), returns.sum(), missed.sum())
    squares = (scores.square().sum(), returns.square().sum(), missed.square().sum())
    everything = torch.stack([number.to(scores.device, torch.float64) for number in (*counts, *sums, *squares)])
    count, tokens, prompt_tokens, ended, score, earned, kl, entropies, *rest = total(everything).tolist()
    returned, missing, score_2, returned_2, missing_2 = rest
    spread = variance(returned, returned_2, tokens)
    return {
        "reward": score / count,
        "reward_std": math.sqrt(variance(score, score_2, count)),
        "reward_with_kl": earned / count,
        "kl": kl / count,
        "entropy": entropies / tokens,
        "explained_variance": 1 - variance(missing, missing_2, tokens) / spread if spread else math.nan,
        "prompt_tokens": prompt_tokens / count,
        "response_tokens": tokens / count,
        "sampled_tokens": tokens,
        "ended": ended / count,
    }
