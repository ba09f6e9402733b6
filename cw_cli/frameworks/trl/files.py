"""The model and the other files that a TRL config names: are they there, and are they what TRL expects."""

from __future__ import annotations

import json
from collections.abc import Iterator

from cw_cli.core.config import Config
from cw_cli.core.paths import local_path, looks_local, missing
from cw_cli.core.problems import Problem
from cw_cli.frameworks import hugging_face

Problems = Iterator[Problem]

MODEL = "model_name_or_path"
JSON_KEYS = ("deepspeed", "fsdp_config", "accelerator_config")
"""Keys that hold a mapping, or the path of a JSON file with it."""

BY_NAME = {"deepspeed": ("zero1", "zero2", "zero3")}
"""What such a key may name instead of a file; see `accelerate.py`."""


def checks(config: Config) -> Problems:
    yield from hugging_face.model(config, MODEL)
    yield from hugging_face.output(config, MODEL, "dataset_name")
    for key in JSON_KEYS:
        value = config.get(key)
        read = key != "fsdp_config" or config.get("fsdp")
        if read and isinstance(value, str) and not value.startswith("{"):
            yield from _json_file(config, key, value)
    for key in ("chat_template_path", "resume_from_checkpoint"):
        value = config.get(key)
        if isinstance(value, str) and value.lower() not in ("true", "false"):
            needed = looks_local(value) or value.count("/") > 1 or key == "resume_from_checkpoint"
            if needed and local_path(value, config.folder) is None:
                yield missing(config, (key,), value)


def lacks_chat_template(config: Config) -> bool:
    """Whether the model is a folder on this machine whose tokenizer cannot format a conversation."""
    value = config.get(MODEL)
    if config.get("chat_template_path") or not isinstance(value, str):
        return False
    path = local_path(value, config.folder)
    if path is None or not (path / "tokenizer_config.json").is_file():
        return False
    if any(
        (path / name).exists() for name in ("chat_template.jinja", "chat_template.json", "additional_chat_templates")
    ):
        return False
    try:
        settings = json.loads((path / "tokenizer_config.json").read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return not (isinstance(settings, dict) and settings.get("chat_template"))


def _json_file(config: Config, key: str, value: str) -> Problems:
    path = local_path(value, config.folder)
    if path is None and value in BY_NAME.get(key, ()):
        return
    if path is None:
        yield missing(config, (key,), value)
        return
    if path.is_dir():
        yield config.problem((key,), f"{key}: {value} is a folder", "name the JSON file in it")
        return
    try:
        content = json.loads(path.read_text("utf-8"))
    except OSError as error:
        yield config.problem((key,), f"{key}: {value} cannot be read: {error.strerror}", "check the file")
        return
    except (ValueError, RecursionError) as error:
        yield config.problem((key,), f"{key}: {value} is not JSON: {error}", "correct the file")
        return
    if not isinstance(content, dict):
        yield config.problem((key,), f"{key}: {value} does not hold a mapping", "write a JSON object into it")
