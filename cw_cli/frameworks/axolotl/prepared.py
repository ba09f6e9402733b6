"""Where the prepared data of a config lies: in a folder of its own, so that only the same data is taken for it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from cw_cli.core.config import Config
from cw_cli.core.paths import local_path

KEYS = (
    *("base_model", "base_model_config", "tokenizer_config", "tokenizer_type", "tokenizer_use_fast", "processor_type"),
    *("special_tokens", "tokens", "added_tokens_overrides", "eot_tokens", "tokenizer_use_mistral_common"),
    *("datasets", "test_datasets", "val_set_size", "seed", "rl", "reward_model", "process_reward_model", "plugins"),
    *("chat_template", "chat_template_jinja", "chat_template_kwargs", "default_system_message", "train_on_inputs"),
    *("sequence_len", "eval_sequence_len", "max_prompt_len", "min_sample_len", "excess_length_strategy"),
    *("sample_packing", "eval_sample_packing", "group_by_length", "shuffle_merged_datasets", "kd_temperature"),
    *("shuffle_before_merging_datasets", "dataset_exact_deduplication", "dataset_shard_num", "dataset_shard_idx"),
)
"""What the prepared data depends on."""

READ = 1_000_000
"""Bytes of a file that are read; of a larger one, size and time tell."""


def name(config: Config) -> str:
    """The name of the folder, another one for other data and for files that have changed.

    Axolotl tells prepared data apart by what a config says, and files of two runs may have the same name.
    """
    said = {key: config.get(key) for key in KEYS}
    digest = hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode())
    for path in sorted(set(_files(config))):
        status = path.stat()
        digest.update(path.name.encode())
        small = status.st_size <= READ
        digest.update(path.read_bytes() if small else f"{status.st_size} {status.st_mtime_ns}".encode())
    return digest.hexdigest()[:16]


def _files(config: Config) -> Iterator[Path]:
    """The files of datasets and templates that lie on this machine."""
    for value in _named(config):
        path = local_path(value.partition(":")[0] if ".py:" in value else value, config.folder)
        if path is not None:
            yield from (file for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())


def _named(config: Config) -> Iterator[str]:
    entries = [config.values, *(config.get("datasets") or []), *(config.get("test_datasets") or [])]
    for entry in entries:
        listed = entry.get("data_files") or []
        values = [entry.get("path"), entry.get("chat_template_jinja"), entry.get("type")]
        for value in [*values, *(listed if isinstance(listed, list) else [listed])]:
            if isinstance(value, str):
                yield value
