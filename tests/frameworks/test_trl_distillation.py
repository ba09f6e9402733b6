"""What distillation asks of its teacher, its prompts and its keys: what is said, and where; nothing here needs TRL."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cw_cli.core.checks import check_config
from cw_cli.core.config import parse_config
from cw_cli.core.exceptions import ConfigError
from cw_cli.core.framework import TrainingType
from cw_cli.core.problems import Problem
from cw_cli.core.registry import FrameworkRegistry
from cw_cli.frameworks.trl.checks import cross_checks
from cw_cli.frameworks.trl.distillation import DISTILLATION, OVERLAY, REMOVED
from cw_cli.frameworks.trl.framework import TRLFramework

BASE = {
    "model_name_or_path": "owner/student",
    "teacher_model_name_or_path": "owner/teacher",
    "dataset_name": "a/b",
    "per_device_train_batch_size": 1,
}
SAID = [{"role": "user", "content": "a"}]


def problems(folder: Path, settings: dict[str, Any], *rows: dict[str, Any]) -> list[Problem]:
    """What the schema and the cross-checks say; `...` takes a key away."""
    values = {key: value for key, value in (BASE | settings).items() if value is not ...}
    if rows:
        (folder / "data").mkdir()
        (folder / "data" / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        values["dataset_name"] = "data"
    text = "".join(f"{key}: {json.dumps(value)}\n" for key, value in values.items())
    schema = TRLFramework(folder).get_schema(DISTILLATION)
    config, found = schema.canonical(parse_config(text, str(folder / "config.yaml")))
    return [*found, *schema.check(config), *cross_checks(config, TrainingType(DISTILLATION), gpus=1, nodes=1)]


def model(folder: Path, settings: dict[str, Any], *files: str) -> None:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(settings))
    for name in files:
        (folder / name).write_text("{}")


@pytest.mark.parametrize("row", [{"prompt": "a"}, {"prompt": SAID}, {"prompt": "a", "answer": "b"}])
def test_nothing_is_said_about_what_works(tmp_path: Path, row: dict[str, Any]) -> None:
    assert problems(tmp_path, {"beta": 0.5, "max_completion_length": 32}, row) == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"teacher_model_name_or_path": ...}, "teacher_model_name_or_path is missing"),
        ({"teacher_model_name_or_path": "./nowhere"}, "there is no ./nowhere"),
        ({"model_name_or_path": ...}, "model_name_or_path is missing"),
        ({"beta": 1.5}, "beta cannot be 1.5"),
        ({"vllm_mode": "servr"}, "vllm_mode cannot be servr"),
        ({"max_length": 64}, "max_length no longer exists"),
        ({"max_seq_length": 64}, "max_seq_length no longer exists"),
        ({"lmbda": 0.5}, "lmbda no longer exists"),
        ({"teacher_modle_name_or_path": "x"}, "teacher_modle_name_or_path is not a key"),
        ({"use_peft": True, "lora_target_modules": "lm_head"}, "LoRA weights on lm_head"),
    ],
)
def test_mistakes(tmp_path: Path, settings: dict[str, Any], words: str) -> None:
    (problem,) = problems(tmp_path, settings)
    assert words in problem.message


@pytest.mark.parametrize(
    ("row", "message", "remedy"),
    [
        ({"question": "a"}, "train.jsonl: the data has question, and lacks prompt", "rename question to prompt"),
        ({"messages": SAID}, "train.jsonl: the data has messages, and lacks prompt", "rename messages to prompt"),
        ({"label": 1}, "train.jsonl: the data has label, and lacks prompt", "give each row prompt"),
        ({"prompt": 3}, "prompt holds number", "write text, or a list of messages with role and content"),
    ],
)
def test_data_without_prompts(tmp_path: Path, row: dict[str, Any], message: str, remedy: str) -> None:
    (problem,) = problems(tmp_path, {}, row)
    assert (problem.message, problem.remedy) == (message, remedy)


def test_a_teacher_needs_the_student_s_tokens_and_no_tokenizer(tmp_path: Path) -> None:
    model(tmp_path / "student", {"vocab_size": 384}, "tokenizer.json")
    model(tmp_path / "teacher", {"text_config": {"vocab_size": 384}})
    models = {"model_name_or_path": "student", "teacher_model_name_or_path": "teacher"}
    assert problems(tmp_path, models) == []
    model(tmp_path / "other", {"vocab_size": 500})
    (problem,) = problems(tmp_path, models | {"teacher_model_name_or_path": "other"})
    assert problem.message == "the teacher has 500 tokens and the student 384, so nothing can be compared"
    assert problem.origin is not None and problem.origin.text == 'teacher_model_name_or_path: "other"'


def test_chat_prompts_need_a_chat_template(tmp_path: Path) -> None:
    model(tmp_path / "student", {"vocab_size": 384}, "tokenizer_config.json")
    (problem,) = problems(tmp_path, {"model_name_or_path": "student"}, {"prompt": SAID})
    assert "no chat template" in problem.message


def test_what_is_said_of_single_keys_fits_the_schema(tmp_path: Path) -> None:
    keys = TRLFramework(tmp_path).get_schema(DISTILLATION).keys
    assert OVERLAY.keys() <= keys.keys()
    assert not REMOVED.keys() & keys.keys()


@pytest.mark.parametrize(
    ("settings", "gpus", "words"),
    [
        ({"use_vllm": True, "image": "x", "vllm_mode": "server"}, 0, "vLLM needs a GPU"),
        ({"use_vllm": True, "vllm_mode": "server"}, 1, "cw takes by default has no vLLM"),
        ({"use_vllm": True, "image": "x"}, 1, "in a service of its own, on a GPU beside the trainer's"),
        (
            {"use_vllm": True, "image": "x", "vllm_mode": "colocate", "vllm_tensor_parallel_size": 3},
            2,
            "does not divide",
        ),
        ({"vllm_mode": "colocate"}, 1, "not used without use_vllm"),
        ({"vllm_gpu_memory_utilization": 1.5, "use_vllm": True, "image": "x"}, 1, "cannot be 1.5"),
        ({"vllm_dtype": "auto"}, 1, "vllm_dtype no longer exists"),
        (
            {"vllm_max_model_len": 99, "use_vllm": True, "image": "x", "vllm_mode": "server"},
            1,
            "is called vllm_max_model",
        ),
        ({"teacher_model_server_url": "http://x"}, 1, "the trainer holds the teacher itself"),
        ({"use_vllm": True, "image": "x", "vllm_mode": "server"}, 1, None),
    ],
)
def test_vllm_may_write_the_students_completions(settings: dict[str, Any], gpus: int, words: str | None) -> None:
    values = BASE | settings | {"gpu": gpus}
    config = parse_config("".join(f"{key}: {json.dumps(value)}\n" for key, value in values.items()), "config.yaml")
    try:
        found = check_config(FrameworkRegistry().get("trl"), DISTILLATION, config).warnings
    except ConfigError as error:
        found = tuple(error.problems)
    said = [item.message for item in found if "bf16" not in item.message]
    assert said == [] if words is None else any(words in sentence for sentence in said), said


@pytest.mark.parametrize(("gpus", "nodes", "rows"), [(1, 1, 5), (2, 1, 11), (1, 2, 11)])
def test_data_that_fills_no_batch_is_refused(tmp_path: Path, gpus: int, nodes: int, rows: int) -> None:
    (tmp_path / "data.jsonl").write_text('{"prompt": "a"}\n' * rows)
    text = "model_name_or_path: a/b\nteacher_model_name_or_path: a/c\nper_device_train_batch_size: 3\n"
    text += "gradient_accumulation_steps: 2\ndatasets: [{path: json, data_files: data.jsonl}]\n"
    config = parse_config(text, str(tmp_path / "config.yaml"))
    (problem,) = cross_checks(config, DISTILLATION, gpus=gpus, nodes=nodes)
    assert problem.message == f"the data has {rows} prompts, and a batch takes {6 * gpus * nodes} different ones"
    (tmp_path / "data.jsonl").write_text('{"prompt": "a"}\n' * (rows + 1))
    assert cross_checks(config, DISTILLATION, gpus=gpus, nodes=nodes) == []
