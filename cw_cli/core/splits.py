"""Which files of a folder are which split, by the file and folder names that `datasets.load_dataset` goes by."""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path

from cw_cli.core.datasets import FORMATS

WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test", "testing", "eval", "evaluation"),
}
IGNORED = frozenset(
    ("README.md", "config.json", "dataset_info.json", "dataset_infos.json", "dummy_data.zip", "dataset_dict.json")
)
MAX_FILES = 5000
"""A folder with more files than this is not looked through."""

PREFERRED = {suffix: FORMATS[suffix] for suffix in (".parquet", ".jsonl", ".json", ".csv", ".txt", ".tsv", ".ndjson")}
PREFERRED[".tsv"] = "tsv"
"""Formats, the one first that the loader takes where two are as frequent."""

_SHARD = re.compile(r"(.+)-[0-9]{5}-of-[0-9]{5}.*\..*")
_BORDER = "[-._ 0-9]"
_WORD = {
    split: re.compile(rf"(?:.*{_BORDER})?(?:{'|'.join(words)})(?P<rest>{_BORDER}.*)?", re.DOTALL)
    for split, words in WORDS.items()
}


def saved_to_disk(folder: Path) -> bool:
    """Whether `Dataset.save_to_disk` wrote the folder, which `load_dataset` refuses."""
    return (folder / "state.json").is_file()


def splits(folder: Path) -> dict[str, list[Path]] | None:
    """The files of each split; empty where there is no data, None where only the loader itself can tell."""
    if _declares(folder) or (files := _data_files(folder)) is None:
        return None
    known = [file for file in files if _suffix(file) in FORMATS]
    if len(known) <= len(files) - len(known) or any(file.stem == "metadata" for file in known):
        # Pictures, sound and the like, which have loaders of their own.
        return None if files else {}
    # Of several formats the loader takes the most frequent one.
    counts = Counter(_suffix(file) for file in known)
    most = max(counts, key=lambda suffix: (counts[suffix], -list(PREFERRED).index(suffix)))
    taken = {
        split: [file for file in items if _format(file) == PREFERRED[most]]
        for split, items in _by_name(folder, known).items()
    }
    return {split: items for split, items in taken.items() if items}


def _by_name(folder: Path, files: list[Path]) -> dict[str, list[Path]]:
    """The first way of naming that fits any file, as the loader tries them."""
    shards = [
        (match[1], file) for file in files if file.parent == folder / "data" and (match := _SHARD.match(file.name))
    ]
    if shards:
        return _grouped(shards)
    for by_folder in (True, False):
        named = [
            (split, file) for file in files for split in WORDS if _is_of(split, file.relative_to(folder), by_folder)
        ]
        if named:
            return _grouped(named)
    return {"train": files} if files else {}


def _grouped(pairs: list[tuple[str, Path]]) -> dict[str, list[Path]]:
    names = sorted({split for split, _ in pairs}, key=lambda split: [*WORDS, split].index(split))
    return {name: [file for split, file in pairs if split == name] for name in names}


def _is_of(split: str, file: Path, by_folder: bool) -> bool:
    if by_folder:
        return any(_WORD[split].fullmatch(part) for part in file.parts[:-1])
    match = _WORD[split].fullmatch(file.name)
    # A file's word is followed by something: `train.jsonl`, but not `train`.
    return match is not None and match["rest"] is not None


def _data_files(folder: Path) -> list[Path] | None:
    """The files that hold data, sorted; None where there are too many to look at."""
    result: list[Path] = []
    seen = 0
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__")))
        seen += len(names) + len(folders)
        if seen > MAX_FILES:
            return None
        result.extend(Path(root, name) for name in sorted(names) if name not in IGNORED and not name.startswith("."))
    return [file for file in result if file.suffix not in ("", ".md", ".py", ".sh", ".yaml", ".yml", ".lock")]


def _suffix(file: Path) -> str:
    return (file.with_suffix("") if file.suffix == ".gz" else file).suffix.lower()


def _format(file: Path) -> str:
    """The loader of the file; tables with commas and with tabs are not read together."""
    return PREFERRED[_suffix(file)]


def _declares(folder: Path) -> bool:
    """Whether the folder says itself which files are which split."""
    if (folder / ".huggingface.yaml").is_file():
        return True
    readme = folder / "README.md"
    if not readme.is_file():
        return False
    with readme.open(encoding="utf-8", errors="replace") as file:
        head = file.read(20_000)
    return head.startswith("---") and re.search(r"^configs:", head, re.MULTILINE) is not None
