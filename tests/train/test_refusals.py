"""What goes wrong ends with the right code, and with one sentence on the last line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from cw_train import RefusedError
from cw_train.from_data import parse
from training_lab import Lab

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"lerning_rate": 1e-4}, "unknown key `lerning_rate`; did you mean `learning_rate`?"),
        ({"dataset_test_split": "validation"}, "the data has no split `validation`; it has train, test"),
    ],
)
def test_a_config_that_cannot_be_is_refused(lab: Lab, changes: dict[str, Any], sentence: str) -> None:
    ended = lab.train(lab.folder / "refused", **changes)
    assert ended.code == 2
    assert ended.last_line.startswith("error: ")
    assert sentence in ended.last_line
    assert ended.event("failed")["error"] == ended.last_line.removeprefix("error: ")
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"learning_rate": "fast"}, "invalid float value: 'fast'"),
        ({"use_cpu": True, "bf16": False, "datasets": [{"pth": "json"}]}, "unexpected keyword argument 'pth'"),
        ({"help": True}, "unknown key `help`"),
    ],
)
def test_values_that_trl_does_not_take(values: dict[str, Any], sentence: str) -> None:
    pytest.importorskip("trl")
    with pytest.raises(RefusedError, match=re.escape(sentence)):
        parse("here", values, "SFT")


def test_a_failure_ends_with_its_reason(lab: Lab) -> None:
    ended = lab.train(lab.folder / "failed", model_name_or_path="/nowhere/model")
    assert ended.code == 1
    assert "Traceback (most recent call last)" in ended.err
    assert re.fullmatch(r"error: \w+: .*/nowhere/model.* \(.*cw_train/from_data\.py:\d+\)", ended.last_line)
    assert ended.event("failed")["error"] == ended.last_line.removeprefix("error: ")


def test_training_without_a_step_is_no_success(lab: Lab) -> None:
    """TRL leaves out what does not fill a batch of prompts, which may be all of them, and ends as if it had trained."""
    folder = lab.folder / "no-step"
    folder.mkdir()
    (folder / "prompts.jsonl").write_text('{"prompt": "The fox"}\n' * 3)
    config = folder / "config.yaml"
    config.write_text(
        f"model_name_or_path: {ROOT}/examples/quickstart/model\n"
        f"teacher_model_name_or_path: {ROOT}/examples/distillation/teacher\n"
        f"datasets: [{{path: json, data_files: {folder}/prompts.jsonl}}]\noutput_dir: {folder}/out\n"
        "per_device_train_batch_size: 4\nmax_steps: 2\nuse_cpu: true\nbf16: false\n"
    )
    ended = lab.run(["-m", "cw_train", "trl_distillation", "--config", str(config)], folder / "out")
    assert ended.code == 2
    assert ended.last_line.endswith("not one step was made: the data has fewer rows than a batch takes")
    assert not (folder / "out" / "model.safetensors").exists()


def test_a_config_that_is_not_there(lab: Lab, tmp_path: Path) -> None:
    ended = lab.run(["-m", "cw_train", "trl_sft", "--config", "/nowhere.yaml"], tmp_path / "none")
    assert ended.code == 2
    assert ended.last_line.startswith("error: /nowhere.yaml cannot be read")
