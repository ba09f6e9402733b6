"""What DPO, KTO and reward models ask of their data and losses: what is said, where, and how strongly; no TRL here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cw_cli.core.config import parse_config
from cw_cli.core.framework import TrainingType
from cw_cli.core.problems import Problem, errors
from cw_cli.frameworks.trl.checks import cross_checks

PAIR = {"prompt": "a", "chosen": "b", "rejected": "c"}
LABELLED = {"prompt": "a", "completion": "b", "label": True}
SAID = [{"role": "assistant", "content": "b"}]


def problems(
    folder: Path, training_type: str, settings: dict[str, Any] | None = None, *rows: dict[str, Any]
) -> list[Problem]:
    """What is said of a config whose data is these rows, or somewhere else where there are none."""
    values: dict[str, Any] = {"model_name_or_path": "owner/model", "dataset_name": "owner/data"}
    if rows:
        (folder / "data").mkdir()
        (folder / "data" / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        values["dataset_name"] = "data"
    text = "".join(f"{key}: {json.dumps(value)}\n" for key, value in (values | (settings or {})).items())
    config = parse_config(text, str(folder / "config.yaml"))
    return cross_checks(config, TrainingType(training_type), gpus=1, nodes=1)


@pytest.mark.parametrize(
    ("training_type", "settings", "row"),
    [
        ("dpo", {}, PAIR),
        ("dpo", {}, {"chosen": SAID, "rejected": SAID}),
        ("dpo", {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.1]}, PAIR),
        ("dpo", {"loss_type": "hinge", "f_divergence_type": "js_divergence"}, PAIR),
        ("dpo", {"loss_type": "exo_pair", "label_smoothing": 1e-3}, PAIR),
        ("dpo", {"loss_type": "robust", "label_smoothing": 0.1}, PAIR),
        ("dpo", {"sync_ref_model": True}, PAIR),
        ("kto", {}, LABELLED),
        ("kto", {}, PAIR),
        ("kto", {"loss_type": "apo_zero_unpaired", "per_device_train_batch_size": 1}, LABELLED),
        ("kto", {"loss_type": "apo_zero_unpaired", "train_sampling_strategy": "random"}, LABELLED),
        ("reward", {}, PAIR),
        ("reward", {}, {"chosen": "b", "rejected": "c"}),
        ("reward", {"use_peft": True, "lora_task_type": "SEQ_CLS"}, PAIR),
    ],
)
def test_nothing_is_said_about_what_works(
    tmp_path: Path, training_type: str, settings: dict[str, Any], row: dict[str, Any]
) -> None:
    assert problems(tmp_path, training_type, settings, row) == []


@pytest.mark.parametrize(
    ("training_type", "row", "remedy"),
    [
        ("dpo", {"prompt": "a", "preferred": "b", "dispreferred": "c"}, "rename preferred to chosen, dispreferred to"),
        ("dpo", {"question": "a", "chosen": "b", "reject": "c"}, "rename reject to rejected"),
        ("dpo", {"text": "a"}, "give each row chosen, rejected"),
        ("reward", {"response_j": "a", "response_k": "b"}, "rename response_j to chosen, response_k to rejected"),
        ("reward", {"chosen": "a"}, "give each row chosen, rejected"),
        ("kto", {"prompt": "a", "response": "b", "label": True}, "rename response to completion"),
        ("kto", {"question": "a", "answer": "b", "thumbs_up": True}, "rename question to prompt, answer to completion"),
        ("kto", {"prompt": "a", "chosen": "b"}, "give each row prompt, completion, label"),
    ],
)
def test_columns_that_are_missing(tmp_path: Path, training_type: str, row: dict[str, Any], remedy: str) -> None:
    (problem,) = problems(tmp_path, training_type, None, row)
    assert problem.message.startswith("train.jsonl: the data has ")
    assert problem.remedy.startswith(remedy)
    assert problem.origin is not None and problem.origin.text == 'dataset_name: "data"'


@pytest.mark.parametrize("label", [1, "yes", None])
def test_labels_are_true_or_false(tmp_path: Path, label: Any) -> None:
    (problem,) = problems(tmp_path, "kto", None, LABELLED, LABELLED | {"label": label})
    assert problem.message == f"label is {json.dumps(label)} in the data, and KTO wants true or false"


@pytest.mark.parametrize(
    ("training_type", "row", "words"),
    [
        ("dpo", PAIR | {"chosen": SAID}, "prompt text, chosen messages, rejected text"),
        ("dpo", PAIR | {"rejected": 3}, "prompt text, chosen text, rejected number"),
        ("reward", {"chosen": [1, 2], "rejected": [3]}, "chosen tokens, rejected tokens"),
        ("kto", LABELLED | {"completion": SAID}, "prompt text, completion messages"),
    ],
)
def test_answers_are_all_text_or_all_messages(
    tmp_path: Path, training_type: str, row: dict[str, Any], words: str
) -> None:
    (problem,) = problems(tmp_path, training_type, None, row)
    assert problem.message == f"the columns hold different kinds of value: {words}"


def test_conversations_need_a_chat_template(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    for name in ("config.json", "tokenizer_config.json"):
        (tmp_path / "model" / name).write_text("{}")
    row = {"chosen": SAID, "rejected": SAID}
    (problem,) = problems(tmp_path, "dpo", {"model_name_or_path": "model"}, row)
    assert "no chat template" in problem.message
    (tmp_path / "model" / "chat_template.jinja").write_text("x")
    (tmp_path / "data" / "train.jsonl").unlink()
    (tmp_path / "data").rmdir()
    assert problems(tmp_path, "dpo", {"model_name_or_path": "model"}, row) == []


def test_a_mixture_is_looked_at_entry_by_entry(tmp_path: Path) -> None:
    for name, row in {"good": PAIR, "bad": LABELLED}.items():
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row) + "\n")
    entries = [{"path": "json", "data_files": f"{name}.jsonl"} for name in ("good", "bad")]
    (problem,) = problems(tmp_path, "dpo", {"dataset_name": None, "datasets": entries})
    assert problem.message == "bad.jsonl: the data has prompt, completion, label, and lacks chosen, rejected"
    columns = [entries[0] | {"columns": ["prompt", "chosen"]}]
    (problem,) = problems(tmp_path, "dpo", {"dataset_name": None, "datasets": columns})
    assert problem.message == "good.jsonl: the data has prompt, chosen, and lacks rejected"


@pytest.mark.parametrize(
    ("training_type", "settings", "key", "words"),
    [
        ("dpo", {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0]}, "loss_weights", "2 and 1"),
        ("dpo", {"loss_weights": [1.0, 2.0]}, "loss_weights", "1 and 2"),
        ("dpo", {"loss_type": "aot", "f_divergence_type": "forward_kl"}, "f_divergence_type", "loss_type: aot"),
        ("dpo", {"loss_type": ["aot"], "use_weighting": True}, "use_weighting", "sorts the pairs"),
        ("dpo", {"loss_type": "exo_pair"}, "loss_type", "needs label_smoothing"),
        ("dpo", {"loss_type": "exo_pair", "label_smoothing": 0.0}, "label_smoothing", "needs label_smoothing"),
        ("dpo", {"sync_ref_model": True, "use_peft": True}, "sync_ref_model", "without its adapter"),
        ("dpo", {"sync_ref_model": True, "precompute_ref_log_probs": True}, "precompute_ref", "that stays"),
        (
            "dpo",
            {"precompute_ref_log_probs": True, "dataset_streaming": True, "max_steps": 5},
            "precompute_ref",
            "whole dataset",
        ),
        ("kto", {"per_device_train_batch_size": 1}, "per_device_train_batch_size", "compares the answers"),
        ("kto", {"train_sampling_strategy": "random"}, "train_sampling_strategy", "takes apart"),
        ("kto", {"sync_ref_model": True, "use_peft": True}, "sync_ref_model", "without its adapter"),
        ("reward", {"use_peft": True}, "use_peft", "head for scores"),
        ("reward", {"use_peft": True, "lora_task_type": "CAUSAL_LM"}, "lora_task_type", "head for scores"),
    ],
)
def test_mistakes(tmp_path: Path, training_type: str, settings: dict[str, Any], key: str, words: str) -> None:
    (problem,) = errors(problems(tmp_path, training_type, settings))
    assert words in problem.message
    assert problem.remedy
    assert problem.origin is not None and str(problem.origin.text).startswith(key)


def test_too_many_wrong_labels_are_only_mentioned(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, "dpo", {"loss_type": "robust", "label_smoothing": 0.5})
    assert problem.severity == "warning"
