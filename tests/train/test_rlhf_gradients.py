"""The whole loss of PPO, with its gradients, against a slow one that takes a token at a time and pads nothing."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from cw_train.ppo import Experience  # noqa: E402
from rlhf_lab import Judge, make_ppo, make_texts  # noqa: E402

PROMPTS = [[2, 3, 4], [5], [6, 7, 8, 9, 10], [11, 12]]
RESPONSES = [[13, 14, 1], [2, 4, 6, 8, 10], [3], [5, 7, 9, 1]]
SCORES = [1.0, -0.5, 2.0, 0.25]
SETTINGS: dict[str, Any] = {
    "gamma": 0.9,
    "lam": 0.8,
    "cliprange": 0.1,
    "cliprange_value": 0.05,
    "vf_coef": 0.3,
    "init_kl_coef": 0.4,
}


class Slow:
    """PPO's loss from its definition: one sequence, one token, one number after another."""

    def __init__(self, model: Any, head: Any, before: Any, reference: Any, **settings: float) -> None:
        self.model, self.head, self.before, self.reference = model, head, before, reference
        self.settings = settings

    def look(self, model: Any, head: Any, prompt: list[int], response: list[int]) -> tuple[list[Any], list[Any]]:
        logprobs, values = [], []
        for number, token in enumerate(response):
            seen = model(torch.tensor([prompt + response[:number]]), output_hidden_states=True)
            logprobs.append(torch.log_softmax(seen.logits[0, -1].float(), -1)[token])
            values.append(head(seen.hidden_states[-1][0, -1].float())[0] if head else None)
        return logprobs, values

    def loss(self) -> Any:
        """The mean over all tokens of policy loss and value loss."""
        s, sequences = self.settings, []
        for prompt, response, score in zip(PROMPTS, RESPONSES, SCORES, strict=True):
            with torch.no_grad():
                old, expected = self.look(*self.before, prompt, response)
                reference, _ = self.look(self.reference, None, prompt, response)
            rewards = [-s["init_kl_coef"] * (a - b).item() for a, b in zip(old, reference, strict=True)]
            rewards[-1] += score
            values = [value.item() for value in expected] + [0.0]
            deltas = [r + s["gamma"] * values[t + 1] - values[t] for t, r in enumerate(rewards)]
            decay = s["gamma"] * s["lam"]
            advantages = [
                sum(decay ** (later - t) * deltas[later] for later in range(t, len(deltas))) for t in range(len(deltas))
            ]
            sequences.append((prompt, response, old, values, advantages))
        every = [advantage for *_, advantages in sequences for advantage in advantages]
        mean = sum(every) / len(every)
        deviation = math.sqrt(sum((a - mean) ** 2 for a in every) / (len(every) - 1))
        losses = []
        for prompt, response, old, values, advantages in sequences:
            new, estimates = self.look(self.model, self.head, prompt, response)
            for t, advantage in enumerate(advantages):
                ratio = torch.exp(new[t] - old[t])
                bounded = min(max(ratio, 1 - s["cliprange"]), 1 + s["cliprange"])
                white = (advantage - mean) / deviation
                policy = -min(ratio * white, bounded * white)
                target, near = advantage + values[t], s["cliprange_value"]
                held = min(max(estimates[t], values[t] - near), values[t] + near)
                value = max((estimates[t] - target) ** 2, (held - target) ** 2) / 2
                losses.append(policy + s["vf_coef"] * value)
        return sum(losses) / len(losses)


def moved(ppo: Any, size: float) -> None:
    """Set the weights beside where they were, so that ratios differ from 1 and some are clipped."""
    torch.manual_seed(5)
    with torch.no_grad():
        for weight in ppo.policy.parameters():
            weight.add_(size * torch.randn_like(weight))


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("mini_batch_size", [4, 2, 1])
def test_gradients_of_the_whole_loss(tiny: dict[str, Path], kind: str, mini_batch_size: int) -> None:
    sizes = {"mini_batch_size": mini_batch_size, "gradient_accumulation_steps": 4 // mini_batch_size}
    scores = iter(SCORES)
    ppo = make_ppo(tiny[kind], Judge(lambda _: next(scores)), **SETTINGS, **sizes)
    ppo.policy.eval()
    moved(ppo, 0.02)  # away from the reference
    before = copy.deepcopy((ppo.policy.model, ppo.policy.value_head))
    experience, _ = ppo.gather([said("any")] * 4, make_texts(RESPONSES, PROMPTS))
    moved(ppo, 0.02)  # away from where the completions were sampled
    means, norm = ppo.gradients(experience, [2, 0, 3, 1])
    fast = {name: weight.grad.clone() for name, weight in ppo.policy.named_parameters()}
    ppo.optimizer.zero_grad()

    slow = Slow(ppo.policy.model, ppo.policy.value_head, before, ppo.reference.frozen, **SETTINGS)
    loss = slow.loss()
    loss.backward()
    assert 0 < means[2] < 1 and 0 < means[3] < 1, "the test wants some tokens clipped and some not"
    assert means[0] + SETTINGS["vf_coef"] * means[1] == pytest.approx(loss.item(), rel=1e-4)
    for name, weight in ppo.policy.named_parameters():
        torch.testing.assert_close(
            fast[name], weight.grad, rtol=1e-3, atol=1e-5, msg=lambda text, n=name: f"{n}: {text}"
        )
    whole = math.sqrt(sum(weight.grad.square().sum().item() for weight in ppo.policy.parameters()))
    assert norm == pytest.approx(whole, rel=1e-3)


def said(text: str) -> Any:
    from cw_train.prompts import Prompt

    return Prompt(text, [2])


def test_checkpointed_gradients_are_the_same(tiny: dict[str, Path]) -> None:
    found = []
    for again in (False, True):
        ppo = make_ppo(tiny["llama"], mini_batch_size=2, gradient_accumulation_steps=2, gradient_checkpointing=again)
        ppo.policy.train()
        experience = some_experience(ppo)
        ppo.gradients(experience, [0, 1, 2, 3])
        found.append([weight.grad.clone() for weight in ppo.weights])
    for plain, checkpointed in zip(*found, strict=True):
        torch.testing.assert_close(plain, checkpointed)


def some_experience(ppo: Any) -> Experience:
    ppo.policy.eval()
    experience, _ = ppo.gather([said("any")] * 4, make_texts(RESPONSES, PROMPTS))
    ppo.policy.train()
    return experience


def test_early_stopping_leaves_the_weights_where_they_are(tiny: dict[str, Path]) -> None:
    """A policy that is 1 nat a token away stops at a target below 2/3, before it takes another step."""
    for target, updates in ((0.6, 0), (0.7, 4)):
        ppo = make_ppo(tiny["llama"], mini_batch_size=4, early_stopping=True, target_kl=target, learning_rate=1e-9)
        experience = some_experience(ppo)
        away = Experience(experience.texts, experience.logprobs + 1, *fields(experience))
        before = [weight.clone() for weight in ppo.weights]
        numbers = ppo.learn(away)
        assert numbers["updates"] == updates
        assert numbers["policy_kl"] == pytest.approx(1, abs=1e-4)
        assert updates or all(torch.equal(old, new) for old, new in zip(before, ppo.weights, strict=True))


def fields(experience: Experience) -> tuple[Any, ...]:
    return experience.values, experience.advantages, experience.returns


def test_early_stopping_ends_the_passes_of_a_policy_that_runs_away(tiny: dict[str, Path]) -> None:
    ppo = make_ppo(
        tiny["llama"], mini_batch_size=2, ppo_epochs=10, early_stopping=True, target_kl=0.1, learning_rate=0.02
    )
    numbers = ppo.learn(some_experience(ppo))
    assert 0 < numbers["updates"] < 20


def test_updates_with_a_ratio_out_of_bounds_are_skipped(tiny: dict[str, Path]) -> None:
    """e³ is above 10."""
    ppo = make_ppo(tiny["llama"], mini_batch_size=2, ppo_epochs=2)
    experience = some_experience(ppo)
    away = Experience(experience.texts, experience.logprobs - 3, *fields(experience))
    before = [weight.clone() for weight in ppo.weights]
    numbers = ppo.learn(away)
    assert (numbers["updates"], numbers["skipped_updates"]) == (0, 4)
    assert numbers["ratio"] == pytest.approx(math.exp(3), rel=1e-3)
    assert all(torch.equal(old, new) for old, new in zip(before, ppo.weights, strict=True))


def test_gradients_that_are_no_numbers_are_not_stepped_on(tiny: dict[str, Path]) -> None:
    ppo = make_ppo(tiny["llama"], mini_batch_size=4, ppo_epochs=1)
    experience = some_experience(ppo)
    broken = Experience(experience.texts, experience.logprobs, *fields(experience)[:2], experience.returns * math.nan)
    before = [weight.clone() for weight in ppo.weights]
    assert ppo.learn(broken)["skipped_updates"] == 1
    assert all(torch.equal(old, new) for old, new in zip(before, ppo.weights, strict=True))
