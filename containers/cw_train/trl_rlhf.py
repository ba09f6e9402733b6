"""Reinforcement learning from a reward service: PPO, or TRL's RLOO and GRPO with the same service.

PPO, a step at a time: the policy completes a batch of prompts; the service scores the completions; every token is
charged for how far the policy has moved from the model it began as, and the last one earns the score; a value head
says what was to be expected, so that each token has an advantage; then a few passes of clipped updates make tokens
with a positive advantage likelier. The keys are those of TRL's PPO trainer up to 0.11, which TRL no longer has.

Sources: PPO, Schulman et al. 2017 (arXiv:1707.06347); GAE, Schulman et al. 2016 (arXiv:1506.02438); language models,
Ziegler et al. 2019 (arXiv:1909.08593). Shapes: B completions of this process, R response tokens, V the vocabulary.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from cw_train import RefusedError
from cw_train.checkpoints import Checkpoints, NothingLeftToTrainError, Owner, Preemption, agree, choose
from cw_train.progress import Progress
from cw_train.prompts import Prompt, answer, read_prompts, tokenized, turn
from cw_train.rlhf_settings import Settings, read_settings
from cw_train.trl_sft import read_config

if TYPE_CHECKING:
    from torch import Tensor

    from cw_train.policy import Policy, Reference, Texts


def main(config: str) -> None:
    preemption = Preemption()  # first of all: process 1 of a container ignores SIGTERM unless it listens

    # 1. The config, and the service that scores. What `env:` sets must be there before the libraries are imported.
    values = read_config(config)
    os.environ.update({name: str(value) for name, value in values.pop("env", {}).items()})
    settings, given = read_settings(config, values)
    if settings.disable_tqdm:
        os.environ.update(TQDM_DISABLE="1", HF_DATASETS_DISABLE_PROGRESS_BARS="1", HF_HUB_DISABLE_PROGRESS_BARS="1")
    if not os.environ.get("REWARD_MODEL_URL"):
        raise RefusedError("REWARD_MODEL_URL is not set: there is no reward service to ask; cw sets it for its runs")
    from cw_train.reward_client import RewardClient

    client = RewardClient.from_environment(deadline=settings.reward_timeout)
    if settings.algorithm != "ppo":
        from cw_train.rlhf_with_trl import train

        return train(config, settings, given, client, preemption)

    import torch
    from accelerate import PartialState
    from transformers import TrainerControl, TrainerState, get_scheduler, set_seed

    from cw_train.policy import complete, load

    # 2. Where to start: with this run's newest whole checkpoint, with what `resume_from_checkpoint` says, or afresh.
    here = PartialState(cpu=settings.use_cpu)
    output = Path(settings.output_dir)
    wish = settings.resume_from_checkpoint
    owner = Owner(run=os.environ.get("CW_RUN") or None, start=wish if isinstance(wish, str) else None)
    checkpoint, sentence = agree(lambda: choose(output, owner, wish))
    say = print if here.is_main_process else lambda *_: None
    say(sentence)

    # 3. The policy with its value head, and the reference. One seed for all, so that every process begins the same.
    set_seed(settings.seed)
    tokenizer = load_tokenizer(config, settings)
    policy, reference = load(settings, tokenizer, checkpoint)
    policy.to(here.device)
    if reference.frozen is not None:
        reference.frozen.to(here.device)

    # 4. The prompts.
    said, sentence = read_prompts(config, settings, tokenizer)
    context = getattr(policy.model.config.get_text_config(), "max_position_embeddings", None) or 1 << 20
    prompts = tokenized(config, said, settings, tokenizer, context)
    left_out = len(said) - len(prompts)
    say(sentence + (f"; {left_out} of them are empty or too long" if left_out else ""))

    # 5. What learns.
    each = settings.batch_size * here.num_processes  # completions of a step, over all processes
    state = TrainerState(max_steps=settings.steps(len(prompts), here.num_processes))
    state.is_world_process_zero = here.is_main_process
    weights = [weight for weight in policy.parameters() if weight.requires_grad]
    optimizer = torch.optim.Adam(weights, lr=settings.learning_rate, fused=here.device.type == "cuda" or None)
    scheduler = get_scheduler(settings.lr_scheduler_type, optimizer, settings.warmup_steps, state.max_steps)
    learner: Any = policy
    if here.num_processes > 1:
        learner = torch.nn.parallel.DistributedDataParallel(policy, broadcast_buffers=False)
    torch.manual_seed(settings.seed + here.process_index)  # from here on each process draws its own numbers
    kl_coef = settings.init_kl_coef
    if checkpoint:
        state.global_step, kl_coef = restore(Path(checkpoint), optimizer, scheduler)

    # 6. The hooks that TRL's trainers call too.
    arguments = SimpleNamespace(
        output_dir=settings.output_dir, device=here.device, save_strategy="steps", save_only_model=False
    )
    control = TrainerControl()
    progress = TellsRewards(checkpoint)
    checkpoints = Checkpoints(owner, preemption, keep=settings.save_total_limit)
    with contextlib.suppress(NothingLeftToTrainError):  # the run was stopped between its last step and the end
        progress.on_train_begin(arguments, state, control)
        checkpoints.on_train_begin(arguments, state, control)

    # 7. Training.
    sampled = 0  # tokens, since this process began, over all processes
    for step in range(state.global_step + 1, state.max_steps + 1):
        began = time.perf_counter()
        chosen = turn(step, len(prompts), each, settings.seed)[here.process_index :: here.num_processes]
        policy.eval()
        asked = [prompts[index] for index in chosen]
        texts = complete(policy, [prompt.tokens for prompt in asked])
        generated = time.perf_counter()
        experience, seen = gather(policy, reference, client, tokenizer, asked, texts, settings, kl_coef)
        scored = time.perf_counter()
        policy.train()
        learned = learn(learner, optimizer, experience, settings)
        rate = scheduler.get_last_lr()[0]
        scheduler.step()

        sampled += round(seen["response_tokens"] * each)
        seconds = {
            "seconds_generating": generated - began,
            "seconds_scoring": scored - generated,
            "seconds_learning": time.perf_counter() - scored,
        }
        numbers = {"learning_rate": rate, "kl_coef": kl_coef, "num_tokens": sampled} | seen | learned | seconds
        if settings.adap_kl_ctrl:
            kl_coef = adapted(kl_coef, seen["kl"], settings.target, each, settings.horizon)

        state.global_step, state.epoch = step, step * each / len(prompts)
        control.should_log = step % settings.logging_steps == 0 or step == state.max_steps
        control.should_save = bool(settings.save_steps) and (step % settings.save_steps == 0 or step == state.max_steps)
        progress.on_step_end(arguments, state, control)
        checkpoints.on_step_end(arguments, state, control)
        if control.should_log:
            progress.on_log(arguments, state, control, numbers)
        if control.should_save:
            save(output / f"checkpoint-{step}", policy, optimizer, scheduler, tokenizer, state, kl_coef)
            progress.on_save(arguments, state, control)
            checkpoints.on_save(arguments, state, control)
    checkpoints.on_train_end(arguments, state, control)

    # 8. The model and its tokenizer, in the output folder itself; then the curves and the last word.
    if here.is_main_process:
        policy.save(output)
        tokenizer.save_pretrained(output)
    progress.finish(arguments, state)
    here.wait_for_everyone()
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


# ---- Experience ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Experience:
    """What a step learns from. All tensors are [B, R] float32, and mean nothing where the texts' mask is 0."""

    texts: Texts
    logprobs: Tensor  # of the policy that sampled the completions
    values: Tensor  # what that policy's value head expected before each token
    advantages: Tensor  # whitened
    returns: Tensor  # what the value head should have expected


def gather(
    policy: Policy,
    reference: Reference,
    client: Any,
    tokenizer: Any,
    prompts: Sequence[Prompt],
    texts: Texts,
    settings: Settings,
    kl_coef: float,
) -> tuple[Experience, dict[str, float]]:
    """Scores, penalties and advantages of completions; and the step's numbers, over all processes."""
    import torch

    responses = texts.responses.tolist()
    spoken = [tokens[:length] for tokens, (_, length) in zip(responses, texts.lengths, strict=True)]
    completions = tokenizer.batch_decode(spoken, skip_special_tokens=True)
    pairs = [(prompt.said, answer(prompt.said, text)) for prompt, text in zip(prompts, completions, strict=True)]
    answered = beside(lambda: client.score(pairs))  # the service works while this process does
    logprobs, values, kl, entropy = observe(policy, reference, texts, settings)
    raw = torch.tensor(answered(), dtype=torch.float32, device=logprobs.device)
    scores = raw if settings.score_clip is None else raw.clamp(-settings.score_clip, settings.score_clip)
    if settings.missing_eos_penalty is not None:
        ended = torch.tensor(texts.ended, device=scores.device)
        scores = torch.where(ended, scores, scores - settings.missing_eos_penalty)

    mask = texts.mask
    rewards = token_rewards(scores, kl, mask, kl_coef)
    if settings.whiten_rewards:
        rewards = whiten(rewards, mask, shift_mean=False)
    advantages, returns = generalized_advantages(rewards, values, mask, settings.gamma, settings.lam)
    experience = Experience(texts, logprobs, values, whiten(advantages, mask), returns)
    return experience, observed(experience, raw, rewards, kl, entropy)


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


def observe(policy: Policy, reference: Reference, texts: Texts, settings: Settings) -> tuple[Tensor, ...]:
    """Log-probabilities, values, KL penalties and entropies of the tokens, [B, R] each and 0 where nothing is."""
    import torch

    from cw_train.policy import token_logprobs

    count, width = texts.mask.shape
    parts = []
    with torch.no_grad():
        for first in range(0, count, settings.mini_batch):
            some = texts.rows(range(first, min(first + settings.mini_batch, count)))
            logits, values = policy.read(some)
            logprobs = token_logprobs(logits, some.responses)
            before = reference.logits(some)
            if settings.kl_penalty == "full":
                kl = full_divergence(logits, before)
            else:
                kl = kl_penalty(settings.kl_penalty, logprobs - token_logprobs(before, some.responses))
            part = torch.stack([logprobs, values, kl, entropy_of(logits)]) * some.mask
            parts.append(torch.nn.functional.pad(part, (0, width - part.shape[-1])))
    return tuple(torch.cat(parts, dim=1))


def kl_penalty(kind: str, log_ratio: Tensor) -> Tensor:
    """What a token costs, from log p - log p_reference of the token that was sampled.

    `kl` is Ziegler et al. 2019, eq. 2: an unbiased estimate of the divergence that can be negative for one token.
    """
    return {"kl": log_ratio, "abs": log_ratio.abs(), "mse": log_ratio.square() / 2}[kind]


def full_divergence(logits: Tensor, reference: Tensor) -> Tensor:
    """KL(policy ‖ reference) of the next token, summed over the vocabulary: [B, R, V] twice to [B, R]."""
    log_p, log_q = logits.log_softmax(-1), reference.log_softmax(-1)
    return (log_p.exp() * (log_p - log_q)).sum(-1)


def entropy_of(logits: Tensor) -> Tensor:
    """[B, R, V] to [B, R], nats."""
    log_p = logits.log_softmax(-1)
    return -(log_p.exp() * log_p).sum(-1)


def token_rewards(scores: Tensor, kl: Tensor, mask: Tensor, kl_coef: float) -> Tensor:
    """Ziegler et al. 2019, eq. 2, token by token: each pays its penalty, the last of a response earns the score [B]."""
    rewards = -kl_coef * kl * mask
    last = mask.sum(-1, keepdim=True) - 1
    return rewards.scatter_add(-1, last, scores.unsqueeze(-1).to(rewards.dtype))


def generalized_advantages(
    rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float
) -> tuple[Tensor, Tensor]:
    """Schulman et al. 2016, eq. 16: A_t = Σ_l (γλ)^l δ_{t+l} with δ_t = r_t + γ V_{t+1} - V_t; and A_t + V_t.

    A response ends the episode, also when it was cut at the limit: V is 0 after its last token. All [B, R].
    """
    rewards, values = rewards * mask, values * mask
    following = values.roll(-1, dims=-1)
    following[:, -1] = 0
    deltas = rewards + gamma * following - values
    advantages = deltas.clone()
    for token in reversed(range(deltas.shape[-1] - 1)):
        advantages[:, token] += gamma * lam * advantages[:, token + 1]
    return advantages * mask, (advantages + values) * mask


def whiten(values: Tensor, mask: Tensor, shift_mean: bool = True) -> Tensor:
    """Variance 1 over the tokens of all processes, and mean 0 unless the mean is to stay; [B, R]."""
    import torch

    count, summed = total(torch.stack([mask.sum(), (values * mask).sum()]))
    mean = summed / count
    squares = total(((values - mean).square() * mask).sum())
    scaled = (values - mean) * (squares / (count - 1).clamp(min=1) + 1e-8).rsqrt()
    return (scaled if shift_mean else scaled + mean) * mask


def total(values: Tensor) -> Tensor:
    """The sum over all processes, in place."""
    import torch.distributed as dist

    if dist.is_initialized():
        dist.all_reduce(values)
    return values


def adapted(kl_coef: float, kl: float, target: float, samples: int, horizon: float) -> float:
    """Ziegler et al. 2019, section 2.2: β ← β (1 + K e) with e = clip(KL / target - 1, -0.2, 0.2).

    K is samples / horizon: the paper's 0.1 is a batch of 1000 with the default horizon.
    """
    return kl_coef * (1 + min(max(kl / target - 1, -0.2), 0.2) * samples / horizon)


def observed(experience: Experience, scores: Tensor, rewards: Tensor, kl: Tensor, entropy: Tensor) -> dict[str, float]:
    """The numbers of a step's completions, over all processes; scores [B] as the service gave them."""
    import torch

    texts, mask = experience.texts, experience.texts.mask
    off = (experience.returns - experience.values) * mask
    sums = [
        *(scores.sum(), scores.square().sum(), rewards.sum(), kl.sum(), entropy.sum(), mask.sum()),
        *(experience.returns.sum(), experience.returns.square().sum(), off.sum(), off.square().sum()),
    ]
    lengths = torch.tensor(texts.lengths, device=scores.device).sum(0)
    counts = [torch.tensor(len(scores)), lengths[0], torch.tensor(sum(texts.ended))]
    everything = total(torch.stack([number.to(scores.device, torch.float64) for number in [*sums, *counts]])).tolist()
    score, score_2, reward, divergence, entropies, tokens, returns, returns_2, error, error_2 = everything[:10]
    count, prompt_tokens, ended = everything[10:]
    spread = variance(returns, returns_2, tokens)
    return {
        "reward": score / count,
        "reward_std": math.sqrt(variance(score, score_2, count)),
        "reward_with_kl": reward / count,
        "kl": divergence / count,
        "entropy": entropies / tokens,
        "explained_variance": 1 - variance(error, error_2, tokens) / spread if spread else math.nan,
        "prompt_tokens": prompt_tokens / count,
        "response_tokens": tokens / count,
        "ended": ended / count,
    }


def variance(summed: float, squares: float, count: float) -> float:
    """Of a sample, from its sum and the sum of its squares."""
    return max(squares - summed * summed / count, 0.0) / max(count - 1, 1)


# ---- Learning --------------------------------------------------------------------------------------------------------


def policy_losses(logprobs: Tensor, old: Tensor, advantages: Tensor, cliprange: float) -> Tensor:
    """Schulman et al. 2017, eq. 7, negated: max(-A r, -A clip(r, 1 - ε, 1 + ε)) of each token, r = p / p_old."""
    ratio = (logprobs - old).exp()
    return (-advantages * ratio).maximum(-advantages * ratio.clamp(1 - cliprange, 1 + cliprange))


def value_losses(values: Tensor, old: Tensor, returns: Tensor, cliprange: float) -> Tensor:
    """½ max((V - R)², (clip(V, V_old - ε, V_old + ε) - R)²) of each token: no gain from a larger move than ε.

    Not in the papers but in their code: OpenAI baselines, ppo2/model.py; examined by Engstrom et al. 2020, section 3.
    """
    clipped = old + (values - old).clamp(-cliprange, cliprange)
    return (values - returns).square().maximum((clipped - returns).square()) / 2


def losses(logprobs: Tensor, values: Tensor, experience: Experience, settings: Settings) -> tuple[Tensor, Tensor]:
    """The loss of some texts, summed over their tokens; and what to tell of it, [6], summed in the same way."""
    import torch

    mask, old, before = experience.texts.mask, experience.logprobs, experience.values
    # Padding is set to what it was, so that nothing there can overflow.
    logprobs = logprobs.where(mask.bool(), old)
    policy = policy_losses(logprobs, old, experience.advantages, settings.cliprange) * mask
    value = value_losses(values, before, experience.returns, settings.cliprange_value) * mask
    loss = policy.sum() + settings.vf_coef * value.sum()
    with torch.no_grad():
        ratio = (logprobs - old).exp()
        clipped = policy > -experience.advantages * ratio * mask
        value_clipped = value > (values - experience.returns).square() * mask / 2
        told = [policy, value, clipped, value_clipped, (old - logprobs) * mask, ratio * mask]
        return loss, torch.stack([numbers.sum(dtype=torch.float32) for numbers in told])


def learn(learner: Any, optimizer: Any, experience: Experience, settings: Settings) -> dict[str, float]:
    """The updates of a step: `ppo_epochs` passes over its texts, in a new order each. Means over the updates.

    An update's loss is the mean over the tokens of all its texts, whatever mini-batches and processes they lie in.
    """
    import torch
    from torch.nn.utils import clip_grad_norm_, get_total_norm

    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    processes = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
    told: list[list[float]] = []
    norms: list[float] = []
    skipped, stopped = 0, False
    for rows in updates(settings):
        tokens = total(experience.texts.mask[rows].sum().float())
        summed = torch.zeros(6, device=tokens.device)
        parts = [rows[first : first + settings.mini_batch] for first in range(0, len(rows), settings.mini_batch)]
        for part in parts:
            some = rows_of(experience, part)
            together = part is parts[-1] or processes == 1
            with contextlib.nullcontext() if together else learner.no_sync():
                loss, numbers = losses(*learner(some.texts), some, settings)
                (loss * processes / tokens).backward()  # gradients are averaged over the processes
            summed += numbers
        means = (total(summed) / tokens).tolist()
        moved, ratio = means[4:]
        stopped = settings.early_stopping and moved > 1.5 * settings.target_kl
        if settings.max_grad_norm is None:
            norm = get_total_norm([weight.grad for weight in weights if weight.grad is not None]).item()
        else:
            norm = clip_grad_norm_(weights, settings.max_grad_norm).item()
        usable = ratio <= settings.ratio_threshold and math.isfinite(norm)
        if usable and not stopped:
            optimizer.step()
        optimizer.zero_grad()
        told.append(means)
        norms.append(norm)
        skipped += not usable
        if stopped:
            break
    policy, value, clipped, value_clipped, moved, ratio = (
        sum(column) / len(told) for column in zip(*told, strict=True)
    )
    return {
        "loss": policy + settings.vf_coef * value,
        "policy_loss": policy,
        "value_loss": value,
        "clip_fraction": clipped,
        "value_clip_fraction": value_clipped,
        "policy_kl": moved,
        "ratio": ratio,
        "grad_norm": sum(norms) / len(norms),
        "updates": len(told) - skipped - stopped,
        "skipped_updates": skipped,
    }


def updates(settings: Settings) -> list[list[int]]:
    """The rows of each update of a step."""
    import torch

    orders = [torch.randperm(settings.batch_size).tolist() for _ in range(settings.ppo_epochs)]
    size = settings.update_batch
    return [order[first : first + size] for order in orders for first in range(0, len(order), size)]


def rows_of(experience: Experience, rows: list[int]) -> Experience:
    texts = experience.texts.rows(rows)
    width = texts.mask.shape[1]
    tensors = (experience.logprobs, experience.values, experience.advantages, experience.returns)
    return Experience(texts, *(tensor[rows, :width] for tensor in tensors))


# ---- Checkpoints and numbers -----------------------------------------------------------------------------------------


def save(
    folder: Path, policy: Policy, optimizer: Any, scheduler: Any, tokenizer: Any, state: Any, kl_coef: float
) -> None:
    """Rank 0 saves what all processes share, each its own random numbers."""
    import torch
    from accelerate import PartialState

    here = PartialState()
    folder.mkdir(parents=True, exist_ok=True)
    if here.is_main_process:
        policy.save(folder)
        tokenizer.save_pretrained(folder)
        torch.save(optimizer.state_dict(), folder / "optimizer.pt")
        torch.save(scheduler.state_dict(), folder / "scheduler.pt")
        reached = {
            "global_step": state.global_step,
            "epoch": state.epoch,
            "kl_coef": kl_coef,
            "processes": here.num_processes,
        }
        (folder / "trainer_state.json").write_text(json.dumps(reached), encoding="utf-8")
    numbers = {"torch": torch.get_rng_state(), "python": random.getstate()}
    if here.device.type == "cuda":
        numbers["cuda"] = torch.cuda.get_rng_state(here.device)
    torch.save(numbers, folder / f"rng_state_{here.process_index}.pth")


def restore(folder: Path, optimizer: Any, scheduler: Any) -> tuple[int, float]:
    """Take up what `save` left; the steps taken, and the weight of the KL penalty.

    Raises:
        RefusedError: another number of processes, or something else than this recipe, wrote the checkpoint.
    """
    import torch
    from accelerate import PartialState

    here = PartialState()
    reached = json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
    if "kl_coef" not in reached:
        raise RefusedError(f"{folder} is not a checkpoint of PPO")
    if reached["processes"] != here.num_processes:
        raise RefusedError(
            f"{folder} was written by {reached['processes']} processes and this run has {here.num_processes}; "
            "it goes on only with as many"
        )
    optimizer.load_state_dict(torch.load(folder / "optimizer.pt", map_location=here.device, weights_only=True))
    scheduler.load_state_dict(torch.load(folder / "scheduler.pt", weights_only=True))
    numbers = torch.load(folder / f"rng_state_{here.process_index}.pth", weights_only=True)
    torch.set_rng_state(numbers["torch"])
    random.setstate(numbers["python"])
    if "cuda" in numbers:
        torch.cuda.set_rng_state(numbers["cuda"], here.device)
    return reached["global_step"], reached["kl_coef"]


class TellsRewards(Progress):
    """The hooks that announce progress, with what reinforcement learning has to tell."""

    headlines = ("loss", "reward", "kl")
    columns = (
        *("reward_std", "reward_with_kl", "kl_coef", "entropy", "explained_variance"),
        *("policy_loss", "value_loss", "clip_fraction", "value_clip_fraction", "policy_kl", "ratio"),
        *("updates", "skipped_updates", "prompt_tokens", "response_tokens", "ended"),
        *("seconds_generating", "seconds_scoring", "seconds_learning"),
    )

    def draw(self, rows: list[dict[str, Any]], folder: Path) -> Path | None:
        from cw_train.plot import draw_rewards

        super().draw(rows, folder)
        return draw_rewards(rows, folder / "reward.png")
