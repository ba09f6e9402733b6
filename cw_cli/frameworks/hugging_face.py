"""What the frameworks on Hugging Face's libraries share: models, folders that runs write to, packages of optimizers."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cw_cli.core.config import Config
from cw_cli.core.paths import local_path, looks_local, missing
from cw_cli.core.problems import Problem

Problems = Iterator[Problem]

LOADERS = ("json", "csv", "parquet", "text", "arrow")
"""Names that `load_dataset` takes for a file format rather than for a dataset."""

TOKENIZERS = (
    *("tokenizer_config.json", "tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model"),
    *("preprocessor_config.json", "processor_config.json"),
)

OF_OPTIMIZERS = {
    "adamw_torch_4bit": "torchao",
    "adamw_torch_8bit": "torchao",
    "adamw_anyprecision": "torchdistx",
    "lomo": "lomo-optim",
    "adalomo": "lomo-optim",
    "grokadamw": "grokadamw",
    "stable_adamw": "torch-optimi",
}
OF_OPTIMIZERS_BEGINNING = {
    "ao_": "torchao",
    "galore_": "galore-torch",
    "apollo_": "apollo-torch",
    "schedule_free_": "schedulefree",
}
FLASH = ("flash-attn", "kernels")
"""Transformers takes flash attention from either."""


_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


def model(config: Config, key: str, *, tokenizer: bool = True) -> Problems:
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


def json_mapping(config: Config, key: str, path: Path, problems: list[Problem]) -> Mapping[str, Any] | None:
    """What stands in the JSON file that `key` names; None, and the reason among the problems, where that is nothing."""
    shown = f"{key}: {config.get(key)}"
    if path.is_dir():
        problems.append(config.problem((key,), f"{shown} is a folder", "name the JSON file in it"))
        return None
    try:
        content = json.loads(path.read_text("utf-8"))
    except OSError as error:
        problems.append(config.problem((key,), f"{shown} cannot be read: {error.strerror}", "check the file"))
        return None
    except (ValueError, RecursionError) as error:
        problems.append(config.problem((key,), f"{shown} is not JSON: {error}", "correct the file"))
        return None
    if not isinstance(content, dict):
        problems.append(config.problem((key,), f"{shown} does not hold a mapping", "write a JSON object into it"))
        return None
    return content


def output(config: Config, model_key: str, *data_keys: str) -> Problems:
    """Whether the run can write to `output_dir` without spoiling what it reads."""
    value = config.get("output_dir")
    if not isinstance(value, str) or not value or "\0" in value:
        return
    target = Path(os.path.realpath(config.folder / os.path.expanduser(value)))
    if os.path.isfile(target):
        yield config.problem(("output_dir",), f"output_dir: {value} is a file", "name a folder")
    for key in (model_key, *data_keys):
        source = config.get(key)
        found = local_path(source, config.folder) if isinstance(source, str) else None
        if found is None or not found.is_dir():
            continue
        # Saving into the model would overwrite it; anything inside the data would be read as data.
        if target == found.resolve() or (key in data_keys and target.is_relative_to(found.resolve())):
            message = f"output_dir: {value} is where the {'model' if key == model_key else 'data'} is read from"
            yield config.problem(("output_dir",), message, "name another folder")


def package_of_optimizer(name: str) -> str | None:
    """The package of an optimizer of Transformers; None for one of torch's."""
    if name in OF_OPTIMIZERS:
        return OF_OPTIMIZERS[name]
    for beginning, package in OF_OPTIMIZERS_BEGINNING.items():
        if name.startswith(beginning):
            return package
    of_bitsandbytes = "8bit" in name or "bnb" in name or name.startswith(("paged_", "lion_", "ademamix"))
    return "bitsandbytes" if of_bitsandbytes else None
