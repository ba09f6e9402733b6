"""The rewards that ship with cw: values worked by hand, odd completions, and TRL's own where it has a counterpart."""

from __future__ import annotations

import importlib
import inspect
import math
from typing import Any

import pytest
from cw_train import RefusedError, rewards
from cw_train.reward_functions import OURS


def chat(text: Any) -> list[dict[str, Any]]:
    return [{"role": "assistant", "content": text}]


@pytest.mark.parametrize(
    ("said", "answer", "score"),
    [
        ("Paris", "paris", 1.0),
        ("  New\n York ", "new york", 1.0),
        ("It is Paris", "Paris", 0.0),
        ("42", 42, 1.0),
        ("Lutetia", ["Paris", "Lutetia"], 1.0),
        ("Paris", None, None),
        ("Paris", [], None),
        ("", "", 1.0),
    ],
)
def test_exact_match(said: str, answer: Any, score: float | None) -> None:
    assert rewards.exact_match([said], answer=[answer]) == [score]
    assert rewards.exact_match([chat(said)], answer=[answer]) == [score]


def test_exact_match_with_case_and_another_column() -> None:
    assert rewards.exact_match(["Paris"], ignore_case=False, column="city", city=["paris"]) == [0.0]


@pytest.mark.parametrize(
    ("said", "answer", "score"),
    [
        ("so there are 12 foxes, 4 more than 8: 12", 12, 1.0),
        ("The total is $1,234.50.", "1234.5", 1.0),
        ("10-3=7", "7", 1.0),
        ("it is 5-3", 3, 1.0),  # a dash between numbers is no sign
        ("minus: -3", -3, 1.0),
        ("minus: −3", -3, 1.0),
        ("three quarters, 3/4", 0.75, 1.0),
        ("2e3", 2000, 1.0),
        (".5", "1/2", 1.0),
        ("#### 72", "48/2 = 24. 48 + 24 = 72\n#### 72", 1.0),
        ("72, for 100 percent is #### 71", "#### 72", 0.0),
        ("1/0", 1, 0.0),
        ("no number", 1, 0.0),
        ("1", "no number", 0.0),
        ("", 0, 0.0),
        ("12", None, None),
        ("9" * 5000, 9, 0.0),
        ("type5", 5, 1.0),
    ],
)
def test_numeric_answer(said: str, answer: Any, score: float | None) -> None:
    assert rewards.numeric_answer([said], answer=[answer]) == [score]


def test_numeric_answer_with_tolerance() -> None:
    said = ["3.14", "3.2"]
    assert rewards.numeric_answer(said, answer=[math.pi] * 2, tolerance=0.01) == [1.0, 0.0]


@pytest.mark.parametrize(
    ("said", "answer", "score"),
    [
        (r"so \boxed{42}", "42", 1.0),
        (r"\boxed{41}, no: \boxed{42}", "42", 1.0),
        (r"\boxed{42}, no: \boxed{41}", "42", 0.0),
        (r"\boxed{\dfrac{1}{2}}", r"\frac12", 1.0),
        (r"\boxed{\frac{1}{2}}", "0.5", 1.0),
        (r"\boxed{ 1{,}000 }", "1000", 1.0),
        (r"\boxed{1,000}", "1000", 1.0),
        (r"\boxed{1,2}", "12", 0.0),  # two numbers, not one
        (r"\boxed{x^{2}+1}", r"$x^{2} + 1$", 1.0),
        (r"\boxed{\left(1, 2\right)}", "(1,2)", 1.0),
        (r"\boxed{5\text{ cm}}", r"\boxed{5cm}", 1.0),
        (r"\boxed{50\%}", "50", 1.0),
        (r"\boxed{90^\circ}", "90", 1.0),
        (r"\boxed{}", "", 0.0),
        (r"\boxed{42", "42", 0.0),  # never closed
        ("42", "42", 0.0),  # in no box
        (r"\boxed{42}", None, None),
    ],
)
def test_boxed_answer(said: str, answer: Any, score: float | None) -> None:
    assert rewards.boxed_answer([said], answer=[answer]) == [score]


THOUGHTS = [
    ("<think>a</think>b", 1.0),
    ("<think>\na\nb</think>\n", 1.0),
    ("<think>a<think>b</think>", 0.0),
    ("<think>a</think>b<think>", 0.0),
    (" <think>a</think>", 0.0),
    ("<think>a", 0.0),
    ("a</think>", 0.0),
    ("", 0.0),
]


@pytest.mark.parametrize(("said", "score"), THOUGHTS)
def test_think_format(said: str, score: float) -> None:
    assert rewards.think_format([said]) == rewards.think_format([chat(said)]) == [score]


@pytest.mark.parametrize(
    ("said", "score"),
    [
        ("<think>a</think> <answer>b</answer>\n", 1.0),
        ("<think>a</think><answer>b</answer> or c", 0.0),
        ("<think>a</think><answer>b</answer><answer>c</answer>", 0.0),
        ("<think>a</think>b", 0.0),
    ],
)
def test_think_format_with_answer_tags(said: str, score: float) -> None:
    assert rewards.think_format([said], answer_tags=True) == [score]


@pytest.mark.parametrize(
    ("said", "keys", "score"),
    [
        ('{"a": 1}', (), 1.0),
        ("[1, 2]", (), 1.0),
        ('Here:\n```json\n{"a": 1}\n```\nDone.', ["a"], 1.0),
        ('```\n{"a": 1}\n```\n```\n{}\n```', (), 0.0),  # which of the two?
        ('{"a": 1}', ["a", "b"], 0.0),
        ('{"a": 1}', "a", 1.0),
        ("[1, 2]", ["a"], 0.0),
        ('{"a": NaN}', (), 0.0),
        ("{'a': 1}", (), 0.0),
        ("[" * 100_000, (), 0.0),
        ("", (), 0.0),
    ],
)
def test_json_format(said: str, keys: Any, score: float) -> None:
    assert rewards.json_format([said], keys=keys) == [score]


def test_keywords() -> None:
    said = ["The Fox met an owl.", "foxes", ""]
    assert rewards.keywords(said, words=["fox", "owl", "c++"]) == pytest.approx([2 / 3, 0, 0])
    assert rewards.keywords(["I like C++ most"], words=["c++"]) == [1.0]
    assert rewards.keywords(["fox", "owl", "owl"], keywords=[["fox", "den"], "fox", None]) == [0.5, 0.0, None]
    assert rewards.keywords(["fox"], words="fox") == [1.0]


def ids(*lengths: int) -> list[list[int]]:
    return [list(range(length)) for length in lengths]


def test_target_length() -> None:
    assert rewards.target_length(ids(0, 5, 10, 15, 20, 99), tokens=10) == [0.0, 0.5, 1.0, 0.5, 0.0, 0.0]


def test_soft_overlong() -> None:
    scores = rewards.soft_overlong(ids(0, 80, 81, 90, 100, 101), max_tokens=100, buffer=20)
    assert scores == pytest.approx([0, 0, -0.05, -0.5, -1, -1])
    assert rewards.soft_overlong(ids(100, 101), max_tokens=100, buffer=0) == [0.0, -1.0]


def test_cosine_length() -> None:
    said = [r"\boxed{1}", r"\boxed{1}", r"\boxed{1}", r"\boxed{2}", r"\boxed{2}", r"\boxed{2}", r"\boxed{1}"]
    lengths = ids(0, 50, 400, 0, 50, 100, 10)
    scores = rewards.cosine_length(said, lengths, answer=[1, 1, 1, 1, 1, 1, None], max_tokens=100)
    assert scores[:-1] == pytest.approx([1.0, 0.75, 0.5, -1.0, -0.75, -0.5])
    assert scores[-1] is None
    assert rewards.cosine_length(["so 7"], ids(0), right_by="numeric_answer", answer=[7]) == [1.0]


def test_repetition_penalty() -> None:
    # 5 5 5 5 has three pairs, all the same: two of three stood before.
    runs = [[1, 2, 3, 4], [5, 5, 5, 5], [1], []]
    assert rewards.repetition_penalty(runs, ngram=2) == pytest.approx([0, -2 / 3, 0, 0])
    assert rewards.repetition_penalty(runs[1:2], ngram=2, penalty=-0.3) == pytest.approx([-0.2])


@pytest.mark.parametrize(
    ("score", "sentence"),
    [
        (lambda: rewards.exact_match(["a"], solution=["a"]), "no column `answer`"),
        (lambda: rewards.cosine_length(["a"], [[1]], right_by="me", answer=["a"]), "one of boxed_answer"),
        (lambda: rewards.target_length([[1]], tokens=0), "1 or more"),
        (lambda: rewards.repetition_penalty([[1]], ngram=0), "1 or more"),
        (lambda: rewards.soft_overlong([[1]], max_tokens=5, buffer=6), "between 0 and max_tokens"),
    ],
)
def test_what_cannot_be_scored_is_refused(score: Any, sentence: str) -> None:
    with pytest.raises(RefusedError, match=sentence):
        score()


ODD = [
    "",
    "\x00\ud800",
    "\\boxed{" * 3000,
    "1,111" * 2000,
    "<think>" * 2000,
    "```json\n" * 2000,
    "{" * 5000,
    [],
    [{}],
    [{"role": "assistant", "content": None}],
    [{"role": "tool", "content": "x"}],
    [{"role": "assistant", "content": [{"type": "text", "text": "\\boxed{1}"}, {"type": "image"}]}],
]


@pytest.mark.parametrize("name", OURS)
def test_odd_completions_have_a_score_too(name: str) -> None:
    """Whatever a model writes, and in whatever form it comes: one number for each, quickly."""
    row = {"answer": ["1"] * len(ODD), "keywords": [["x"]] * len(ODD)}
    scores = OURS[name](completions=ODD, completion_ids=[[1]] * len(ODD), prompts=[""] * len(ODD), **row)
    assert len(scores) == len(ODD)
    assert all(isinstance(score, float) and math.isfinite(score) for score in scores)


def test_what_a_conversation_says() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}]
    assert rewards.text_of([*chat("one"), {"role": "tool", "content": "t"}, *chat(parts)]) == "ab"
    assert rewards.text_of([{"content": "no role"}]) == "no role"
    assert rewards.text_of(None) == ""


@pytest.mark.parametrize("function", OURS.values(), ids=OURS)
def test_every_reward_says_what_it_is(function: Any) -> None:
    assert function.__doc__
    kinds = inspect.signature(function).parameters.values()
    assert all(item.default is not item.empty for item in kinds if item.kind is item.KEYWORD_ONLY)


# TRL's own


def test_think_format_is_trls() -> None:
    theirs = pytest.importorskip("trl.rewards").think_format_reward
    said = [chat(text) for text, _ in THOUGHTS]
    assert rewards.think_format(said) == theirs(completions=said)


@pytest.mark.parametrize(("most", "buffer"), [(100, 20), (7, 7), (5, 1)])
def test_soft_overlong_is_trls(most: int, buffer: int) -> None:
    theirs = pytest.importorskip("trl.rewards").get_soft_overlong_punishment(most, buffer)
    lengths = ids(*range(130))
    assert rewards.soft_overlong(lengths, max_tokens=most, buffer=buffer) == pytest.approx(theirs(lengths))


@pytest.mark.parametrize("ngram", [1, 2, 3])
def test_repetition_penalty_is_trls(ngram: int) -> None:
    theirs = pytest.importorskip("trl.rewards").get_repetition_penalty_reward(ngram, -0.7)
    runs = [[start * step % 5 for step in range(length)] for start in range(5) for length in range(12)]
    assert rewards.repetition_penalty(runs, ngram=ngram, penalty=-0.7) == pytest.approx(theirs(runs))


def test_cosine_length_is_trls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Theirs judges with a package that is not here, so both are told what is right."""
    pytest.importorskip("trl")
    module = importlib.import_module("trl.rewards.accuracy_rewards")
    monkeypatch.setattr(module, "accuracy_reward", lambda said, right: [float(item == right[0]) for item in said])
    lengths = ids(*range(0, 60, 3))
    said, right = ["a", "b"] * 10, ["a"] * 20
    theirs = module.get_cosine_scaled_reward(40, -2.0, -0.25, 0.1, 3.0)(said, right, lengths)
    bounds = {"wrong_short": -2.0, "wrong_long": -0.25, "right_long": 0.1, "right_short": 3.0}
    mine = rewards.cosine_length(said, lengths, right_by="exact_match", answer=right, max_tokens=40, **bounds)
    assert mine == pytest.approx(theirs)
