"""The equations of PPO on language models, each with its source; tensors in, tensors out.

Shapes: B completions of this process, R response tokens, V the vocabulary. A mask is 1 where a response has a token.

Sources: PPO, Schulman et al. 2017 (arXiv:1707.06347); generalized advantages, Schulman et al. 2016 (arXiv:1506.02438);
language models, Ziegler et al. 2019 (arXiv:1909.08593).
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def token_logprobs(logits: Tensor, tokens: Tensor) -> Tensor:
    """log p of tokens [B, R] under logits [B, R, V]."""
    return logits.gather(-1, tokens.unsqueeze(-1)).squeeze(-1) - logits.logsumexp(-1)


def entropy(logits: Tensor) -> Tensor:
    """[B, R, V] to [B, R], nats."""
    log_p = logits.log_softmax(-1)
    return -(log_p.exp() * log_p).sum(-1)


def kl_penalty(kind: str, log_ratio: Tensor) -> Tensor:
    """What a token costs, from log p - log p_reference of the token that was sampled.

    `kl` is Ziegler et al. 2019, eq. 2: an unbiased estimate of the divergence that can be negative for one token.
    """
    return {"kl": log_ratio, "abs": log_ratio.abs(), "mse": log_ratio.square() / 2}[kind]


def full_divergence(logits: Tensor, reference: Tensor) -> Tensor:
    """KL(policy ‖ reference) of the next token, summed over the vocabulary: [B, R, V] twice to [B, R]."""
    log_p, log_q = logits.log_softmax(-1), reference.log_softmax(-1)
    return (log_p.exp() * (log_p - log_q)).sum(-1)


def token_rewards(scores: Tensor, kl: Tensor, mask: Tensor, kl_coef: float) -> Tensor:
    """Ziegler et al. 2019, eq. 2, token by token: each pays its penalty, the last of a response earns the score [B]."""
    last = mask.sum(-1, keepdim=True) - 1
    return (-kl_coef * kl * mask).scatter_add(-1, last, scores.unsqueeze(-1))


def generalized_advantages(
    rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float
) -> tuple[Tensor, Tensor]:
    """Schulman et al. 2016, eq. 16: A_t = Σ_l (γλ)^l δ_{t+l} with δ_t = r_t + γ V_{t+1} - V_t; and A_t + V_t.

    A response ends the episode, also when it was cut at the limit: V is 0 after its last token. All [B, R].
    """
    rewards, values = rewards * mask, values * mask
    following = torch.nn.functional.pad(values[:, 1:], (0, 1))
    advantages = rewards + gamma * following - values
    for token in reversed(range(advantages.shape[-1] - 1)):
        advantages[:, token] += gamma * lam * advantages[:, token + 1]
    return advantages, advantages + values


def whiten(values: Tensor, mask: Tensor, shift_mean: bool = True) -> Tensor:
    """Variance 1 over the tokens of all processes, and mean 0 unless the mean is to stay; [B, R]."""
    count, summed = total(torch.stack([mask.sum().float(), (values * mask).sum()]))
    mean = summed / count
    squares = total(((values - mean).square() * mask).sum())
    scaled = (values - mean) * (squares / (count - 1).clamp(min=1) + 1e-8).rsqrt()
    return (scaled if shift_mean else scaled + mean) * mask


def total(values: Tensor) -> Tensor:
    """The sum over all processes, in place."""
    if dist.is_initialized():
        dist.all_reduce(values)
    return values


def adapted(kl_coef: float, kl: float, target: float, samples: int, horizon: float) -> float:
    """Ziegler et al. 2019, section 2.2: β ← β (1 + K e) with e = clip(KL / target - 1, -0.2, 0.2).

    K is samples / horizon: the paper's 0.1 is a batch of 1000 with the default horizon.
    """
    return kl_coef * (1 + min(max(kl / target - 1, -0.2), 0.2) * samples / horizon)


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


def variance(summed: float, squares: float, count: float) -> float:
    """Of a sample, from its sum and the sum of its squares."""
    return max(squares - summed * summed / count, 0.0) / max(count - 1, 1)
