"""Prompts: where they come from, what is left out, and who gets which."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("datasets")

from cw_train import RefusedError
from cw_train.default_prompts import OPENINGS
from cw_train.prompts import answer, read_prompts, tokenized, turn
from cw_train.rlhf_settings import Settings
from rlhf_lab import make_tokenizer


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def settings(**values: Any) -> Settings:
    return Settings(**{"model_name": "m", "max_new_tokens": 4} | values)


def written(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_files_of_several_kinds(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("prompt,other\nthe fox,1\nthe owl,2\n")
    (tmp_path / "b.txt").write_text("the fox\nthe owl\n")
    names = [
        written(tmp_path / "c.jsonl", [{"prompt": "the fox"}, {"prompt": "the owl"}]),
        str(tmp_path / "a.csv"),
        str(tmp_path / "b.txt"),
    ]
    for name in names:
        said, sentence = read_prompts("here", settings(dataset_name=name), make_tokenizer())
        assert said == ["the fox", "the owl"]
        assert sentence == f"2 prompts from {name}"


def test_a_folder_with_splits(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    written(folder / "train.jsonl", [{"q": "one"}])
    written(folder / "test.jsonl", [{"q": "two"}])
    chosen = settings(dataset_name=str(folder), dataset_split="test", dataset_prompt_field="q")
    assert read_prompts("here", chosen, make_tokenizer())[0] == ["two"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"dataset_split": "dev"}, "has no split `dev`; it has train"),
        ({"dataset_prompt_field": "ask"}, "has no column `ask`; set `dataset_prompt_field` to one of prompt, number"),
        ({"dataset_prompt_field": "number"}, "must hold texts or lists of chat messages"),
        (
            {"dataset_name": "/nowhere/at/all.jsonl"},
            "the prompts of `dataset_name` /nowhere/at/all.jsonl cannot be read",
        ),
    ],
)
def test_prompts_that_are_not_there(tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    name = written(tmp_path / "p.jsonl", [{"prompt": "the fox", "number": 1}])
    with pytest.raises(RefusedError, match=re.escape(sentence)):
        read_prompts("here", settings(**{"dataset_name": name} | changes), make_tokenizer())


def test_the_shipped_prompts_are_chat_where_the_model_can_chat() -> None:
    tokenizer = make_tokenizer()
    assert read_prompts("here", settings(), tokenizer)[0] == list(OPENINGS)
    tokenizer.chat_template = "{{ messages }}"
    assert read_prompts("here", settings(), tokenizer)[0][0] == [{"role": "user", "content": OPENINGS[0]}]
    assert len(set(OPENINGS)) == len(OPENINGS) == 64


def test_prompts_that_leave_no_room_are_left_out() -> None:
    said = ["the fox", "", "the red fox sees the old owl", "the owl"]
    prompts = tokenized("here", said, settings(), make_tokenizer(), context=8)
    assert [prompt.said for prompt in prompts] == ["the fox", "the owl"]
    short = tokenized("here", [*said, "fox"], settings(max_prompt_length=1), make_tokenizer(), context=8)
    assert [prompt.said for prompt in short] == ["fox"]
    with pytest.raises(RefusedError, match="every prompt is empty or longer than 4 tokens"):
        tokenized("here", said[1:3], settings(), make_tokenizer(), context=8)
    with pytest.raises(RefusedError, match=r"`max_new_tokens` \(4\) leaves no room for a prompt"):
        tokenized("here", said, settings(), make_tokenizer(), context=4)


def test_a_system_prompt_comes_first_and_once() -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = "{% for message in messages %}{{ message.content }} {% endfor %}"
    own = [{"role": "system", "content": "rain"}, {"role": "user", "content": "fox"}]
    said: list[Any] = [[{"role": "user", "content": "fox"}], own, "fox"]
    prompts = tokenized("here", said, settings(system_prompt="snow"), tokenizer, context=8)
    assert [tokenizer.decode(prompt.tokens) for prompt in prompts] == ["snow fox", "rain fox", "fox"]


def test_answers_have_the_form_of_their_prompts() -> None:
    assert answer("ask", "yes") == "yes"
    assert answer([{"role": "user", "content": "ask"}], "yes") == [{"role": "assistant", "content": "yes"}]


def test_every_prompt_has_its_turn_before_any_comes_again() -> None:
    taken = [index for step in range(1, 6) for index in turn(step, count=10, each=4, seed=3)]
    assert Counter(taken[:10]) == Counter(taken[10:]) == Counter(range(10))
    assert taken[:10] != taken[10:] != list(range(10))
    assert turn(2, 10, 4, seed=3) == taken[4:8]
    assert turn(2, 10, 4, seed=4) != taken[4:8]


def test_a_step_may_take_every_prompt_more_than_once() -> None:
    assert Counter(turn(1, count=3, each=9, seed=0)) == {0: 3, 1: 3, 2: 3}
