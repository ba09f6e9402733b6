"""The generated keys of Axolotl: what the file promises. `tests/package` compares it with the published Axolotl."""

import json

import pytest

from cw_cli.schemas import generate_axolotl

SCHEMA = json.loads(generate_axolotl.FILE.read_text(encoding="utf-8"))
KEYS = {name: spec for group in SCHEMA["types"]["axolotl"] for name, spec in SCHEMA["groups"][group]["keys"].items()}
PLUGIN_KEYS = {module: SCHEMA["groups"][module]["keys"] for module in SCHEMA["types"]["plugins"]}


def test_every_key_stands_in_one_group():
    assert len(KEYS) == sum(len(SCHEMA["groups"][group]["keys"]) for group in SCHEMA["types"]["axolotl"]) == 390


def test_keys_have_the_names_that_a_config_uses():
    assert {"model_type", "model_config", "model_kwargs", "model_revision"} <= set(KEYS)
    assert SCHEMA["aliases"]["type_of_model"] == "model_type"


def test_a_plugin_has_keys_of_its_own():
    assert len(PLUGIN_KEYS) == len(SCHEMA["plugins"]) == 15
    assert "liger_rope" in PLUGIN_KEYS["liger"]
    assert "cut_cross_entropy" in PLUGIN_KEYS["cut_cross_entropy"]
    shared = {name for keys in PLUGIN_KEYS.values() for name in keys} & set(KEYS)
    assert shared <= {"plugins"}


def test_texts_of_plugins_stay_with_the_plugins():
    def described(spec):
        return "description" in spec or any(described(item) for item in spec.get("properties", {}).values())

    assert not any(described(spec) for keys in PLUGIN_KEYS.values() for spec in keys.values())


@pytest.mark.parametrize(
    ("key", "type_", "default"),
    [
        ("learning_rate", ["string", "number"], None),
        ("sequence_len", "integer", 512),
        ("bf16", ["string", "boolean", "null"], "auto"),
        ("deepspeed", ["string", "object", "null"], None),
        ("optimizer", ["string", "null"], "adamw_torch_fused"),
    ],
)
def test_what_a_key_takes(key, type_, default):
    assert KEYS[key]["type"] == type_
    assert KEYS[key].get("default") == default


def test_lists_that_axolotl_does_not_check_are_known():
    assert {"adamw_bnb_8bit", "muon", "adamw_torch_fused"} <= set(KEYS["optimizer"]["enum"])
    assert "adamw" not in KEYS["optimizer"]["enum"]
    assert {"cosine", "rex", "one_cycle"} <= set(KEYS["lr_scheduler"]["enum"])
    assert {"chat_template", "completion", "alpaca_chat.load_qa"} <= set(SCHEMA["dataset_types"]["sft"])
    assert "chatml.intel" in SCHEMA["dataset_types"]["dpo"]
    assert "alpaca" in SCHEMA["dataset_handlers"]


def test_a_word_or_a_truth_value_is_a_choice():
    assert KEYS["bf16"]["enum"] == ["auto", True, False, None]


def test_nested_blocks_are_closed():
    assert KEYS["trl"]["additionalProperties"] is False
    assert "reward_funcs" in KEYS["trl"]["properties"]
    assert "vllm_server_base_url" not in KEYS["trl"]["properties"]
    entry = KEYS["datasets"]["items"]
    assert entry["additionalProperties"] is False
    assert {"path", "type", "field_messages", "field_chosen", "length"} <= set(entry["properties"])
    assert KEYS["model_config"]["type"] == ["object", "null"]
    assert "properties" not in KEYS["model_config"]
