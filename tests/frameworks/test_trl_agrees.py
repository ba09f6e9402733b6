"""cw refuses a config exactly where TRL's own SFT refuses it: each case is given to both."""

import importlib
import importlib.util
import json
import os
import warnings
from pathlib import Path

import pytest
import yaml

from cw_cli.core.config import parse_config
from cw_cli.core.framework import TrainingType
from cw_cli.core.problems import errors
from cw_cli.frameworks.trl.checks import cross_checks

if importlib.util.find_spec("trl") is None:
    pytest.skip("the train extra is not installed", allow_module_level=True)

MODEL = Path(__file__).parents[2] / "examples" / "quickstart" / "model"
if not MODEL.is_dir():
    pytest.skip("the quickstart model is not there", allow_module_level=True)

pytestmark = pytest.mark.filterwarnings("ignore")

BASE = {
    "model_name_or_path": str(MODEL),
    "dataset_name": "words",
    "use_cpu": True,
    "bf16": False,
    "max_steps": 1,
    "per_device_train_batch_size": 2,
    "max_length": 16,
    "save_strategy": "no",
    "output_dir": "out",
    "disable_tqdm": True,
}

TURN = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}]
SHAREGPT = [{"from": "user", "value": "hi"}, {"from": "assistant", "value": "yes"}]
TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"

DATA = {
    "words/train.jsonl": {"text": "the fox sleeps"},
    "words/test.jsonl": {"text": "the owl sleeps"},
    "only/train.jsonl": {"text": "the fox sleeps"},
    "pairs/train.jsonl": {"prompt": "the fox", "completion": " sleeps"},
    "mixed/train.jsonl": {"prompt": "the fox", "completion": TURN},
    "prompts/train.jsonl": {"prompt": "the fox"},
    "messages/train.jsonl": {"messages": TURN},
    "chat-pairs/train.jsonl": {"prompt": TURN[:1], "completion": TURN[1:]},
    "sharegpt/train.jsonl": {"conversations": SHAREGPT},
    "wrong-chat/train.jsonl": {"conversations": TURN},
    "alpaca/train.jsonl": {"instruction": "the fox", "output": "sleeps"},
    "story/train.jsonl": {"story": "the fox sleeps"},
    "numbers/train.jsonl": {"text": 5},
    "tokens/train.jsonl": {"input_ids": [5, 6, 7]},
    "prompt-text/train.jsonl": {"prompt": "the fox", "text": "the fox sleeps"},
    "prompt-messages/train.jsonl": {"prompt": "the fox", "messages": TURN},
    "completions/train.jsonl": {"completion": TURN},
    "tail/test.jsonl": {"text": "the fox sleeps"},
    "val/train.jsonl": {"text": "the fox sleeps"},
    "val/dev.jsonl": {"text": "the fox sleeps"},
}

JSON = {"dataset_name": None, "datasets": [{"path": "json", "data_files": "words/train.jsonl"}]}
CHAT = {"chat_template_path": "chat.jinja"}


def mixture(*entries: dict, **settings) -> dict:
    base = {"path": "json", "data_files": "words/train.jsonl"}
    return {"dataset_name": None, "datasets": [{**base, **entry} for entry in entries], **settings}


CASES = [
    {},
    # precision and devices
    {"bf16": True},
    {"fp16": True},
    {"fp16": True, "bf16": True},
    {"bf16": None, "fp16": True},
    {"bf16_full_eval": True, "fp16_full_eval": True},
    {"use_cpu": False},
    {"use_cpu": False, "fp16": True, "bf16": None},
    {"use_cpu": False, "bf16": True},
    {"use_cpu": False, "bf16": None},
    {"use_cpu": False, "bf16_full_eval": True},
    {"tf32": True},
    {"fsdp": True},
    {"parallelism_config": {"dp_replicate_size": 1}},
    {"dataloader_prefetch_factor": 2},
    {"dataloader_persistent_workers": True},
    # intervals
    {"logging_steps": 0},
    {"logging_steps": 0, "logging_strategy": "no"},
    {"logging_steps": 2.5},
    {"logging_steps": 0.5},
    {"save_strategy": "steps", "save_steps": 2.5},
    {"save_strategy": "no", "save_steps": 2.5},
    {"eval_strategy": "steps", "eval_steps": 2.5},
    {"eval_strategy": "steps", "eval_steps": 0},
    {"eval_strategy": "steps", "logging_strategy": "no", "logging_steps": 0},
    {"eval_on_start": True},
    {"eval_on_start": True, "eval_strategy": "epoch"},
    # the best model
    {"load_best_model_at_end": True, "save_strategy": "steps"},
    {"load_best_model_at_end": True},
    {"load_best_model_at_end": True, "save_strategy": "steps", "eval_strategy": "epoch"},
    {
        "load_best_model_at_end": True,
        "save_strategy": "steps",
        "eval_strategy": "steps",
        "save_steps": 4,
        "eval_steps": 2,
    },
    {
        "load_best_model_at_end": True,
        "save_strategy": "steps",
        "eval_strategy": "steps",
        "save_steps": 5,
        "eval_steps": 2,
    },
    {
        "load_best_model_at_end": True,
        "save_strategy": "steps",
        "eval_strategy": "steps",
        "save_steps": 0.5,
        "eval_steps": 2,
    },
    {
        "load_best_model_at_end": True,
        "save_strategy": "steps",
        "eval_strategy": "steps",
        "save_steps": 0.4,
        "eval_steps": 0.2,
    },
    {"load_best_model_at_end": True, "save_strategy": "best"},
    {"save_strategy": "best"},
    {"save_strategy": "best", "metric_for_best_model": "loss", "eval_strategy": "epoch"},
    # schedules
    {"lr_scheduler_type": "reduce_lr_on_plateau"},
    {"lr_scheduler_type": "greedy"},
    {"lr_scheduler_type": "cosine_with_min_lr"},
    {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr": 0.0}},
    {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr": 0.0, "min_lr_rate": 0.1}},
    {"lr_scheduler_type": "cosine_warmup_with_min_lr"},
    {"lr_scheduler_type": "warmup_stable_decay"},
    {"lr_scheduler_type": "warmup_stable_decay", "lr_scheduler_kwargs": {"num_decay_steps": 1}},
    {"optim": "galore_adamw"},
    # sequences
    {"packing": True, "max_length": None},
    {"packing": True},
    {"packing": True, "packing_strategy": "wrapped"},
    {"eval_packing": True, "max_length": None},
    {"eval_packing": True, "max_length": None, "eval_strategy": "epoch"},
    {"padding_free": True},
    {"padding_free": True, "max_length": None},
    {"padding_free": True, "packing": True},
    # checkpointing and adapters
    {"gradient_checkpointing_kwargs": {"selective": True}, "gradient_checkpointing": False},
    {"gradient_checkpointing_kwargs": {"selective": True, "use_reentrant": True}},
    {"activation_checkpointing": False, "gradient_checkpointing": True},
    {"load_in_4bit": True, "load_in_8bit": True},
    {"use_peft": True},
    {"use_peft": True, "lora_target_modules": ["q_proj", "lm_head"]},
    {"use_peft": True, "lora_target_modules": "all-linear"},
    {"lora_r": 4},
    {"attn_implementation": "flash"},
    {"attn_implementation": "eager"},
    {"use_liger_kernel": False, "liger_kernel_config": {"fused_linear_cross_entropy": True}},
    # files
    {"model_name_or_path": None},
    {"model_name_or_path": "./nothing"},
    {"model_name_or_path": "a/b/c"},
    {"model_name_or_path": "not a name"},
    {"model_name_or_path": "words"},
    {"resume_from_checkpoint": "./nothing"},
    {"resume_from_checkpoint": "true"},
    {"resume_from_checkpoint": False},
    {"fsdp_config": "nothing.json"},
    {"accelerator_config": "nothing.json"},
    {"accelerator_config": {"split_batches": False}},
    {"chat_template_path": "nothing.jinja"},
    # where the data is
    {"dataset_name": None},
    {"dataset_name": "words/train.jsonl"},
    {"dataset_name": "./nothing"},
    {"dataset_name": "json"},
    {"dataset_name": "tail"},
    {"dataset_name": "tail", "dataset_train_split": "test"},
    {"dataset_name": "empty"},
    {"dataset_name": "saved"},
    {"eval_strategy": "epoch"},
    {"dataset_name": "only", "eval_strategy": "epoch"},
    {"dataset_name": "only"},
    {"dataset_name": "val", "eval_strategy": "epoch"},
    {"dataset_name": "val", "eval_strategy": "epoch", "dataset_test_split": "validation"},
    {"dataset_streaming": True, "max_steps": -1},
    {"dataset_streaming": True},
    {"dataset_streaming": True, "packing": True},
    JSON,
    {**JSON, "dataset_name": "words"},
    {**JSON, "eval_strategy": "epoch"},
    {**JSON, "dataset_train_split": "test"},
    {**JSON, "streaming": True},
    {**JSON, "streaming": True, "max_steps": -1},
    {**JSON, "streaming": True, "test_split_size": 1},
    {**JSON, "test_split_size": 1, "eval_strategy": "epoch"},
    {**JSON, "test_split_size": 1.5},
    {**JSON, "test_split_size": 1, "eval_strategy": "epoch", "dataset_test_split": "validation"},
    mixture({"data_files": "words/nothing.jsonl"}),
    mixture({"data_files": "words/*.jsonl"}),
    mixture({"data_files": "words/*.csv"}),
    mixture({"data_files": ["words/train.jsonl", "words/test.jsonl"]}),
    mixture({"data_files": {"train": "words/train.jsonl", "more": ["words/test.jsonl"]}, "split": "more"}),
    mixture({"data_files": {"train": "words/train.jsonl"}, "split": "more"}),
    mixture({"data_files": None, "data_dir": "words"}),
    mixture({"path": "words", "data_files": None}),
    mixture({"path": "words", "data_files": None, "split": "train+test"}),
    mixture({"path": "words", "data_files": None, "split": "train[:50%]"}),
    mixture({"path": "words", "data_files": None, "split": "validation"}),
    mixture({"path": "words", "data_files": "train.jsonl"}),
    mixture({"path": "words/train.jsonl", "data_files": None}),
    mixture({"columns": ["text"]}),
    mixture({"columns": ["story"]}),
    mixture({"fraction": 0.5}, {}),
    mixture({"fraction": 0.5}, {"fraction": 0.5}),
    mixture({"fraction": 1.0}, streaming=True),
    mixture({}, {"data_files": "pairs/train.jsonl"}),
    mixture({}, {"data_files": "messages/train.jsonl"}, **CHAT),
    # what is in the data
    {"dataset_name": "pairs"},
    {"dataset_name": "mixed", **CHAT},
    {"dataset_name": "prompts"},
    {"dataset_name": "messages", **CHAT},
    {"dataset_name": "messages"},
    {"dataset_name": "chat-pairs", **CHAT},
    {"dataset_name": "sharegpt", **CHAT},
    {"dataset_name": "sharegpt"},
    {"dataset_name": "wrong-chat", **CHAT},
    {"dataset_name": "alpaca"},
    {"dataset_name": "story"},
    {"dataset_name": "story", "dataset_text_field": "story"},
    {"dataset_name": "numbers"},
    {"dataset_name": "tokens"},
    {"dataset_name": "prompt-text"},
    {"dataset_name": "prompt-messages", **CHAT},
    {"dataset_name": "completions", **CHAT},
    {"dataset_name": "broken"},
    {"dataset_kwargs": {"skip_prepare_dataset": True}},
    {"dataset_name": "tokens", "dataset_kwargs": {"skip_prepare_dataset": True}},
    {"assistant_only_loss": True},
    {"assistant_only_loss": True, "dataset_name": "messages", "chat_template_path": "marked.jinja"},
    {"assistant_only_loss": True, "dataset_name": "sharegpt", "chat_template_path": "marked.jinja"},
    {"completion_only_loss": True},
    {"completion_only_loss": True, "dataset_name": "pairs"},
    {"completion_only_loss": True, "dataset_name": "messages", **CHAT},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("trl")
    for name, row in DATA.items():
        path = root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text((json.dumps(row) + "\n") * 4)
    for name, text in (
        ("broken/train.jsonl", '{"text": "a"}\n{"text": \n'),
        ("empty/notes", "x"),
        ("saved/state.json", "{}"),
    ):
        (root / name).parent.mkdir()
        (root / name).write_text(text)
    (root / "chat.jinja").write_text(TEMPLATE)
    marked = "{% generation %}{{ m['content'] }}{% endgeneration %}"
    (root / "marked.jinja").write_text(
        "{% for m in messages %}{% if m['role'] == 'assistant' %}"
        + marked
        + "{% else %}{{ m['content'] }}{% endif %}\n{% endfor %}"
    )
    before = Path.cwd()
    os.chdir(root)
    yield root
    os.chdir(before)


def trl_refusal(path: Path) -> str | None:
    """What the real thing says to the config: read as `trl sft --config` reads it, then trained for a step."""
    from accelerate.state import AcceleratorState
    from trl.scripts import sft

    # Precision and device are remembered for the process.
    AcceleratorState._reset_state(reset_partial_state=True)
    parser = sft.make_parser()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sft.main(*parser.parse_args_and_config(["--config", str(path)]))
    except (Exception, SystemExit) as error:
        return f"{type(error).__name__}: {error}"
    return None


def shown(case: dict) -> str:
    return json.dumps(case).replace('"', "")[1:-1] or "nothing"


@pytest.mark.parametrize("case", CASES, ids=shown)
def test_cw_and_trl_agree(case, folder, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    values = {key: value for key, value in {**BASE, **case}.items() if value is not None or key == "max_length"}
    text = yaml.safe_dump(values, sort_keys=False)
    path = folder / "config.yaml"
    path.write_text(text)
    found = errors(cross_checks(parse_config(text, str(path)), TrainingType.SFT, gpus=0, nodes=1))
    refusal = trl_refusal(path)
    assert bool(found) == bool(refusal), (found, refusal)
