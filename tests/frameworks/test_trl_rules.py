"""Old names, gone keys and values that are refused late: the tables against the schema and the installed TRL."""

import importlib
import importlib.util
import json
from typing import Any

import pytest

from cw_cli.frameworks.trl import accelerate, online_rules, rules
from cw_cli.schemas.generate_trl import FILE

DATA = json.loads(FILE.read_text(encoding="utf-8"))


def keys_of(training_type: str) -> dict[str, dict[str, Any]]:
    groups = [DATA["groups"][name]["keys"] for name in reversed(DATA["types"][training_type])]
    return {name: spec for group in groups for name, spec in group.items()}


KEYS = keys_of("sft")

needs_trl = pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="the train extra is not installed")


def test_old_names_are_gone_and_new_ones_are_there():
    for old, rename in rules.RENAMED.items():
        assert old not in KEYS
        assert rename.new in KEYS
    for new, rename in rules.NEWER.items():
        assert {new, rename.new} <= KEYS.keys()
    assert not rules.REMOVED.keys() & KEYS.keys()
    assert not rules.ACCELERATE.keys() & KEYS.keys()
    assert not rules.OTHER_SCRIPTS.keys() & KEYS.keys()
    assert set(rules.ALIASES.values()) <= KEYS.keys() | {accelerate.KEY}
    assert accelerate.KEY not in KEYS


def test_each_old_key_has_one_answer():
    tables = (rules.RENAMED, rules.REMOVED, rules.IGNORED, rules.ACCELERATE, rules.OTHER_SCRIPTS, rules.ALIASES)
    names = [name for table in tables for name in table]
    assert len(names) == len(set(names))


def test_what_is_laid_over_the_schema_fits_it():
    for name, fragment in rules.OVERLAY.items():
        assert name in KEYS
        spec = {**KEYS[name], **fragment}
        default = spec["default"]
        if default is not None:
            assert default in spec.get("enum", [default]), name
            assert default >= spec["minimum"] if "minimum" in spec else True, name
    for name, choices in rules.RENAMED_CHOICES.items():
        assert set(choices.values()) <= set(KEYS[name]["enum"])


def test_what_is_said_of_one_type_fits_it():
    for training_type, removed in (rules.REMOVED_OF | online_rules.REMOVED_OF).items():
        assert not removed.keys() & keys_of(training_type).keys()
    for training_type, overlay in (rules.OVERLAY_OF | online_rules.OVERLAY_OF).items():
        assert overlay.keys() <= keys_of(training_type).keys()
    for training_type, renamed in online_rules.RENAMED_OF.items():
        keys = keys_of(training_type).keys()
        assert not renamed.keys() & keys
        assert {rename.new for rename in renamed.values()} <= keys
        assert not renamed.keys() & {*rules.REMOVED, *online_rules.REMOVED_OF[training_type]}


@pytest.mark.parametrize(
    ("old", "value", "new"),
    [
        ("warmup_ratio", 0.1, 0.1),
        ("warmup_ratio", 0, 0),
        ("warmup_ratio", 1.0, None),
        ("warmup_ratio", "much", None),
        ("group_by_length", True, "group_by_length"),
        ("group_by_length", False, "random"),
        ("group_by_length", "yes", None),
    ],
)
def test_values_of_old_keys_are_translated(old, value, new):
    assert rules.RENAMED[old].convert(value) == new


@needs_trl
def test_reporters_are_those_of_transformers():
    known = importlib.import_module("transformers.integrations.integration_utils").INTEGRATION_TO_CALLBACK
    assert set(rules.REPORTERS) == {*known, "none", "all"}


@needs_trl
def test_attention_is_what_transformers_takes():
    known = importlib.import_module("transformers.modeling_utils").AttentionInterface._global_mapping
    assert set(rules.ATTENTION) == {*known, "eager"}


@needs_trl
def test_lora_task_types_are_those_of_peft():
    known = importlib.import_module("peft").TaskType
    assert set(rules.OVERLAY["lora_task_type"]["enum"]) == {member.value for member in known}


@needs_trl
def test_ignored_and_refused_launch_keys_are_those_of_accelerate():
    parser = importlib.import_module("accelerate.commands.launch").launch_command_parser()
    known = {action.dest for action in parser._actions} | {"accelerate_config", "local_rank"}
    assert rules.IGNORED.keys() | rules.ACCELERATE.keys() <= known


@needs_trl
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("include_num_input_tokens_seen", ["all", "non_padding", "no", True, False]),
        ("debug", ["", "underflow_overflow", "tpu_metrics_debug", "underflow_overflow tpu_metrics_debug"]),
        ("resume_from_checkpoint", [True, False, "folder", None]),
        ("warmup_steps", [0, 0.1, 10]),
        ("report_to", [None, "wandb", ["wandb", "tensorboard"], "none"]),
        ("loss_type", ["chunked_nll"]),
        ("packing_strategy", ["bfd-requeue"]),
    ],
)
def test_values_that_are_allowed_here_are_allowed_there(key, values, tmp_path):
    config = importlib.import_module("trl").SFTConfig
    for value in values:
        made = config(output_dir=str(tmp_path), use_cpu=True, bf16=False, **{key: value})
        if isinstance(value, str) and (new := rules.RENAMED_CHOICES.get(key, {}).get(value)):
            assert getattr(made, key) == new


@needs_trl
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "settings", [{"warmup_steps": -1}, {"torch_empty_cache_steps": 0}, {"debug": "everything"}, {"optim": "adam"}]
)
def test_values_that_are_refused_here_are_refused_there(settings, tmp_path):
    config = importlib.import_module("trl").SFTConfig
    with pytest.raises(ValueError):
        config(output_dir=str(tmp_path), use_cpu=True, bf16=False, **settings)
