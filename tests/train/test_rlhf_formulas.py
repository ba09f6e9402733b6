"""Each equation of PPO against numbers worked by hand; the sources are named where the numbers are."""

from __future__ import annotations

import math
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from cw_train.ppo_formulas import (  # noqa: E402
    adapted,
    entropy,
    full_divergence,
    generalized_advantages,
    kl_penalty,
    policy_losses,
    token_logprobs,
    token_rewards,
    value_losses,
    variance,
    whiten,
)


def tensor(*values: Any) -> Any:
    return torch.tensor(values, dtype=torch.float64)


def same(actual: Any, *expected: Any) -> None:
    torch.testing.assert_close(actual, tensor(*expected), rtol=1e-9, atol=1e-9)


REWARDS, VALUES = tensor([1, 0, 2]), tensor([0.5, 1, 1.5])
ALL = torch.ones(1, 3, dtype=torch.long)


def test_generalized_advantages_by_hand() -> None:
    """Schulman et al. 2016, eq. 12 and 16, with γ = 0.9 and λ = 0.8.

    δ = (1 + 0.9·1 - 0.5, 0 + 0.9·1.5 - 1, 2 - 1.5) = (1.4, 0.35, 0.5)
    A = (1.4 + 0.72·0.71, 0.35 + 0.72·0.5, 0.5) = (1.9112, 0.71, 0.5)
    """
    advantages, returns = generalized_advantages(REWARDS, VALUES, ALL, gamma=0.9, lam=0.8)
    same(advantages, [1.9112, 0.71, 0.5])
    same(returns, [2.4112, 1.71, 2.0])


def test_generalized_advantages_at_the_ends_of_lambda() -> None:
    """Schulman et al. 2016, eq. 17 and 18: λ = 0 is the one-step residual, λ = 1 the discounted return minus V."""
    advantages, _ = generalized_advantages(REWARDS, VALUES, ALL, gamma=0.9, lam=0)
    same(advantages, [1.4, 0.35, 0.5])
    advantages, returns = generalized_advantages(REWARDS, VALUES, ALL, gamma=0.9, lam=1)
    same(returns, [1 + 0.81 * 2, 0.9 * 2, 2])
    same(advantages, [2.62 - 0.5, 1.8 - 1, 2 - 1.5])


def test_what_lies_in_the_padding_changes_no_advantage() -> None:
    mask = torch.tensor([[1, 1, 1, 0, 0]])
    advantages, returns = generalized_advantages(
        tensor([1, 0, 2, 7, -3]), tensor([0.5, 1, 1.5, 100, 5]), mask, gamma=0.9, lam=0.8
    )
    same(advantages, [1.9112, 0.71, 0.5, 0, 0])
    same(returns, [2.4112, 1.71, 2.0, 0, 0])


def test_the_clipped_objective() -> None:
    """Schulman et al. 2017, eq. 7 and figure 1, with ε = 0.2: the four corners and the middle."""
    ratios, advantages = tensor(1.5, 0.5, 0.5, 1.5, 1.0), tensor(2.0, 2.0, -2.0, -2.0, 3.0)
    losses = policy_losses(ratios.log(), torch.zeros_like(ratios), advantages, 0.2)
    same(losses, -2.4, -1.0, 1.6, 3.0, -3.0)


def test_the_clipped_objective_has_no_slope_beyond_the_clip() -> None:
    """Schulman et al. 2017, figure 1: flat where a larger step would only look better."""
    logprobs = tensor(math.log(1.5), math.log(0.5), math.log(0.5), math.log(1.5)).requires_grad_()
    policy_losses(logprobs, torch.zeros(4), tensor(2.0, 2.0, -2.0, -2.0), 0.2).sum().backward()
    same(logprobs.grad, 0.0, -2.0 * 0.5, 0.0, 2.0 * 1.5)


def test_the_clipped_value_loss() -> None:
    """OpenAI baselines, ppo2: V_old = 1, ε = 0.2. V = 1.5 is cut to 1.2 and V = 0.5 to 0.8; the worse counts."""
    losses = value_losses(tensor(1.5, 0.5, 1.1), tensor(1.0, 1.0, 1.0), tensor(2.0, 1.0, 2.0), 0.2)
    same(losses, 0.64 / 2, 0.25 / 2, 0.81 / 2)


@pytest.mark.parametrize(
    ("kl", "expected"),
    [
        (6.0, 0.2),  # on target
        (6.6, 0.2 * 1.01),  # 10 % above
        (12.0, 0.2 * 1.02),  # far above: the error is cut to 0.2
        (1.0, 0.2 * 0.98),
        (-3.0, 0.2 * 0.98),
    ],
)
def test_the_adaptive_controller(kl: float, expected: float) -> None:
    """Ziegler et al. 2019, section 2.2, with the paper's K = 0.1 as 1000 samples over a horizon of 10000."""
    assert adapted(0.2, kl, target=6.0, samples=1000, horizon=10000.0) == pytest.approx(expected, rel=1e-12)


def test_rewards_of_tokens() -> None:
    """Ziegler et al. 2019, eq. 2, with β = 0.5: penalties everywhere, scores 2 and -1 on the last tokens."""
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    rewards = token_rewards(tensor(2, -1), tensor([0.1, 0.2, 9.0], [-0.4, 0, 0.6]), mask, 0.5)
    same(rewards, [-0.05, 1.9, 0], [0.2, 0, -1.3])


def test_penalties_of_one_token() -> None:
    """TRL 0.11's definitions of `kl_penalty`, for d = -0.4 and 0.6."""
    d = tensor(-0.4, 0.6)
    same(kl_penalty("kl", d), -0.4, 0.6)
    same(kl_penalty("abs", d), 0.4, 0.6)
    same(kl_penalty("mse", d), 0.08, 0.18)


def test_the_full_divergence_and_the_entropy() -> None:
    """p = (½, ¼, ¼), q = (¼, ¼, ½): KL = ½ ln 2 - ¼ ln 2 and H(p) = 3/2 ln 2. Logits may have any offset."""
    p, q = tensor([[0.5, 0.25, 0.25]]).log() + 3, tensor([[0.25, 0.25, 0.5]]).log() - 1
    same(full_divergence(p, q), [0.25 * math.log(2)])
    same(full_divergence(p, p), [0])
    same(entropy(p), [1.5 * math.log(2)])
    same(token_logprobs(p, torch.tensor([[2]])), [math.log(0.25)])


def test_the_sampled_penalty_is_the_divergence_on_average() -> None:
    """The expectation under p of log p - log q is KL(p ‖ q), here summed exactly over the vocabulary."""
    p, q = torch.randn(1, 1, 5, dtype=torch.float64), torch.randn(1, 1, 5, dtype=torch.float64)
    each = [
        token_logprobs(p, torch.tensor([[word]])).exp()
        * kl_penalty("kl", token_logprobs(p, torch.tensor([[word]])) - token_logprobs(q, torch.tensor([[word]])))
        for word in range(5)
    ]
    torch.testing.assert_close(sum(each), full_divergence(p, q))


def test_whitening() -> None:
    """1, 2, 3 have mean 2 and, as a sample, variance 1; what the mask hides counts for nothing."""
    values, mask = tensor([1, 2, 3, 99]), torch.tensor([[1, 1, 1, 0]])
    torch.testing.assert_close(whiten(values, mask), tensor([-1, 0, 1, 0]), rtol=0, atol=1e-7)
    torch.testing.assert_close(whiten(2 * values, mask, shift_mean=False), tensor([3, 4, 5, 0]), rtol=0, atol=1e-7)


def test_one_token_alone_is_whitened_to_nothing() -> None:
    same(whiten(tensor([5.0]), torch.ones(1, 1)), [0.0])


def test_variance_from_sums() -> None:
    """2, 4, 6: sum 12, squares 56, variance 4."""
    assert variance(12, 56, 3) == pytest.approx(4)
    assert variance(5, 25, 1) == 0
