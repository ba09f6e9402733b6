"""What `reward_funcs:` names becomes a function for TRL, whose scores are looked at."""

from __future__ import annotations

import asyncio
import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from cw_train import GaveUpError, RefusedError
from cw_train.reward_functions import OURS, TRLS, take_rewards
from cw_train.rewards import numeric_answer

SAID = ["the answer is 12", [{"role": "assistant", "content": "13"}]]


def given(**columns: Any) -> dict[str, Any]:
    """What TRL calls a reward function with."""
    ids = [[1, 2, 3], [4]]
    state = {"trainer_state": None, "log_extra": None, "log_metric": None}
    return {"prompts": ["a", "b"], "completions": SAID, "completion_ids": ids, **state, **columns}


def one(entry: Any) -> Any:
    (found,) = take_rewards("here", {"reward_funcs": entry})
    return found


def test_names_with_and_without_settings() -> None:
    values = {"reward_funcs": ["numeric_answer", {"numeric_answer": {"tolerance": 1}}], "learning_rate": 1}
    plain, near = take_rewards("here", values)
    assert values == {"learning_rate": 1}
    assert plain(**given(answer=[12, 12])) == [1.0, 0.0]
    assert near(**given(answer=[12, 12])) == [1.0, 1.0]
    assert plain.__name__ == near.__name__ == "numeric_answer"


@pytest.mark.parametrize("entry", ["exact_match", ["exact_match"], {"exact_match": None}, [{"exact_match": {}}]])
def test_one_is_as_good_as_a_list(entry: Any) -> None:
    assert one(entry)(**given(answer=["the answer is 12", "1"])) == [1.0, 0.0]


def test_a_column_that_is_called_as_a_setting_changes_nothing() -> None:
    assert one("numeric_answer")(**given(answer=[12, 12], tolerance=[99, 99])) == [1.0, 0.0]


def test_the_model_of_its_own_key_comes_first() -> None:
    found = take_rewards("here", {"reward_model_name_or_path": "owner/model", "reward_funcs": ["exact_match", "./rm"]})
    assert [name if isinstance(name, str) else name.__name__ for name in found] == [
        "owner/model",
        "exact_match",
        "./rm",
    ]


def test_what_is_served_comes_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REWARD_MODEL_URL", "http://reward:8000")
    values = {"reward_funcs": "exact_match", "reward_model": "judge", "reward_service": {"label": "good"}}
    served, own = take_rewards("here", values)
    assert not isinstance(served, str) and not isinstance(own, str)
    assert [served.__name__, own.__name__, values] == ["reward_service", "exact_match", {}]


def test_a_folder_is_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "judge").mkdir()
    monkeypatch.chdir(tmp_path)
    assert one("judge") == "judge"


def test_a_function_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("def lengths(completions, **columns):\n    return [len(said) for said in completions]\n")
    found = one(f"{path}:lengths")
    assert found(**given()) == [16.0, 1.0]
    assert found.__name__ == "lengths"


def test_a_function_of_an_installed_module() -> None:
    assert one("cw_train.rewards.numeric_answer")(**given(answer=[12, 13])) == [1.0, 1.0]
    assert numeric_answer(SAID, answer=[12, 13]) == [1.0, 1.0]


def test_a_function_that_waits_stays_one(tmp_path: Path) -> None:
    path = tmp_path / "later.py"
    path.write_text("async def later(completions, **columns):\n    return [1, None]\n")
    found = one(f"{path}:later")
    assert inspect.iscoroutinefunction(found)
    assert asyncio.run(found(**given())) == [1.0, None]


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("[1.0]", "gave 1 scores for 2 completions"),
        ("[1.0, float('inf')]", "is inf for the completion '13'"),
        ("[float('nan'), 1]", "is nan for the completion 'the answer is 12'"),
        ("['good', 'bad']", "gives no list of numbers: ['good', 'bad']"),
        ("0.5", "gives no list of numbers: 0.5"),
        ("None", "gives no list of numbers: None"),
    ],
)
def test_wrong_scores_are_never_learnt(tmp_path: Path, body: str, sentence: str) -> None:
    path = tmp_path / "wrong.py"
    path.write_text(f"def wrong(completions, **columns):\n    return {body}\n")
    with pytest.raises(GaveUpError, match=re.escape(f"the reward wrong {sentence}")):
        one(f"{path}:wrong")(**given())


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        (None, "here: there is no reward to learn from"),
        ([], "here: there is no reward to learn from"),
        ("numeric_anser", "no reward `numeric_anser`; did you mean `numeric_answer`?"),
        ("zzz", "no reward `zzz`; there is exact_match, "),
        ({"numeric_answer": {"tolerence": 1}}, "numeric_answer has no setting tolerence; it has column, tolerance"),
        ({"nowhere.py:f": {"a": 1}}, "takes no settings"),
        ("nowhere.py:f", "reward_funcs: nowhere.py:f cannot be used"),
        ("json.nothing", "reward_funcs: json:nothing cannot be used"),
        ({"reward_service": {"adress": "x"}}, "reward_service has no setting adress; it has url, timeout"),
        ({"reward_service": None}, "reward_service needs the address of a service"),
        ([5], "5 names no reward"),
    ],
)
def test_what_cannot_be_a_reward_is_refused(monkeypatch: pytest.MonkeyPatch, entry: Any, sentence: str) -> None:
    monkeypatch.delenv("REWARD_MODEL_URL", raising=False)
    with pytest.raises(RefusedError, match=re.escape(sentence)):
        take_rewards("here", {"reward_funcs": entry})


def test_trls_own_take_plain_text_too() -> None:
    pytest.importorskip("trl")
    completions = ["<think>a</think>b", "b"]
    assert one("think_format_reward")(**given() | {"completions": completions}) == [1.0, 0.0]
    assert one("get_soft_overlong_punishment")(**given()) == [0.0, 0.0]


def test_trls_names_are_those_of_its_script() -> None:
    """In the source, because the table is made inside a function."""
    script = inspect.getsource(pytest.importorskip("trl.scripts.grpo"))
    table = script.partition("reward_funcs_registry = {")[2].partition("}")[0]
    assert re.findall(r'"(\w+)":', table) == list(TRLS)
    assert all(f"{key}={value}" in table for settings in TRLS.values() for key, value in settings.items())


def test_no_name_means_two_things() -> None:
    assert not OURS.keys() & {*TRLS, "reward_service"}
