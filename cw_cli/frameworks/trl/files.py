"""The model and the other files that a TRL config names: are they there, and are they what TRL expects."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

from cw_cli.core.config import Config
from cw_cli.core.paths import local_path, looks_local
from cw_cli.core.problems import KeyPath, Problem

Problems = Iterator[Problem]

JSON_KEYS = ("deepspeed", "fsdp_config", "accelerator_config")
"""Keys that hold a mapping, or the path of a JSON file with it."""

BY_NAME = {"deepspeed": ("zero1", "zero2", "zero3")}
"""What such a key may name instead of a file; see `accelerate.py`."""

TOKENIZERS = (
    *("tokenizer_config.json", "tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model"),
    *("preprocessor_config.json", "processor_config.json"),
)

_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


def checks(config: Config) -> Problems:
    yield from model(config)
    yield from output(config)
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


def missing(config: Config, path: KeyPath, value: str) -> Problem:
    """The problem of a path that is not there; an absolute one may be there in the image or on a volume."""
    name = ".".join(str(part) for part in path)
    if value.startswith("/"):
        message = f"{name}: {value} is not on this machine"
        return config.problem(path, message, "make sure that the image or a volume has it", warning=True)
    message = f"{name}: there is no {value}"
    return config.problem(path, message, "write the path from the folder of the config file")


def model(config: Config, key: str = "model_name_or_path", *, tokenizer: bool = True) -> Problems:
    """The model of `key`, and whether its tokenizer, if that is needed, is beside it."""
    value = config.get(key)
    if not value:
        message = f"{key} is missing"
        yield config.problem((key,), message, f"add `{key}:` with a folder or a name on the Hugging Face Hub")
        return
    path = local_path(value, config.folder)
    if path is not None and path.is_dir():
        yield from _model_folder(config, key, value, path, tokenizer)
    elif path is not None:
        yield config.problem((key,), f"{key}: {value} is a file", "name the folder that it is in")
    elif looks_local(value) or value.count("/") > 1:
        yield missing(config, (key,), value)
    elif not _HUB_NAME.fullmatch(value):
        message = f"{key}: {value} is neither a folder here nor a name on the Hugging Face Hub"
        yield config.problem((key,), message, "names on the Hub look like owner/name")


def _model_folder(config: Config, key: str, value: str, path: Path, tokenizer: bool) -> Problems:
    if not (path / "config.json").is_file():
        if (path / "adapter_config.json").is_file():
            remedy = "merge the adapter into its model first, and name the merged model"
            yield config.problem((key,), f"{value} holds an adapter, not a whole model", remedy)
        else:
            message = f"{value} holds no model: config.json is missing"
            yield config.problem((key,), message, "name the folder that save_pretrained wrote")
    elif tokenizer and not any((path / name).is_file() for name in TOKENIZERS):
        remedy = "save the tokenizer into that folder"
        yield config.problem((key,), f"{value} holds a model without its tokenizer", remedy)


def lacks_chat_template(config: Config) -> bool:
    """Whether the model is a folder on this machine whose tokenizer cannot format a conversation."""
    value = config.get("model_name_or_path")
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


def output(config: Config) -> Problems:
    value = config.get("output_dir")
    if not isinstance(value, str) or not value or "\0" in value:
        return
    target = Path(os.path.realpath(config.folder / os.path.expanduser(value)))
    if os.path.isfile(target):
        yield config.problem(("output_dir",), f"output_dir: {value} is a file", "name a folder")
    for key, what in (("model_name_or_path", "the model"), ("dataset_name", "the data")):
        source = config.get(key)
        found = local_path(source, config.folder) if isinstance(source, str) else None
        if found is None or not found.is_dir():
            continue
        # Saving into the model would overwrite it; anything inside the data would be read as data.
        if target == found.resolve() or (key == "dataset_name" and target.is_relative_to(found.resolve())):
            message = f"output_dir: {value} is where {what} is read from"
            yield config.problem(("output_dir",), message, "name another folder")


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
