"""Volumes of a pod as local folders and files: where each mount lies on this machine, and the texts that name it."""

from __future__ import annotations

import base64
import binascii
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cw_cli.core.problems import Problem

Manifest = Mapping[str, Any]

_SAFE_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_SHARED_MEMORY = "/dev/shm"
_BEFORE = r"(?:(?<=file://)|(?<![\w.\-/~*})]))"
_AFTER = r"(?![\w.\-~+@%])"


@dataclass(frozen=True, slots=True)
class Places:
    """The local folders that stand for a run's volumes."""

    mounts: str
    """Of this run alone; each process has a folder of its own in it."""
    volumes: str
    """Claims, shared by all runs."""


@dataclass(frozen=True, slots=True)
class File:
    """A file to write before the start."""

    path: str
    content: bytes
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Mounts:
    """Every mount of one container, on this machine."""

    files: tuple[File, ...] = ()
    folders: tuple[str, ...] = ()
    paths: Mapping[str, str] | None = None
    """Path in the container → path here."""

    def localize(self, text: str) -> str:
        """`text` with every mount path in it replaced by the local one; longest first, whole path parts only."""
        if not self.paths:
            return text
        longest_first = sorted(self.paths, key=len, reverse=True)
        pattern = f"{_BEFORE}(?:{'|'.join(map(re.escape, longest_first))}){_AFTER}"
        paths = self.paths
        return re.sub(pattern, lambda match: paths[match[0]], text)


class _UnmountableError(Exception):
    """A volume that this machine cannot offer; the sentence and the remedy are its arguments."""


def read_mounts(
    pod: Manifest,
    container: Manifest,
    config_maps: Mapping[str, Manifest],
    places: Places,
    finish: Callable[[str], str] = str,
) -> tuple[Mounts, list[Problem]]:
    """The mounts of `container`, their files' texts already localized and then finished, and what cannot be mounted
    here."""
    problems: list[Problem] = []
    files: dict[str, File] = {}
    folders: list[str] = []
    paths: dict[str, str] = {}
    volumes = {volume["name"]: volume for volume in pod.get("volumes") or ()}
    for mount in container.get("volumeMounts") or ():
        if posixpath.normpath(mount["mountPath"]) == _SHARED_MEMORY:
            continue  # This machine has its own.
        try:
            source, content = _local_volume(volumes, mount["name"], config_maps, places)
            local = _mount_source(source, mount)
        except _UnmountableError as error:
            problems.append(Problem(*error.args))
            continue
        files |= {file.path: file for file in content}
        paths[posixpath.normpath(mount["mountPath"])] = local
        if local not in files and "hostPath" not in volumes[mount["name"]]:
            folders.append(local)
    mounts = Mounts(folders=tuple(folders), paths=paths)
    return Mounts(tuple(_localized(files.values(), mounts, finish)), mounts.folders, paths), problems


def _localized(files: Iterable[File], mounts: Mounts, finish: Callable[[str], str]) -> Iterator[File]:
    for file in files:
        try:
            text = file.content.decode()
        except UnicodeDecodeError:
            yield file
        else:
            yield File(file.path, finish(mounts.localize(text)).encode(), file.mode)


def _mount_source(source: str, mount: Manifest) -> str:
    """Where one mount of a volume points to: the volume itself or its `subPath`."""
    if mount.get("subPathExpr"):
        raise _UnmountableError(
            f"The mount at {mount['mountPath']} uses `subPathExpr`, which runs on this machine cannot.",
            "Write the folder itself as `subPath`.",
        )
    if posixpath.normpath(mount["mountPath"]) == "/":
        raise _UnmountableError(
            "A volume is mounted at `/`, which this machine cannot give away.", "Mount it at a folder of its own."
        )
    return posixpath.join(source, _inside(mount["subPath"])) if mount.get("subPath") else source


def _local_volume(
    volumes: Mapping[str, Manifest], name: str, config_maps: Mapping[str, Manifest], places: Places
) -> tuple[str, list[File]]:
    """The local folder of the volume `name` and the files that it starts with."""
    if name not in volumes:
        raise _UnmountableError(f"The container mounts the volume `{name}`, but the pod has none of that name.")
    folder, volume = posixpath.join(places.mounts, _safe(name)), volumes[name]
    match volume:
        case {"configMap": source}:
            return folder, _config_map_files(folder, source, config_maps)
        case {"persistentVolumeClaim": source}:
            return posixpath.join(places.volumes, _safe(source["claimName"])), []
        case {"emptyDir": _}:
            return folder, []
        case {"hostPath": source}:
            return source["path"], []
        case {"secret": {"optional": True}}:
            return folder, []
        case {"secret": source}:
            raise _UnmountableError(
                f"The volume `{name}` holds the Secret `{source.get('secretName', '')}`, which only the cluster knows.",
                "Run it on the cluster, or pass the value as an environment variable with a `secretKeyRef`.",
            )
    kind = next((key for key in volume if key != "name"), "of no kind")
    raise _UnmountableError(
        f"The volume `{name}` ({kind}) cannot be had on this machine.",
        "Local runs know configMap, persistentVolumeClaim, emptyDir and hostPath volumes; run it on the cluster.",
    )


def _config_map_files(folder: str, source: Manifest, config_maps: Mapping[str, Manifest]) -> list[File]:
    config_map = config_maps.get(source.get("name", ""))
    if config_map is None:
        if source.get("optional"):
            return []
        raise _UnmountableError(
            f"The ConfigMap `{source.get('name', '')}` is not among the run's objects.",
            "Add it to the template; runs on this machine cannot read the cluster's.",
        )
    content = _content(config_map)
    keys = source.get("items") or [{"key": key, "path": key} for key in content]
    files = []
    for item in keys:
        if item["key"] not in content:
            if source.get("optional"):
                continue
            raise _UnmountableError(f"The ConfigMap `{source['name']}` has no key `{item['key']}`.")
        mode = item.get("mode", source.get("defaultMode", 0o644))
        files.append(File(posixpath.join(folder, _inside(item["path"])), content[item["key"]], mode))
    return files


def _content(config_map: Manifest) -> dict[str, bytes]:
    content = {key: text.encode() for key, text in (config_map.get("data") or {}).items()}
    for key, text in (config_map.get("binaryData") or {}).items():
        try:
            content[key] = base64.b64decode(text, validate=False)
        except binascii.Error as error:
            raise _UnmountableError(f"The ConfigMap's `binaryData` key `{key}` is not base64: {error}.") from None
    return content


def _inside(path: str) -> str:
    """A path that stays inside its volume."""
    if path.startswith("/") or ".." in path.split("/"):
        raise _UnmountableError(
            f"The path `{path}` leads out of its volume.", "Write a path below the volume's folder."
        )
    return posixpath.normpath(path)


def _safe(name: str) -> str:
    if not _SAFE_NAME.fullmatch(name):
        raise _UnmountableError(f"`{name}` is not a name that Kubernetes takes for a volume or claim.")
    return name
