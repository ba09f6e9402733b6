"""What the networks say of a completion: the same whatever stands beside it; and what is kept of them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from cw_train.policy import VALUE_HEAD, complete  # noqa: E402
from cw_train.prompts import Prompt  # noqa: E402
from rlhf_lab import Judge, make_ppo, make_texts, make_tokenizer  # noqa: E402

PROMPTS = [[2, 3, 4], [5], [6, 7, 8, 9, 10, 11, 12], [11, 12]]
RESPONSES = [[13, 14, 1], [2, 4, 6, 8, 10], [3], [5, 7, 9, 1]]
KINDS = ["llama", "gpt2"]


def speaking(ppo: Any) -> Any:
    """With a value head that says something: at first it says 0."""
    torch.manual_seed(3)
    torch.nn.init.normal_(ppo.policy.value_head.weight)
    ppo.policy.eval()
    return ppo


@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_neither_probabilities_nor_values(tiny: dict[str, Path], kind: str) -> None:
    ppo = speaking(make_ppo(tiny[kind], temperature=0.7))
    logprobs, values, kl, entropies = ppo.observe(make_texts(RESPONSES, PROMPTS))
    for row, (prompt, response) in enumerate(zip(PROMPTS, RESPONSES, strict=True)):
        alone = ppo.observe(make_texts([response], [prompt]))
        for together, single in zip((logprobs, values, kl, entropies), alone, strict=True):
            torch.testing.assert_close(together[row, : len(response)], single[0], rtol=1e-4, atol=1e-5)
            assert not together[row, len(response) :].any()
    assert values.any()


@pytest.mark.parametrize("kind", KINDS)
def test_probabilities_are_those_of_the_plain_model(tiny: dict[str, Path], kind: str) -> None:
    """One unpadded text through the model as transformers has it, at the temperature that it is sampled with."""
    ppo = make_ppo(tiny[kind], temperature=0.7)
    logprobs, *_ = ppo.observe(make_texts(RESPONSES, PROMPTS))
    prompt, response = PROMPTS[2], [*RESPONSES[2]]
    with torch.no_grad():
        logits = ppo.reference.frozen(torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1] / 0.7
    expected = logits.log_softmax(-1)[torch.arange(len(response)), response]
    torch.testing.assert_close(logprobs[2, : len(response)], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_no_completion(tiny: dict[str, Path], kind: str) -> None:
    """With only the likeliest token allowed nothing is left to chance."""
    ppo = make_ppo(tiny[kind], top_k=1, max_new_tokens=6)
    together = complete(ppo.policy, PROMPTS)
    apart = complete(
        make_ppo(tiny[kind], top_k=1, max_new_tokens=6, local_rollout_forward_batch_size=1).policy, PROMPTS
    )
    for row, prompt in enumerate(PROMPTS):
        alone = complete(ppo.policy, [prompt])
        length = alone.lengths[0][1]
        for texts in (together, apart):
            assert texts.lengths[row] == alone.lengths[0]
            assert texts.responses[row, :length].tolist() == alone.responses[0, :length].tolist()


def test_a_completion_goes_up_to_and_with_its_end(tiny: dict[str, Path]) -> None:
    ppo = make_ppo(tiny["llama"], max_new_tokens=12)
    torch.manual_seed(0)
    texts = complete(ppo.policy, PROMPTS * 8)
    assert any(texts.ended) and not all(texts.ended), "the test wants both"
    for row, (prompt, length) in enumerate(texts.lengths):
        response = texts.responses[row].tolist()
        spoken = response[:length]
        assert 1 not in spoken[:-1]
        assert (spoken[-1] == 1) == texts.ended[row]
        assert texts.ended[row] or length == 12
        assert texts.mask[row].tolist() == [1] * length + [0] * (len(response) - length)
        assert texts.attention[row].sum() == prompt + length
        assert texts.attention[row, : -len(response)].tolist()[-prompt:] == [1] * prompt


def test_an_end_that_is_also_the_padding_belongs_to_the_completion(tiny: dict[str, Path]) -> None:
    ppo = make_ppo(tiny["gpt2"], max_new_tokens=12)
    ppo.policy.model.generation_config.pad_token_id = 1
    torch.manual_seed(0)
    texts = complete(ppo.policy, PROMPTS * 8)
    assert any(texts.ended) and not all(texts.ended), "the test wants both"
    for row, (_, length) in enumerate(texts.lengths):
        assert 1 not in texts.responses[row, : length - 1]
        assert (texts.responses[row, length - 1] == 1) == texts.ended[row]
        assert (texts.responses[row, length:] == 1).all()


def test_rows_of_texts_have_no_more_padding_than_they_need() -> None:
    texts = make_texts(RESPONSES, PROMPTS).rows([3, 0])
    assert texts.tokens.tolist() == [[0, 11, 12, 5, 7, 9, 1], [2, 3, 4, 13, 14, 1, 0]]
    assert texts.attention.tolist() == [[0, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1, 0]]
    assert texts.mask.tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]
    assert texts.lengths == [(2, 4), (3, 3)]
    assert texts.ended == [True, True]


def test_the_service_is_asked_about_what_was_said(tiny: dict[str, Path]) -> None:
    judge = Judge()
    ppo = make_ppo(tiny["llama"], judge)
    messages = [{"role": "user", "content": "the fox"}]
    said = [Prompt("the red", PROMPTS[0]), *(Prompt(messages, prompt) for prompt in PROMPTS[1:])]
    ppo.gather(said, make_texts(RESPONSES, PROMPTS))
    words = make_tokenizer().convert_ids_to_tokens
    assert judge.asked[0] == ("the red", " ".join(words([13, 14])))  # without the token that ends it
    assert judge.asked[1] == (messages, [{"role": "assistant", "content": " ".join(words(RESPONSES[1]))}])


def test_what_goes_wrong_with_the_service_is_what_ends_the_step(tiny: dict[str, Path]) -> None:
    """It is asked in a thread, whose failure must not be lost."""

    class GoneError(Exception):
        pass

    def gone(_: str) -> float:
        raise GoneError("the reward service has been out of reach for 600 seconds")

    with pytest.raises(GoneError, match="out of reach for 600 seconds"):
        make_ppo(tiny["llama"], Judge(gone)).gather([Prompt("any", [2])] * 4, make_texts(RESPONSES, PROMPTS))


def test_scores_are_cut_and_unfinished_completions_pay(tiny: dict[str, Path]) -> None:
    """Scores 5, 5, 5, 5 cut to 3; the second and third completion do not end and lose 1. γ = λ = 1, no penalty."""
    ppo = make_ppo(
        tiny["llama"], Judge(lambda _: 5.0), score_clip=3.0, missing_eos_penalty=1.0, lam=1.0, init_kl_coef=0.0
    )
    said = [Prompt("any", [2])] * 4
    experience, numbers = ppo.gather(said, make_texts(RESPONSES, PROMPTS))
    last = [experience.returns[row, len(response) - 1].item() for row, response in enumerate(RESPONSES)]
    assert last == [3, 2, 2, 3]
    assert experience.returns[1].tolist() == [2] * 5
    assert numbers["reward"] == 5  # as the service gave it
    assert numbers["reward_with_kl"] == 2.5
    assert numbers["ended"] == 0.5
    assert (numbers["prompt_tokens"], numbers["response_tokens"]) == (13 / 4, 13 / 4)


def test_the_first_step_has_no_divergence(tiny: dict[str, Path]) -> None:
    for kind in ("kl", "abs", "mse", "full"):
        ppo = make_ppo(tiny["llama"], kl_penalty=kind)
        _, numbers = ppo.gather([Prompt("any", [2])] * 4, make_texts(RESPONSES, PROMPTS))
        assert numbers["kl"] == 0


def test_an_adapter_s_reference_is_the_model_without_it(tiny: dict[str, Path]) -> None:
    ppo = make_ppo(tiny["llama"], use_peft=True, lora_r=2, lora_dropout=0.0, lora_target_modules=["q_proj", "v_proj"])
    base = make_ppo(tiny["llama"])
    texts = make_texts(RESPONSES, PROMPTS)
    adapted = [name for name, weight in ppo.policy.named_parameters() if weight.requires_grad]
    assert all("lora_" in name or name.startswith("value_head") for name in adapted)
    with torch.no_grad():
        for name, weight in ppo.policy.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(weight)
        moved, _ = ppo.policy.read(texts)
        reference = ppo.reference.logits(texts)
        torch.testing.assert_close(reference, base.reference.logits(texts))
        assert (moved - reference).abs().max() > 0.1
        again, _ = ppo.policy.read(texts)  # and the adapter is on again
    torch.testing.assert_close(again, moved)
    assert [name for name, weight in ppo.policy.named_parameters() if weight.requires_grad] == adapted


def test_dropout_is_off_in_the_model_and_on_in_the_adapter(tiny: dict[str, Path]) -> None:
    ppo = make_ppo(tiny["gpt2"], use_peft=True, lora_dropout=0.5, lora_target_modules=["c_attn"])
    ppo.policy.train()
    rates = {name: part.p for name, part in ppo.policy.named_modules() if isinstance(part, torch.nn.Dropout)}
    assert {rate for name, rate in rates.items() if "lora" in name} == {0.5}
    assert {rate for name, rate in rates.items() if "lora" not in name} == {0}


def test_layers_that_are_not_there(tiny: dict[str, Path]) -> None:
    from cw_train import RefusedError

    with pytest.raises(RefusedError, match=r"lora_target_modules: .*nowhere"):
        make_ppo(tiny["llama"], use_peft=True, lora_target_modules=["nowhere"])


def test_a_plain_model_is_saved(tiny: dict[str, Path], tmp_path: Path) -> None:
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    ppo = speaking(make_ppo(tiny["llama"], temperature=0.3, max_new_tokens=5))
    ppo.policy.save(tmp_path)
    saved = AutoModelForCausalLM.from_pretrained(tmp_path)
    trained = ppo.policy.model.state_dict()
    assert all(torch.equal(weight, trained[name]) for name, weight in saved.state_dict().items())
    assert not any("value" in name for name in load_file(tmp_path / "model.safetensors"))
    assert torch.equal(load_file(tmp_path / VALUE_HEAD)["weight"], ppo.policy.value_head.weight)
    for name in ("temperature", "max_new_tokens"):  # ours were for sampling, not for whoever uses the model
        original = AutoModelForCausalLM.from_pretrained(tiny["llama"]).generation_config
        assert getattr(saved.generation_config, name) == getattr(original, name)


def test_bfloat16_computes_what_float32_does_nearly(tiny: dict[str, Path]) -> None:
    texts = make_texts(RESPONSES, PROMPTS)
    exact, *_ = make_ppo(tiny["llama"]).observe(texts)
    ppo = make_ppo(tiny["llama"], bf16=True)
    near, *_ = ppo.observe(texts)
    assert near.dtype == torch.float32
    assert 0 < (near - exact).abs().max() < 0.1
    numbers = ppo.step([Prompt("any", prompt) for prompt in PROMPTS])
    assert all(isinstance(value, (int, float)) for value in numbers.values())
    assert all(weight.dtype == torch.float32 for weight in ppo.weights)


def test_what_a_model_s_makers_found_agreeable_is_not_sampled_with(tiny: dict[str, Path], tmp_path: Path) -> None:
    """Their `generation_config.json` often has a top_k or a repetition penalty: PPO assumes neither."""
    from rlhf_lab import write_model
    from transformers import GenerationConfig

    folder = write_model(tmp_path / "model")
    GenerationConfig(do_sample=True, top_k=3, repetition_penalty=1.5, eos_token_id=[1, 2]).save_pretrained(folder)
    how = make_ppo(folder).policy.model.generation_config
    assert (how.top_k, how.repetition_penalty, how.temperature, how.top_p) == (0, 1.0, 1.0, 1.0)
    assert how.eos_token_id == [1, 2]


def test_settings_are_a_frozen_value(tiny: dict[str, Path]) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        make_ppo(tiny["llama"]).settings.gamma = 0.5
