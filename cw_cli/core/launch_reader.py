"""From a config that its schema has checked to `LaunchKeys`: every value parsed, every mistake told."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from cw_cli.core.config import Config
from cw_cli.core.launch_keys import LaunchKeys, SecretRef, ServiceKeys, Volume
from cw_cli.core.problems import KeyPath, Problem
from cw_cli.core.resources import Resources, cpu_quantity, gpu_request, memory_quantity, quantity

T = TypeVar("T")

_DURATION = re.compile(r"(?:([0-9]+)d)?(?:([0-9]+)h)?(?:([0-9]+)m)?(?:([0-9]+)s?)?")
_LABEL_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_OBJECT_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")


def duration(value: int | str) -> int:
    """Seconds of `90`, `30s`, `90m`, `8h`, `1d12h`; raises ValueError with a remedy."""
    match = _DURATION.fullmatch(str(value).strip())
    if match is None or not any(match.groups()):
        raise ValueError("write a time as in 8h, 90m, 2d or 1h30m, or a number of seconds")
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    if not 0 < total < 2**31:
        raise ValueError("write a time of at least one second and less than 68 years")
    return total


def read_keys(config: Config) -> tuple[LaunchKeys, list[Problem]]:
    """The typed launch keys of a config that its schema has checked, and what is wrong with their values."""
    reader = _Reader(config)
    keys = LaunchKeys(
        resources=reader.resources(),
        image=reader.text(("image",)),
        pull=config.get("pull") or False,
        env=dict(reader.texts(("env",), _ENV_NAME, "an environment variable")),
        secrets=tuple(reader.secrets()),
        volumes=tuple(reader.volumes()),
        dropped_volumes=tuple(name for name, value in (config.get("volumes") or {}).items() if value is None),
        node_selector=dict(reader.texts(("node_selector",), _LABEL_KEY, "a label")),
        tolerations=tuple(reader.tolerations()),
        queue=reader.name(("queue",)),
        priority=reader.name(("priority",)),
        labels=reader.labels(),
        annotations=dict(reader.texts(("annotations",), _LABEL_KEY, "an annotation")),
        services={role: reader.service(role) for role, given in (config.get("services") or {}).items() if given},
        start_limit=reader.value(("start_limit",), duration),
        guard_image=reader.text(("guard_image",)),
        timeout=reader.value(("timeout",), duration),
        retries=config.get("retries") or 0,
        ttl=reader.value(("ttl",), duration),
        pod=config.get("pod") or {},
    )
    return keys, reader.problems


class _Reader:
    """Reads one key after the other; a mistake becomes a problem and the value is left out."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.problems: list[Problem] = []

    def bad(self, path: KeyPath, message: str, remedy: str) -> None:
        self.problems.append(self.config.problem(path, message, remedy))

    def value(self, path: KeyPath, parse: Callable[[Any], T]) -> T | None:
        given = self.config.get(*path)
        if given is None:
            return None
        try:
            return parse(given)
        except ValueError as error:
            self.bad(path, f"{'.'.join(map(str, path))} cannot be {given}", str(error))
            return None

    def text(self, path: KeyPath) -> str | None:
        given: str | None = self.config.get(*path)
        if isinstance(given, str) and (not given or any(letter.isspace() for letter in given)):
            self.bad(path, f"{'.'.join(map(str, path))} cannot be {given!r}", "write it without spaces")
            return None
        return given

    def name(self, path: KeyPath) -> str | None:
        """The name of a Kubernetes object."""
        given: str | None = self.config.get(*path)
        if given is not None and not _OBJECT_NAME.fullmatch(given):
            what = ".".join(map(str, path))
            self.bad(path, f"{what} cannot be {given!r}", "names have small letters, digits and dashes")
            return None
        return given

    def resources(self, block: KeyPath = ()) -> Resources:
        gpu, gpu_type = self.value((*block, "gpu"), gpu_request) or (None, None)
        return Resources(
            gpu=gpu,
            gpu_type=gpu_type,
            cpu=self.value((*block, "cpu"), cpu_quantity),
            memory=self.value((*block, "memory"), memory_quantity),
            nodes=self.config.get(*block, "nodes") or 1,
            requests=tuple(self.quantities("requests")) if not block else (),
            limits=tuple(self.quantities("limits")) if not block else (),
        )

    def service(self, role: str) -> ServiceKeys:
        block: KeyPath = ("services", role)
        return ServiceKeys(
            resources=self.resources(block),
            image=self.text((*block, "image")),
            replicas=self.config.get(*block, "replicas"),
            env=dict(self.texts((*block, "env"), _ENV_NAME, "an environment variable")),
            start_limit=self.value((*block, "start_limit"), duration),
            pod=self.config.get(*block, "pod") or {},
        )

    def quantities(self, kind: str) -> Iterator[tuple[str, str]]:
        for name in self.config.get("resources", kind) or {}:
            parse: Callable[[Any], str] = {"cpu": cpu_quantity, "memory": memory_quantity}.get(name, _any_quantity)
            if (text := self.value(("resources", kind, name), parse)) is not None:
                yield name, text

    def pairs(self, block: KeyPath, pattern: re.Pattern[str], what: str) -> Iterator[tuple[str, Any]]:
        for name, value in (self.config.get(*block) or {}).items():
            if not pattern.fullmatch(name):
                self.bad((*block, name), f"{name!r} is not the name of {what}", "use letters, digits, `_`, `-` and `.`")
            elif value is not None:
                yield name, value

    def texts(self, block: KeyPath, pattern: re.Pattern[str], what: str) -> Iterator[tuple[str, str]]:
        """Pairs whose values are text, as they were typed: an unquoted 0123 stays what it is."""
        for name, value in self.pairs(block, pattern, what):
            if isinstance(value, bool):
                yield name, str(value).lower()
            elif isinstance(value, str):
                yield name, value
            else:
                yield name, self.config.origin(*block, name).written or str(value)

    def labels(self) -> dict[str, str]:
        result = {}
        for name, value in self.texts(("labels",), _LABEL_KEY, "a label"):
            if not _LABEL_VALUE.fullmatch(value) or len(value) > 63:
                self.bad(
                    ("labels", name), f"{value!r} is not the value of a label", "at most 63 letters, digits, - _ ."
                )
            elif name.startswith("cw.dev/") or name == "app.kubernetes.io/managed-by":
                self.bad(("labels", name), f"{name} is a label of cw's own", "choose another name")
            else:
                result[name] = value
        return result

    def secrets(self) -> Iterator[SecretRef]:
        for variable, given in self.pairs(("secrets",), _ENV_NAME, "an environment variable"):
            path = ("secrets", variable)
            block = given if isinstance(given, Mapping) else {}
            secret, _, key = (
                given.partition("/") if isinstance(given, str) else (block.get("name"), "", block.get("key"))
            )
            if unknown := set(block) - {"name", "key", "optional"}:
                self.bad(path, f"{sorted(unknown)[0]} is not a key of a secret", "write name, key and optional")
            elif not isinstance(secret, str) or not _OBJECT_NAME.fullmatch(secret):
                # What stands there may be the secret itself: the line is not shown.
                place = self.config.origin(*path).hidden()
                remedy = f"write `{variable}: secret-name/key`, never the value"
                self.problems.append(Problem(f"{variable} names no Secret", remedy, place))
            else:
                yield SecretRef(variable, secret, str(key or variable), bool(block.get("optional", False)))

    def volumes(self) -> Iterator[Volume]:
        seen: dict[str, str] = {}
        for name, given in self.pairs(("volumes",), _OBJECT_NAME, "a volume claim"):
            path = ("volumes", name)
            volume = self.volume(name, given, path)
            if volume is None:
                continue
            if volume.path in seen:
                self.bad(path, f"{volume.path} is also where {seen[volume.path]} is", "choose another path")
            elif volume.path in ("/", "/cw") or volume.path.startswith("/cw/") or not volume.path.startswith("/"):
                self.bad(
                    path, f"a volume cannot be at {volume.path}", "write an absolute path outside /cw, as in /data"
                )
            else:
                seen[volume.path] = name
                yield volume

    def volume(self, name: str, given: Any, path: KeyPath) -> Volume | None:
        if isinstance(given, str):
            where, _, mode = given.partition(":")
            given = {"path": where, **({"read_only": True} if mode == "ro" else {"mode": mode} if mode else {})}
        if unknown := set(given) - {"path", "read_only", "sub_path", "empty_dir"}:
            what = sorted(unknown)[0]
            self.bad(path, f"{what} is not a key of a volume", "write path, read_only, sub_path or empty_dir")
            return None
        size = self.value((*path, "empty_dir"), memory_quantity) if "empty_dir" in given else None
        where = str(given.get("path", "")).rstrip("/") or "/"
        return Volume(name, where, bool(given.get("read_only", False)), given.get("sub_path"), size)

    def tolerations(self) -> Iterator[Mapping[str, Any]]:
        for given in self.config.get("tolerations") or []:
            if isinstance(given, Mapping):
                yield given
                continue
            taint, _, effect = given.partition(":")
            key, equals, value = taint.partition("=")
            toleration = (
                {"key": key, "operator": "Equal", "value": value} if equals else {"key": key, "operator": "Exists"}
            )
            yield {**toleration, "effect": effect} if effect else toleration


def _any_quantity(value: Any) -> str:
    quantity(value)
    return str(value)
