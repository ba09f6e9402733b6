"""Files that a config names beside it: used in place here, packed into a ConfigMap for a cluster."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from cw_cli.core.config import Config
from cw_cli.core.names import MANAGED_BY, RECIPES, dns_label
from cw_cli.core.paths import local_path
from cw_cli.core.problems import KeyPath, Problem

FILES_PATH = "/cw/files"
FILES_VOLUME = "files"
RECIPES_PATH = "/cw/recipes"
_IN_A_FILE = re.compile(r"(.+\.py)(:\w+)")
MAX_BYTES = 900_000
"""A ConfigMap holds 1 MiB with its names; this leaves room for them."""


class Recipes(NamedTuple):
    """The recipes that travel with a run: a zip in an immutable ConfigMap named by its content."""

    package: str
    digest: str
    data: bytes

    @property
    def name(self) -> str:
        return f"{dns_label(self.package)}-{self.digest}"

    @property
    def volume(self) -> str:
        return "recipes" if self.package == "cw_train" else f"recipes-{dns_label(self.package)}"

    @property
    def python_path(self) -> str:
        return f"{RECIPES_PATH}/{self.package}.zip"

    def config_map(self) -> dict[str, Any]:
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": self.name, "labels": {MANAGED_BY: "cw", RECIPES: self.digest}},
            "immutable": True,
            "binaryData": {f"{self.package}.zip": base64.b64encode(self.data).decode()},
        }


def pack_recipes(*folders: Path) -> Recipes:
    """The Python packages at `folders` as a zip that is the same, byte for byte, for the same content; it is called as
    the first of them."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for folder, path in ((top, path) for top in folders for path in sorted(top.rglob("*.py"))):
            name = PurePosixPath(folder.name, *path.relative_to(folder).parts).as_posix()
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)
    data = buffer.getvalue()
    return Recipes(folders[0].name, hashlib.sha256(data).hexdigest()[:12], data)


@dataclass
class Travellers:
    """Files on their way into a ConfigMap: content by path below `/cw/files`."""

    files: dict[str, Path] = field(default_factory=dict)
    size: int = 0

    def config_map(self, name: str) -> dict[str, Any]:
        data = {key: base64.b64encode(path.read_bytes()).decode() for key, _, path in self._entries()}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "binaryData": data}

    def volume(self, name: str) -> dict[str, Any]:
        """The volume that lays the files out as they lay on this machine."""
        items = [{"key": key, "path": path} for key, path, _ in self._entries()]
        return {"name": FILES_VOLUME, "configMap": {"name": name, "items": items}}

    def _entries(self) -> Iterator[tuple[str, str, Path]]:
        """ConfigMap key, path in the container, file here; a key has no slashes and is unique by its number."""
        for number, (path, file) in enumerate(sorted(self.files.items())):
            yield f"{number}-{re.sub(r'[^A-Za-z0-9._-]+', '-', path)}"[:200], path, file


def in_place(config: Config, keys: Sequence[KeyPath]) -> Config:
    """The config with every file that it names as an absolute path on this machine."""
    for path, value in _values(config, keys):
        name, function = _function(value)
        if (found := local_path(name, config.folder)) is not None:
            config = config.with_value(path, f"{found.absolute()}{function}", config.origin(*path))
    return config


def named(config: Config, keys: Sequence[KeyPath]) -> list[Path]:
    """The files and folders on this machine that the config names, each once."""
    names = (_function(value)[0] for _, value in _values(config, keys))
    return list(dict.fromkeys(path for name in names if (path := local_path(name, config.folder)) is not None))


def travelling(
    config: Config, keys: Sequence[KeyPath], mounts: Iterable[str]
) -> tuple[Config, Travellers, list[Problem]]:
    """The config with every file that it names below `/cw/files`, those files, and the ones that are too large.

    A path on one of the `mounts` belongs to the cluster and stays as it is.
    """
    travellers, problems = Travellers(), []
    folders, names = tuple(mounts), dict[Path, str]()
    for path, value in _values(config, keys):
        name, function = _function(value)
        found = None if _below(name, folders) else local_path(name, config.folder)
        if found is None:
            continue
        # What is named twice, as a file with two functions is, travels once.
        if found not in names:
            size = sum(file.stat().st_size for file in _files(found))
            if travellers.size + size > MAX_BYTES:
                problems.append(_too_large(config, path, found, size))
                continue
            travellers.size += size
            names[found] = _free_name(found, travellers.files)
            for file in _files(found):
                travellers.files[PurePosixPath(names[found], *file.relative_to(found).parts).as_posix()] = file
        config = config.with_value(path, f"{FILES_PATH}/{names[found]}{function}", config.origin(*path))
    return config, travellers, problems


def _function(value: str) -> tuple[str, str]:
    """The file in `rewards.py:mine`, and the function with its colon; all of it and nothing where there is none."""
    found = _IN_A_FILE.fullmatch(value)
    return (found[1], found[2]) if found else (value, "")


def _too_large(config: Config, path: KeyPath, found: Path, size: int) -> Problem:
    shown = ".".join(map(str, path))
    return config.problem(
        path,
        f"{shown} is {found} here, and its {size / 1e6:,.1f} MB cannot travel to the cluster with the run",
        "put it on a volume and write its path there, or name it on the Hub; 0.9 MB is the most that travels",
    )


def _free_name(found: Path, taken: Mapping[str, Path]) -> str:
    roots = {name.split("/", 1)[0] for name in taken}
    name, number = found.name, 1
    while name in roots:
        number += 1
        name = f"{number}-{found.name}"
    return name


def _files(path: Path) -> Iterator[Path]:
    """The file itself, or all files below a folder, less hidden ones and what Python leaves behind."""
    if path.is_file():
        yield path
        return
    for file in sorted(path.rglob("*")):
        parts = file.relative_to(path).parts
        if file.is_file() and not any(part.startswith(".") or part == "__pycache__" for part in parts):
            yield file


def _below(value: str, folders: tuple[str, ...]) -> bool:
    return any(value == folder or value.startswith(folder.rstrip("/") + "/") for folder in folders)


def _values(config: Config, patterns: Sequence[KeyPath]) -> Iterator[tuple[KeyPath, str]]:
    """The texts in the config at these places; `"*"` in a pattern stands for every key or index."""
    for pattern in patterns:
        for path, value in _matches(config.values, pattern, ()):
            if isinstance(value, str):
                yield path, value


def _matches(value: Any, pattern: KeyPath, path: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    if not pattern:
        yield path, value
        return
    head, rest = pattern[0], pattern[1:]
    children: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, Mapping):
        children = value.items()
    elif isinstance(value, list):
        children = enumerate(value)
    for key, child in children:
        if head in ("*", key):
            yield from _matches(child, rest, (*path, key))
