"""The datasets of a config: their types, which of their keys Axolotl reads, and the rows of those that lie here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cw_cli.core.config import Config
from cw_cli.core.datasets import Sample, sample
from cw_cli.core.paths import local_path, looks_local, missing
from cw_cli.core.problems import KeyPath, Problem
from cw_cli.core.spelling import meant, nearest
from cw_cli.core.splits import splits
from cw_cli.frameworks.axolotl.checks import online
from cw_cli.frameworks.axolotl.keys import data, foreign_plugins, listed, package_of
from cw_cli.frameworks.axolotl.kinds import FAMILIES, kind_of
from cw_cli.frameworks.hugging_face import LOADERS

Problems = Iterator[Problem]

READ_BY = {"dpo": "dpo", "ipo": "dpo", "simpo": "dpo", "kto": "kto"}
"""Which list of keys Axolotl reads of an entry; every other kind has that of sft."""

WITH_OWN_PROMPTS = ("sft", "pretrain", "dpo", "ipo", "simpo", "kto")
"""The kinds for which a type may say which columns hold what."""

COLUMNS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "alpaca": (("instruction",), ("output",)),
    "chat_template": (("field_messages", "messages"),),
    "completion": (("field", "text"),),
    "bradley_terry.chat_template": (("system",), ("input",), ("chosen",), ("rejected",)),
    "chat_template.default": (
        ("field_messages", "messages"),
        ("field_chosen", "chosen"),
        ("field_rejected", "rejected"),
    ),
}
"""What the rows of a type hold: a column's name, or the key that may name another one and its default."""


def checks(config: Config) -> Problems:
    kind = kind_of(config)
    brought = foreign_plugins(config) or any(package_of(plugin) == "nemo_gym" for plugin in listed(config))
    if not config.get("datasets") and not config.get("pretraining_dataset") and not brought:
        message = "there is no data to train on: datasets is missing"
        yield config.problem(("datasets",), message, "add `datasets: [{path: …, type: chat_template}]`")
    for key in ("datasets", "test_datasets"):
        for index, entry in enumerate(config.get(key) or []):
            if isinstance(entry, Mapping):
                yield from _entry(config, (key, index), entry, kind)
    yield from _templates(config)


def _entry(config: Config, place: KeyPath, entry: Mapping[str, Any], kind: str) -> Problems:
    yield from _dropped(config, place, entry, kind)
    yield from _type(config, place, entry, kind)
    if not entry.get("path"):
        message = f"{place[0]}.{place[1]} says not where the data is"
        yield config.problem(place, message, "add `path:` with a file, a folder or a name on the Hub")
        return
    files: list[Path] = []
    yield from _files(config, place, entry, files)
    if files and (rows := sample(files[0], _format(entry))) is not None:
        yield from rows.problems or _columns(config, place, entry, kind, rows)


def _dropped(config: Config, place: KeyPath, entry: Mapping[str, Any], kind: str) -> Problems:
    read = data()["dataset_keys"][READ_BY.get(kind, "sft")]
    for key in entry:
        if key not in read and entry[key] is not None:
            message = f"Axolotl does not read {key} of a dataset for {kind}"
            remedy = f"it reads {', '.join(read)}" if kind in READ_BY else "delete it"
            yield Problem(message, remedy, config.key_origin(*place, key), "warning")
    if kind in READ_BY and isinstance(entry.get("data_files"), str):
        message = f"data_files is a list for {kind}"
        yield config.problem((*place, "data_files"), message, f"write `data_files: [{entry['data_files']}]`")


def _type(config: Config, place: KeyPath, entry: Mapping[str, Any], kind: str) -> Problems:
    given, family = entry.get("type"), FAMILIES.get(kind, "sft")
    where = (*place, "type")
    if given is None:
        if family in ("sft", "reward") and not config.has(*where) and not config.get("skip_prepare_dataset"):
            remedy = "add `type: chat_template` for conversations, or an empty `type:` for rows that hold tokens"
            yield config.problem(place, f"{place[0]}.{place[1]} has no type", remedy)
        return
    if isinstance(given, Mapping) and kind not in WITH_OWN_PROMPTS:
        message = f"for {kind}, a dataset's type is a name"
        yield config.problem(where, message, f"delete it where rows hold what {kind} wants, or {_some(_types(family))}")
    if not isinstance(given, str) or given.startswith("axolotl."):
        return
    known = _types(family)
    if given.startswith("sharegpt"):
        remedy = "write `type: chat_template`, with `field_messages: conversations`"
        yield config.problem(where, "the type sharegpt is gone", remedy)
    elif ".py:" in given:
        yield from online.code(config, where, given)
    elif given not in known and (given.split(":")[0] not in data()["dataset_handlers"] or family != "sft"):
        yield _unknown(config, where, given, family, known)


def _types(family: str) -> Sequence[str]:
    types = data()["dataset_types"]
    if family == "sft":
        return [*types["sft"], *data()["dataset_handlers"], "messages", "stepwise_supervised"]
    return [*types["reward"], *types["sft"]] if family == "reward" else types[family]


def _unknown(config: Config, where: KeyPath, given: str, family: str, known: Sequence[str]) -> Problem:
    other = next((name for name, types in data()["dataset_types"].items() if given in types and name != family), None)
    message = f"there is no dataset type {given}"
    if other:
        return config.problem(where, f"{message} for this kind of training; it is one for {other}", _some(known))
    own = "." in given and given.split(".")[0] not in {name.split(".")[0] for name in known}
    if nearest(given, known) is None and (own or foreign_plugins(config)):
        remedy = "put the module beside the config, or make sure that the image has it"
        return config.problem(where, message, remedy, warning=True)
    return config.problem(where, message, meant(given, known, _some(known)))


def _some(known: Sequence[str]) -> str:
    return f"there is {', '.join(known[:8])}{' …' if len(known) > 8 else ''}"


def _format(entry: Mapping[str, Any]) -> str | None:
    given = entry.get("ds_type") or (entry["path"] if entry["path"] in LOADERS else None)
    return given if given in ("json", "csv", "parquet", "text") else None


def _files(config: Config, place: KeyPath, entry: Mapping[str, Any], found: list[Path]) -> Problems:
    """Fills `found` with the files of the entry that lie here."""
    path, listed = str(entry["path"]), entry.get("data_files")
    here = None if path in LOADERS else local_path(path, config.folder)
    if listed:
        root = here if here is not None and here.is_dir() else config.folder
        names = listed if isinstance(listed, list) else [listed]
        for index, name in enumerate(names):
            file = local_path(str(name), root) if here is not None or path in LOADERS else None
            if file is not None:
                found.append(file)
            elif here is not None or (path in LOADERS and looks_local(str(name)) and "*" not in str(name)):
                at = (*place, "data_files", index) if isinstance(listed, list) else (*place, "data_files")
                yield missing(config, at, str(name))
    elif path in LOADERS:
        message = f"{path} is a file format, and no file is named"
        yield config.problem((*place, "path"), message, "add `data_files:`, or write the file's path here")
    elif here is not None and here.is_file():
        found.append(here)
    elif here is not None:
        of_split = splits(here) or {}
        found.extend(of_split.get(str(entry.get("split") or "train"), [])[:1])
    elif looks_local(path) or (path.count("/") > 1 and "://" not in path):
        yield missing(config, (*place, "path"), path)


def _columns(config: Config, place: KeyPath, entry: Mapping[str, Any], kind: str, rows: Sample) -> Problems:
    given = entry.get("type")
    if not isinstance(given, str) or "input_ids" in rows.columns:
        return
    family = FAMILIES.get(kind, "sft")
    name = "chat_template.default" if family == "dpo" and given == "chat_template" else given.split(":")[0]
    if (name == "chat_template.default") != (family == "dpo"):
        return
    for names in COLUMNS.get(name, ()):
        key = names[0] if len(names) > 1 else None
        column = entry.get(key) or names[-1] if key else names[0]
        if column in rows.columns:
            continue
        near = next(
            (other for other in ("messages", "conversations", "conversation", "text") if other in rows.columns), None
        )
        message = f"{rows.path.name} has no column {column}; it has {', '.join(rows.columns)}"
        remedy = f"add `{key}: {near}`" if key and near else f"rename a column to {column}, or add it"
        at = (*place, key) if key and entry.get(key) else place
        yield config.problem(at, message, remedy)
        return
    if name.startswith("chat_template"):
        yield from _turns(config, place, entry, rows)


def _turns(config: Config, place: KeyPath, entry: Mapping[str, Any], rows: Sample) -> Problems:
    """Whether a conversation's turns hold what the mapping of properties says."""
    column = entry.get("field_messages") or "messages"
    turns = next((row[column] for row in rows.rows if row.get(column)), None)
    if not isinstance(turns, list) or not isinstance(turns[0], Mapping):
        if turns is not None:
            message = f"{column} in {rows.path.name} is no list of turns"
            yield config.problem(place, message, "write it as [{role: user, content: …}, …]")
        return
    mapping = entry.get("message_property_mappings") or {}
    old = {"role": entry.get("message_field_role"), "content": entry.get("message_field_content")}
    for part in ("role", "content"):
        name = mapping.get(part) or old[part] or part
        if name not in turns[0] and not (part == "content" and "tool_calls" in turns[0]):
            message = f"turns in {rows.path.name} have no {name}; they have {', '.join(turns[0])}"
            remedy = f"add `message_property_mappings: {{{part}: …}}`"
            if {"from", "value"} <= turns[0].keys():
                remedy = "add `message_property_mappings: {role: from, content: value}`"
            yield config.problem(place, message, remedy)
            return


def _templates(config: Config) -> Problems:
    """The chat template: a name that there is, or one's own."""
    for place in [(), *(("datasets", index) for index in range(len(config.get("datasets") or [])))]:
        name, own = config.get(*place, "chat_template"), config.get(*place, "chat_template_jinja")
        if name == "jinja" and not own:
            message = "chat_template: jinja needs the template itself"
            yield config.problem((*place, "chat_template"), message, "add `chat_template_jinja:`, a text or a file")
        elif isinstance(name, str) and name not in data()["chat_templates"] and not name.startswith(FALLBACK):
            remedy = meant(name, data()["chat_templates"], f"there is {', '.join(data()['chat_templates'])}")
            yield config.problem((*place, "chat_template"), f"there is no chat template {name}", remedy)
        if isinstance(own, str) and looks_local(own) and "{" not in own and local_path(own, config.folder) is None:
            yield missing(config, (*place, "chat_template_jinja"), own)


FALLBACK = "tokenizer_default_fallback_"
