"""cw refuses a config exactly where TRL's scripts for DPO, KTO, rewards and distillation do: each is given to both."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cw_cli.core.config import parse_config
from cw_cli.core.framework import TrainingType
from cw_cli.core.problems import errors
from cw_cli.frameworks.trl.checks import cross_checks

if importlib.util.find_spec("trl") is None:
    pytest.skip("the train extra is not installed", allow_module_level=True)

pytestmark = pytest.mark.filterwarnings("ignore")

MODEL = Path(__file__).parents[2] / "examples" / "quickstart" / "model"
BASE = {
    "model_name_or_path": str(MODEL),
    "use_cpu": True,
    "bf16": False,
    "max_steps": 1,
    "per_device_train_batch_size": 2,
    "max_length": 16,
    "save_strategy": "no",
    "output_dir": "out",
    "disable_tqdm": True,
    "eval_strategy": "no",
}
SAID = [{"role": "assistant", "content": "the den"}]
DATA: dict[str, dict[str, Any]] = {
    "pairs": {"prompt": "the fox", "chosen": " sleeps", "rejected": " flies"},
    "bare": {"chosen": "the fox sleeps", "rejected": "the fox flies"},
    "labelled": {"prompt": "the fox", "completion": " sleeps", "label": True},
    "chat": {"chosen": SAID, "rejected": SAID},
    "mixed": {"prompt": "the fox", "chosen": SAID, "rejected": " flies"},
    "numbers": {"prompt": "the fox", "chosen": 3, "rejected": 4},
    "text": {"text": "the fox sleeps"},
    "chosen": {"prompt": "the fox", "chosen": " sleeps"},
    "prompts": {"prompt": "the fox", "answer": "sleeps"},
    "chat-prompts": {"prompt": [{"role": "user", "content": "the fox"}]},
    "number-prompts": {"prompt": 3},
    "completions": {"prompt": "the fox", "completion": " sleeps"},
}
STREAMED = {"dataset_streaming": True, "max_steps": 1}
LORA = {"use_peft": True, "lora_target_modules": ["q_proj", "v_proj"]}
REFERENCE: list[dict[str, Any]] = [
    {"sync_ref_model": True},
    {"sync_ref_model": True, **LORA},
    {"sync_ref_model": True, "precompute_ref_log_probs": True},
    {"precompute_ref_log_probs": True},
    {"precompute_ref_log_probs": True, **STREAMED},
]
DISTILLATION: dict[str, Any] = {
    "teacher_model_name_or_path": str(MODEL),
    "dataset_name": "prompts",
    "max_length": None,
    "max_completion_length": 4,
}
CASES: list[tuple[str, dict[str, Any]]] = [
    *(("dpo", {"dataset_name": name}) for name in ("pairs", "chat", "mixed", "numbers", "text", "chosen", "labelled")),
    *(("kto", {"dataset_name": name}) for name in ("labelled", "pairs", "text", "completions", "chat")),
    *(("reward", {"dataset_name": name}) for name in ("pairs", "bare", "chat", "text", "numbers", "labelled")),
    *((name, {"dataset_name": "pairs", **case}) for name in ("dpo", "kto") for case in REFERENCE),
    *(
        ("dpo", {"dataset_name": "pairs", **case})
        for case in (
            {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.5]},
            {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0]},
            {"loss_type": "ipo", "f_divergence_type": "forward_kl"},
            {"loss_type": "aot", "f_divergence_type": "forward_kl"},
            {"loss_type": "aot", "use_weighting": True},
            {"use_weighting": True},
            {"loss_type": "exo_pair"},
            {"loss_type": "exo_pair", "label_smoothing": 1e-3},
            {"loss_type": "robust", "label_smoothing": 0.1},
        )
    ),
    ("kto", {"dataset_name": "labelled", "per_device_train_batch_size": 1}),
    ("kto", {"dataset_name": "labelled", "per_device_train_batch_size": 1, "loss_type": "apo_zero_unpaired"}),
    ("kto", {"dataset_name": "labelled", "train_sampling_strategy": "random"}),
    ("kto", {"dataset_name": "labelled", "train_sampling_strategy": "random", "loss_type": "apo_zero_unpaired"}),
    *(
        ("reward", {"dataset_name": "pairs", **LORA, "lora_task_type": "SEQ_CLS", "lora_target_modules": names})
        for names in (["q_proj", "v_proj"], ["q_proj"], ".*q_proj", ["score"], "all-linear")
    ),
    ("dpo", {"dataset_name": "pairs", **LORA, "lora_target_modules": ["q_proj"]}),
    *(
        ("distillation", DISTILLATION | case)
        for case in (
            {},
            {"teacher_model_name_or_path": None},
            {"dataset_name": "text"},
            {"dataset_name": "chat-prompts"},
            {"dataset_name": "number-prompts"},
            LORA,
        )
    ),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("preferences")
    for name, row in DATA.items():
        (root / name).mkdir()
        other = row | {"label": False} if "label" in row else row
        (root / name / "train.jsonl").write_text((json.dumps(row) + "\n" + json.dumps(other) + "\n") * 2)
    before = Path.cwd()
    os.chdir(root)
    yield root
    os.chdir(before)


def refusal(training_type: str, path: Path) -> str | None:
    """What TRL's own script says to the config: read, then trained for a step."""
    from accelerate.state import AcceleratorState

    script = importlib.import_module(f"trl.scripts.{training_type}")
    AcceleratorState._reset_state(reset_partial_state=True)  # precision and device are remembered for the process
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            script.main(*script.make_parser().parse_args_and_config(["--config", str(path)]))
    except (Exception, SystemExit) as error:
        return f"{type(error).__name__}: {error}"
    return None


def shown(case: Any) -> str:
    return json.dumps(case).replace('"', "")


@pytest.mark.parametrize(("training_type", "case"), CASES, ids=shown)
def test_cw_and_trl_agree(
    training_type: str, case: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    values = {key: value for key, value in (BASE | case).items() if value is not None}
    text = yaml.safe_dump(values, sort_keys=False)
    path = folder / "config.yaml"
    path.write_text(text)
    found = errors(cross_checks(parse_config(text, str(path)), TrainingType(training_type), gpus=0, nodes=1))
    said = refusal(training_type, path)
    assert bool(found) == bool(said), (found, said)
