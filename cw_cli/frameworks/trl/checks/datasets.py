"""The datasets that a TRL config names: which splits and columns they have, where they lie on this machine."""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from cw_cli.core.config import Config
from cw_cli.core.datasets import Sample, sample
from cw_cli.core.paths import local_path, looks_local, missing
from cw_cli.core.problems import KeyPath, Problem
from cw_cli.core.splits import saved_to_disk, splits
from cw_cli.frameworks.hugging_face import LOADERS

Problems = Iterator[Problem]


class Source(NamedTuple):
    """One dataset that a config names."""

    place: KeyPath
    files: Mapping[str, list[Path]] | None = None
    """The files of each split; None where they are not on this machine."""
    format: str | None = None
    split: str = "train"
    columns: list[str] | None = None


class Table(NamedTuple):
    """The first rows of a dataset that lies on this machine, and those of its columns that the config keeps."""

    source: Source
    rows: Sample
    columns: list[str]
    alone: bool
    """Whether it is the only file of the only dataset."""

    @property
    def file(self) -> str:
        return self.rows.path.name


def checks(config: Config, columns: Callable[[Config, list[Table]], Problems]) -> Problems:
    """What is wrong with the data; `columns` says what the training type wants of the rows."""
    name, mixture = config.get("dataset_name"), config.get("datasets")
    if not name and not mixture:
        message = "there is no data to train on: dataset_name is missing"
        remedy = "add `dataset_name:` with a folder or a name on the Hugging Face Hub, or a list `datasets:`"
        yield config.problem(("dataset_name",), message, remedy)
        return
    if name and mixture:
        message = "dataset_name is not used where there are datasets"
        yield config.problem(("dataset_name",), message, "keep one of them", warning=True)
    problems: list[Problem] = []
    if mixture:
        problems.extend(_mixture(config, mixture))
        sources = [source for index in range(len(mixture)) if (source := _entry(config, index, problems))]
    else:
        source = _named(config, name, problems)
        sources = [source] if source else []
    yield from problems
    if isinstance(config.get("dataset_kwargs"), str):
        return
    tables: list[Table] = []
    for source in sources:
        files = (source.files or {}).get(source.split)
        rows = sample(files[0], source.format) if files else None
        if rows is not None and rows.problems:
            yield from rows.problems
        elif rows is not None:
            kept = [name for name in rows.columns if source.columns is None or name in source.columns]
            tables.append(Table(source, rows, kept, len(files or ()) == len(sources) == 1))
    yield from columns(config, tables)


def _mixture(config: Config, mixture: list[Any]) -> Problems:
    evaluates = config.get("eval_strategy") not in (None, "no")
    size, streaming = config.get("test_split_size"), config.get("streaming")
    if evaluates and size is None:
        message = "there is no data to evaluate on: `datasets` is all training data"
        yield config.problem(("eval_strategy",), message, "add `test_split_size: 0.1`, or write `eval_strategy: no`")
    if size is not None and streaming:
        message = "a streamed dataset cannot be split"
        yield config.problem(("test_split_size",), message, "delete test_split_size, or streaming")
    if isinstance(size, float) and size >= 1:
        message = f"test_split_size cannot be {size:g}"
        yield config.problem(("test_split_size",), message, "write a share below 1, or a whole number of rows")
    wanted = {"dataset_train_split": "train", **({"dataset_test_split": "test"} if evaluates else {})}
    for key, split in wanted.items():
        if config.get(key) not in (None, split):
            message = f"{key} is always {split} where there are datasets"
            yield config.problem((key,), message, f"delete it, and say `split: {config.get(key)}` in datasets")
    fractions = [entry.get("fraction") is not None for entry in mixture if isinstance(entry, Mapping)]
    if any(fractions) and not all(fractions):
        message = "some datasets have a fraction and some have none"
        yield config.problem(("datasets", fractions.index(False)), message, "give each a fraction, or none")
    if any(fractions) and streaming:
        yield config.problem(("datasets",), "fraction does not work with streaming", "delete one of them")


def _named(config: Config, name: str, problems: list[Problem]) -> Source | None:
    """The dataset of `dataset_name`, once its splits are known to be there."""
    place: KeyPath = ("dataset_name",)
    if name in LOADERS:
        message = f"{name} is a file format, not a dataset"
        remedy = f"write `datasets: [{{path: {name}, data_files: your-file}}]` instead of dataset_name"
        problems.append(config.problem(place, message, remedy))
        return None
    files = _folder(config, place, name, problems)
    if files is None:
        return None
    train = config.get("dataset_train_split") or "train"
    test = config.get("dataset_test_split") or "test"
    if train not in files:
        key = "dataset_train_split" if config.has("dataset_train_split") else "dataset_name"
        message = f"{name} has no split {train}; it has {', '.join(files)}"
        problems.append(config.problem((key,), message, f"write `dataset_train_split: {next(iter(files))}`"))
    if config.get("eval_strategy") not in (None, "no") and test not in files:
        others = [split for split in files if split != train]
        remedy = f"write `dataset_test_split: {others[0]}`" if others else f"add a file {test}.jsonl to {name}"
        message = f"there is no data to evaluate on: {name} has no split {test}"
        problems.append(config.problem(("eval_strategy",), message, f"{remedy}, or write `eval_strategy: no`"))
    return Source(place, files, split=train)


def _folder(config: Config, place: KeyPath, value: str, problems: list[Problem]) -> Mapping[str, list[Path]] | None:
    """The splits of a dataset that is a folder on this machine."""
    path = local_path(value, config.folder)
    if path is None:
        if looks_local(value) or (value.count("/") > 1 and "://" not in value):
            problems.append(missing(config, place, value))
        return None
    if path.is_file():
        loader = {".csv": "csv", ".tsv": "csv", ".parquet": "parquet", ".txt": "text"}.get(path.suffix, "json")
        message = f"{value} is a file, and TRL takes a folder or a name on the Hub here"
        remedy = f"write `datasets: [{{path: {loader}, data_files: {value}}}]`, or name its folder"
        problems.append(config.problem(place, message, remedy))
        return None
    if saved_to_disk(path):
        message = f"{value} was written by save_to_disk, which TRL cannot load"
        problems.append(config.problem(place, message, "write the dataset with to_parquet or to_json"))
        return None
    files = splits(path)
    if files is not None and not files:
        problems.append(
            config.problem(place, f"{value} holds no data files", "put JSONL, CSV or Parquet files into it")
        )
        return None
    return files


def _entry(config: Config, index: int, problems: list[Problem]) -> Source | None:
    """The dataset of one entry of `datasets`."""
    place: KeyPath = ("datasets", index)
    entry = config.get(*place)
    if not isinstance(entry, Mapping) or not isinstance(entry.get("path"), str):
        return None
    path, data_files, data_dir = entry["path"], entry.get("data_files"), entry.get("data_dir")
    loader = path if path in LOADERS else None
    files: Mapping[str, list[Path]] | None = None
    if data_files:
        root = None if loader else local_path(path, config.folder)
        if not loader and root is None:
            files = _folder(config, (*place, "path"), path, problems)
        else:
            files = _listed(config, (*place, "data_files"), data_files, root, problems)
    elif loader and not data_dir:
        message = f"{path} is a file format, and no file is named"
        problems.append(config.problem((*place, "path"), message, "add `data_files:` with a path"))
    elif loader or not data_dir:
        at = (*place, "data_dir" if loader else "path")
        files = _folder(config, at, str(data_dir) if loader else path, problems)
    if files is None:
        return None
    split = entry.get("split") or "train"
    for name in re.findall(r"(?:^|\+)\s*(\w+)", split):
        if name not in files:
            message = f"there is no split {name}; there is {', '.join(files)}"
            problems.append(config.problem((*place, "split"), message, f"write `split: {next(iter(files))}`"))
            return None
    return Source(place, files, loader, re.split(r"\W", split.strip(), maxsplit=1)[0], entry.get("columns"))


def _listed(
    config: Config, place: KeyPath, value: Any, root: Path | None, problems: list[Problem]
) -> dict[str, list[Path]] | None:
    """The splits that `data_files` spells out: one path, a list of them, or either for each split."""
    named = value if isinstance(value, Mapping) else {"train": value}
    result: dict[str, list[Path]] = {}
    for split, given in named.items():
        at = (*place, split) if isinstance(value, Mapping) else place
        for index, pattern in enumerate(given if isinstance(given, list) else [given]):
            if not isinstance(pattern, str) or _only_the_loader_knows(pattern):
                return None
            found = _matching(pattern, root or config.folder, root is None)
            if not found:
                problems.append(missing(config, (*at, index) if isinstance(given, list) else at, pattern))
                return None
            result.setdefault(str(split), []).extend(found)
    return result


def _only_the_loader_knows(pattern: str) -> bool:
    """Whether the files are elsewhere, or in folders of any depth, which may be slow to look through."""
    return ("://" in pattern and not pattern.startswith("cw://")) or "**" in pattern or "\0" in pattern


def _matching(pattern: str, folder: Path, here_too: bool) -> list[Path]:
    """The files of a path that may have `*` in it."""
    if glob.has_magic(pattern):
        roots = [folder, Path()] if here_too else [folder]
        matches = (sorted(glob.glob(str(root / pattern))) for root in roots)
        return next(([Path(match) for match in found] for found in matches if found), [])
    path = local_path(pattern, folder)
    return [path] if path is not None and path.is_file() else []
