"""The generated keys of TRL: what the file promises, and that it says what the installed TRL says."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from cw_cli.frameworks.trl import pairs
from cw_cli.schemas import generate_trl

SCHEMA = json.loads(generate_trl.FILE.read_text(encoding="utf-8"))
OLDER = generate_trl.FILE.with_name("trl-transformers-5.17.0.json")
KEYS = {name: spec for name in SCHEMA["types"]["sft"] for name, spec in SCHEMA["groups"][name]["keys"].items()}


def test_every_key_of_sft_stands_in_one_group():
    assert sum(len(SCHEMA["groups"][name]["keys"]) for name in SCHEMA["types"]["sft"]) == len(KEYS) == 163


def test_every_type_has_its_own_group_before_what_all_share():
    for name, groups in SCHEMA["types"].items():
        assert groups == ["model", "dataset", name, "trainer"]
        assert "learning_rate" in SCHEMA["groups"][name]["keys"]


def test_every_key_has_a_type_and_a_default_of_that_type():
    words = {str: "string", bool: "boolean", int: "integer", float: "number", list: "array", type(None): "null"}
    for name, spec in KEYS.items():
        types = [spec["type"]] if isinstance(spec["type"], str) else spec["type"]
        word = words[type(spec["default"])]
        assert word in types or (word == "integer" and "number" in types), name
        assert spec["default"] in spec.get("enum", [spec["default"]]), name


@pytest.mark.parametrize(
    ("key", "type_", "default"),
    [
        ("learning_rate", "number", 2e-05),
        ("max_length", ["integer", "null"], 1024),
        ("bf16", ["boolean", "null"], None),
        ("dtype", ["string", "null"], "float32"),
        ("report_to", ["string", "array", "null"], "none"),
        ("warmup_steps", "number", 0),
        ("optim", "string", "adamw_torch_fused"),
        ("model_init_kwargs", ["string", "object", "null"], None),
    ],
)
def test_what_a_key_takes(key, type_, default):
    assert KEYS[key]["type"] == type_
    assert KEYS[key]["default"] == default


def test_choices_come_from_enums_and_from_metadata():
    assert KEYS["eval_strategy"]["enum"] == ["no", "steps", "epoch"]
    assert KEYS["packing_strategy"]["enum"] == ["bfd", "bfd_split", "wrapped"]
    assert KEYS["dtype"]["enum"] == ["auto", "bfloat16", "float16", "float32", None]


def test_the_entries_of_a_mixture_are_spelt_out():
    entry = KEYS["datasets"]["items"]
    assert list(entry["properties"]) == ["path", "name", "data_dir", "data_files", "split", "columns", "fraction"]
    assert entry["additionalProperties"] is False
    assert "default" not in entry["properties"]["path"]


def test_sft_declares_its_own_learning_rate():
    assert "learning_rate" in SCHEMA["groups"]["sft"]["keys"]
    assert "weight_decay" in SCHEMA["groups"]["trainer"]["keys"]


def test_an_older_pair_lacks_what_came_later():
    older, newest = pairs.schema("sft", OLDER), pairs.schema("sft")
    assert older.subject == "TRL 1.16.0 with Transformers 5.17.0"
    assert newest.subject == "TRL 1.16.0 with Transformers 5.23.0"
    assert newest.keys.keys() - older.keys.keys() == {"activation_checkpointing", "activation_checkpointing_kwargs"}
    assert older.keys.keys() < newest.keys.keys()
    assert "Deprecated" not in older.keys["gradient_checkpointing_kwargs"].help
    assert older.renamed["activation_checkpointing"].new == "gradient_checkpointing"
    assert "activation_checkpointing" not in newest.renamed


def test_a_difference_is_what_makes_one_of_the_other():
    newest = {
        "groups": {"a": {"title": "A", "keys": {"gone": {"type": "string"}, "same": {}, "other": {"default": 1}}}}
    }
    keys = {"new": {"type": "null"}, "other": {"default": 2}, "same": {}}
    older = {"framework": "f", "versions": {}, "notice": "n", "groups": {"a": {"title": "A", "keys": keys}}}
    found = generate_trl.difference(newest, older)
    assert found["lacks"] == {"a": ["gone"]}
    assert found["groups"] == {"a": {"title": "A", "keys": {"new": {"type": "null"}, "other": {"default": 2}}}}


def test_what_cannot_be_fetched_is_said_and_left(capfd, monkeypatch):
    pytest.importorskip("trl")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setattr(generate_trl, "schema", lambda: SCHEMA)
    before = OLDER.read_bytes()
    assert generate_trl.main([]) == 0
    assert OLDER.read_bytes() == before
    assert capfd.readouterr().err == (
        f"{OLDER} is left as it is: localhost/cw-trl:1.16.0-vllm holds packages that cannot be fetched here\n"
    )


@pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="the train extra is not installed")
def test_the_other_published_pair_says_the_same():
    check = [sys.executable, "-m", "cw_cli.schemas.generate_trl", "--check"]
    result = subprocess.run(check, capture_output=True, text=True, timeout=240)
    if "cannot be fetched" in result.stderr:
        pytest.skip("no package index is in reach")
    assert result.returncode == 0, result.stderr


@pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="the train extra is not installed")
def test_the_installed_trl_says_the_same():
    trl, transformers = importlib.import_module("trl"), importlib.import_module("transformers")
    if SCHEMA["versions"] != {"trl": trl.__version__, "transformers": transformers.__version__}:
        pytest.skip(f"the data is of {SCHEMA['versions']}")
    assert generate_trl.text(generate_trl.schema()) == generate_trl.FILE.read_text(encoding="utf-8")
