"""Keys of TRL SFT that are wrong together: what is said, where, and how strongly. Nothing here needs TRL."""

import json

import pytest
import yaml

from cw_cli.core.config import parse_config
from cw_cli.core.framework import TrainingType
from cw_cli.core.problems import errors, warnings
from cw_cli.frameworks.trl.checks import cross_checks

BASE = {"model_name_or_path": "owner/model", "dataset_name": "owner/data"}


def problems(tmp_path, settings, gpus=1, nodes=1):
    values = {key: value for key, value in {**BASE, **settings}.items() if value is not ...}
    config = parse_config(yaml.safe_dump(values, sort_keys=False), str(tmp_path / "config.yaml"))
    return cross_checks(config, TrainingType.SFT, gpus=gpus, nodes=nodes)


def lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"fp16": True},
        {"tf32": True, "bf16": True},
        {"eval_strategy": "steps"},
        {"resume_from_checkpoint": True},
        {"use_peft": True, "lora_r": 8, "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
        {"attn_implementation": "kernels-community/flash-attn2", "packing": True},
        {"deepspeed": {"zero_optimization": {"stage": 3}}},
        {"chat_template_path": "owner/other-model"},
        {"dataset_name": "hf://datasets/a/b/c"},
        {"dataset_name": ..., "datasets": [{"path": "owner/data", "split": "train[:10%]"}]},
        {"dataset_name": ..., "datasets": [{"path": "json", "data_files": "https://host/x.jsonl"}]},
        {"dataset_name": ..., "datasets": [{"path": "json", "data_files": "data/**/*.jsonl"}]},
    ],
)
def test_nothing_is_said_about_what_works(tmp_path, settings):
    assert problems(tmp_path, settings) == []


@pytest.mark.parametrize(
    ("settings", "key", "words"),
    [
        ({"fsdp": True}, "fsdp", "several GPUs"),
        ({"deepspeed": {}, "fsdp": True, "eval_strategy": "no"}, "fsdp", "several GPUs"),
        ({"load_in_8bit": True}, "load_in_8bit", "only be trained with LoRA"),
        (
            {"use_peft": True, "load_in_4bit": True, "model_init_kwargs": {"quantization_config": {}}},
            "quantization_config",
            "say the same thing",
        ),
        (
            {"use_liger_kernel": True, "liger_kernel_config": {"fused_linear_cross_entropy": True}},
            "fused_linear",
            "TRL's own",
        ),
        ({"optim": "apollo_adamw"}, "optim", "which layers"),
        ({"deepspeed": "ds.json"}, "deepspeed", "there is no ds.json"),
        ({"resume_from_checkpoint": "out/checkpoint-5"}, "resume_from_checkpoint", "there is no out/checkpoint-5"),
        ({"hub_token": "hf_abc"}, "hub_token", "does not belong in a config"),
        ({"model_name_or_path": ...}, None, "model_name_or_path is missing"),
        ({"dataset_name": ...}, None, "no data to train on"),
        ({"dataset_name": ..., "datasets": [{"path": "json"}]}, "path: json", "no file is named"),
    ],
)
def test_mistakes(tmp_path, settings, key, words):
    (problem,) = errors(problems(tmp_path, settings))
    assert words in problem.message
    assert problem.remedy
    if key and key != "hub_token":
        assert key in problem.origin.text
    else:
        assert problem.origin.text is None


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"deepspeed": {"a": 1}, "fsdp": True}, "do the same work"),
        ({"fsdp": True, "fsdp_config": {"activation_checkpointing": True}}, "turns checkpointing on"),
        (
            {"fsdp": True, "save_only_model": True, "fsdp_config": {"fsdp_state_dict_type": "SHARDED_STATE_DICT"}},
            "own part",
        ),
        (
            {"deepspeed": {"zero_optimization": {"stage": 3}}, "auto_find_batch_size": True},
            "stage 3",
        ),
        (
            {"deepspeed": {"a": 1}, "save_only_model": True, "load_best_model_at_end": True, "save_strategy": "best"},
            "keeps too little",
        ),
    ],
)
def test_mistakes_with_several_gpus(tmp_path, settings, words):
    assert [problem for problem in errors(problems(tmp_path, settings, gpus=4)) if words in problem.message]


@pytest.mark.parametrize(
    ("settings", "gpus", "words"),
    [
        ({"use_cpu": True, "bf16": False}, 2, "leaves the 2 GPUs idle"),
        ({"use_cpu": True}, 0, "16-bit"),
        ({"use_cpu": True, "fp16": True}, 0, "for GPUs"),
        ({"lora_alpha": 8}, 1, "not used without use_peft"),
        ({"bnb_4bit_quant_type": "nf4"}, 1, "not used without load_in_4bit"),
        ({"packing_strategy": "wrapped"}, 1, "not used without packing"),
        ({"fsdp_config": {}}, 1, "not used without fsdp"),
        ({"save_only_model": True, "resume_from_checkpoint": True}, 1, "cannot continue"),
        ({"save_only_model": True, "retries": 3}, 1, "cannot continue"),
        ({"deepspeed": "/opt/ds.json"}, 1, "not on this machine"),
        ({"model_name_or_path": "/models/llama"}, 1, "not on this machine"),
        ({"datasets": [{"path": "owner/data"}]}, 1, "not used where there are datasets"),
    ],
)
def test_warnings(tmp_path, settings, gpus, words):
    found = problems(tmp_path, settings, gpus=gpus)
    assert errors(found) == []
    assert [problem for problem in warnings(found) if words in problem.message]


def test_a_token_is_not_shown(tmp_path):
    (problem,) = problems(tmp_path, {"hub_token": "hf_abc"})
    assert "hf_abc" not in repr(problem)


def test_a_problem_stands_at_its_line(tmp_path):
    (problem,) = problems(tmp_path, {"seed": 1, "padding_free": True})
    assert (problem.origin.line, problem.origin.column) == (4, 15)


@pytest.mark.parametrize(
    ("row", "remedy"),
    [
        ({"conversations": [{"role": "user", "content": "a"}]}, "rename the column conversations to messages"),
        ({"chat": [{"from": "human", "value": "a"}]}, "rename the column chat to conversations"),
        ({"instruction": "a", "output": "b"}, "rename the columns instruction to prompt and output to completion"),
        ({"question": "a", "answer": "b"}, "rename the columns question to prompt and answer to completion"),
        ({"prompt": "a", "response": "b"}, "rename the column response to completion"),
        ({"content": "a", "label": 1}, "write `dataset_text_field: content`"),
        ({"label": 1}, "SFT needs messages, prompt and completion, or text"),
    ],
)
def test_columns_that_do_not_fit_come_with_the_nearest_way(tmp_path, row, remedy):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.jsonl").write_text(lines(row))
    (problem,) = problems(tmp_path, {"dataset_name": "data"})
    assert problem.remedy == remedy
    assert problem.origin.text == "dataset_name: data"


def test_a_broken_row_keeps_its_own_place(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"text": "a"}\n{"text"\n')
    mixture = {"dataset_name": ..., "datasets": [{"path": "json", "data_files": "rows.jsonl"}]}
    (problem,) = problems(tmp_path, mixture)
    assert str(problem.origin) == f"{tmp_path}/rows.jsonl:2:8"


def test_the_first_value_of_a_column_decides(tmp_path):
    rows = [{"text": "a", "messages": None}, {"text": "b", "messages": [{"role": "user", "content": "a"}]}]
    (tmp_path / "rows.jsonl").write_text(lines(*rows))
    mixture = {"dataset_name": ..., "datasets": [{"path": "json", "data_files": "rows.jsonl", "columns": ["text"]}]}
    assert problems(tmp_path, mixture) == []


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (["adapter_config.json"], "an adapter, not a whole model"),
        (["weights.bin"], "config.json is missing"),
        (["config.json"], "without its tokenizer"),
        (["config.json", "tokenizer.json"], None),
    ],
)
def test_a_model_on_this_machine_is_whole(tmp_path, files, words):
    for name in files:
        (tmp_path / "model").mkdir(exist_ok=True)
        (tmp_path / "model" / name).write_text("{}")
    found = problems(tmp_path, {"model_name_or_path": "model"})
    assert [problem for problem in found if words and words in problem.message] == found


@pytest.mark.parametrize("settings", [{"output_dir": "model"}, {"output_dir": "data/out"}, {"output_dir": "file"}])
def test_the_output_does_not_overwrite_the_input(tmp_path, settings):
    for name in ("model/config.json", "model/tokenizer.json", "data/train.jsonl", "file"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(lines({"text": "a"}))
    (problem,) = problems(tmp_path, {"model_name_or_path": "model", "dataset_name": "data", **settings})
    assert problem.message.startswith("output_dir")


@pytest.mark.parametrize("text", ["{", "[]", "\0"])
def test_a_json_file_that_is_none(tmp_path, text):
    (tmp_path / "ds.json").write_text(text)
    (problem,) = problems(tmp_path, {"deepspeed": "ds.json"})
    assert "ds.json" in problem.message
