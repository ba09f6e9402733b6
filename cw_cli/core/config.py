"""The user's YAML or TOML as a frozen value whose every key remembers where it was written."""

from __future__ import annotations

from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from cw_cli.core.exceptions import ConfigError
from cw_cli.core.problems import NOTHING, KeyPath, Origin, Problem
from cw_cli.core.yaml_reader import Document, read_yaml

MAX_BYTES = 1024 * 1024
"""A ConfigMap holds no more than this, and no config written by a person comes near it."""


class Config(NamedTuple):
    """Settings with their places. `values` is plain data; `keys` and `places` say where each key and value stands."""

    source: str
    text: str = ""
    values: Mapping[str, Any] = NOTHING
    keys: Mapping[KeyPath, Origin] = NOTHING
    places: Mapping[KeyPath, Origin] = NOTHING

    @property
    def folder(self) -> Path:
        """The folder that paths in the config are relative to."""
        return Path(self.source).parent

    def get(self, *path: str | int) -> Any:
        """The value at `path`, or None."""
        value: Any = self.values
        for part in path:
            if isinstance(part, int):
                value = value[part] if isinstance(value, list) and part < len(value) else None
            else:
                value = value.get(part) if isinstance(value, Mapping) else None
        return value

    def has(self, *path: str | int) -> bool:
        """Whether `path` was written down, even as null."""
        return path in self.keys or path in self.places

    def key_origin(self, *path: str | int) -> Origin:
        """Where the key at `path` stands, or the nearest key around it."""
        return self._nearest(self.keys, path)

    def origin(self, *path: str | int) -> Origin:
        """Where the value at `path` stands, or the nearest value around it."""
        return self._nearest(self.places, path)

    def _nearest(self, origins: Mapping[KeyPath, Origin], path: KeyPath) -> Origin:
        for length in range(len(path), 0, -1):
            if origin := origins.get(path[:length]) or self.places.get(path[:length]):
                return origin
        return Origin(self.source)

    def problem(self, path: KeyPath, message: str, remedy: str = "", *, warning: bool = False) -> Problem:
        """A problem with the value at `path`."""
        return Problem(message, remedy, self.origin(*path), "warning" if warning else "error")

    def with_value(self, path: KeyPath, value: Any, origin: Origin) -> Config:
        """A copy in which `path` holds `value`; whatever stood at or below `path` is gone."""
        size = len(path)
        keys = {key: old for key, old in self.keys.items() if key[:size] != path}
        places = {key: old for key, old in self.places.items() if key[:size] != path}
        keys[path] = places[path] = origin
        return self._replace(values=_placed(self.values, path, value), keys=keys, places=places)

    def without(self, path: KeyPath) -> Config:
        """A copy without `path` and all below it."""
        if not self.has(*path):
            return self
        return self._replace(
            values=_removed(self.values, path),
            keys={key: origin for key, origin in self.keys.items() if key[: len(path)] != path},
            places={key: origin for key, origin in self.places.items() if key[: len(path)] != path},
        )

    def moved(self, old: KeyPath, new: KeyPath) -> Config:
        """A copy in which what stood at `old` stands at `new`, with the places it had."""

        def renamed(origins: Mapping[KeyPath, Origin]) -> dict[KeyPath, Origin]:
            size = len(old)
            return {(new + key[size:] if key[:size] == old else key): origin for key, origin in origins.items()}

        values = _placed(_removed(self.values, old), new, self.get(*old))
        return self._replace(values=values, keys=renamed(self.keys), places=renamed(self.places))

    def over(self, base: Config) -> Config:
        """This config on top of `base`: its keys win, and mappings of both are joined key by key."""
        result = self
        for key, value in base.values.items():
            mine = self.values.get(key)
            if (key,) not in self.keys:
                result = result._adopted(base, (key,), value)
            elif isinstance(value, Mapping) and isinstance(mine, Mapping):
                for name in value:
                    if name not in mine:
                        result = result._adopted(base, (key, name), value[name])
        return result

    def _adopted(self, base: Config, path: KeyPath, value: Any) -> Config:
        size = len(path)
        keys = {**self.keys, **{key: origin for key, origin in base.keys.items() if key[:size] == path}}
        places = {**self.places, **{key: origin for key, origin in base.places.items() if key[:size] == path}}
        return self._replace(values=_placed(self.values, path, value), keys=keys, places=places)

    def part(self, names: Container[str]) -> Config:
        """A copy that holds only those top-level keys."""

        def kept(origins: Mapping[KeyPath, Origin]) -> dict[KeyPath, Origin]:
            return {path: origin for path, origin in origins.items() if path and path[0] in names}

        values = {key: value for key, value in self.values.items() if key in names}
        return self._replace(values=values, keys=kept(self.keys), places=kept(self.places))


def read_config(path: str | Path) -> Config:
    """Read the YAML file at `path`, or the TOML file if its name ends with `.toml`.

    Raises `ConfigError` with every mistake of the text: it cannot be read, is not UTF-8, is larger than 1 MiB, holds
    no mapping, holds a key twice, or is neither YAML nor TOML.
    """
    source = str(path)
    config = parse_config(_read_text(Path(path), source), source)
    if not config.values:
        raise ConfigError(f"{source} is empty", [], "`cw init trl sft > config.yaml` writes one to begin with.")
    return config


def parse_config(text: str, source: str) -> Config:
    """The config that `text` says; an empty text is an empty config. Raises `ConfigError`."""
    toml = source.endswith(".toml")
    document = _read_toml(text, source) if toml else read_yaml(text, source)
    if document.problems:
        raise ConfigError(f"{source} cannot be read as {'TOML' if toml else 'YAML'}", document.problems)
    value = {} if document.value is None else document.value
    if not isinstance(value, dict):
        what = "a list" if isinstance(value, list) else "a single value"
        problem = Problem(f"the file holds {what}", "write one `key: value` on each line", document.values[()])
        raise ConfigError(f"{source} is not a config", [problem])
    return Config(source, text, value, document.keys, document.values)


def _read_toml(text: str, source: str) -> Document:
    from cw_cli.core.toml_reader import read_toml  # most configs are YAML

    return read_toml(text, source)


def _read_text(path: Path, source: str) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError(f"{source} does not exist", [], "Check the path; it is taken from here.") from None
    except IsADirectoryError:
        raise ConfigError(f"{source} is a folder", [], "Name the YAML file in it.") from None
    except OSError as error:
        raise ConfigError(f"{source} cannot be read: {error.strerror or error}", []) from None
    except ValueError:
        raise ConfigError("a path cannot hold a NUL character", []) from None
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{source} is larger than 1 MiB", [], "A config is text; is this a data file?")
    if b"\0" in data:
        raise ConfigError(f"{source} is a binary file", [], "A config is YAML or TOML text.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        problem = Problem("this line is not UTF-8 text", "save the file as UTF-8", Origin(source, line))
        raise ConfigError(f"{source} cannot be read", [problem]) from None


def _placed(container: Any, path: KeyPath, value: Any) -> Any:
    """A copy of `container` with `value` at `path`; mappings on the way are made, lists are extended by one."""
    if not path:
        return value
    head, rest = path[0], path[1:]
    if isinstance(container, list) and isinstance(head, int):
        items = [*container, None] if head >= len(container) else list(container)
        head = min(head, len(items) - 1)
        items[head] = _placed(items[head], rest, value)
        return items
    mapping = dict(container) if isinstance(container, Mapping) else {}
    mapping[str(head)] = _placed(mapping.get(str(head)), rest, value)
    return mapping


def _removed(container: Any, path: KeyPath) -> Any:
    head, rest = path[0], path[1:]
    if isinstance(container, list) and isinstance(head, int):
        if not rest:
            return [*container[:head], *container[head + 1 :]]
        return [_removed(item, rest) if index == head else item for index, item in enumerate(container)]
    if not isinstance(container, Mapping) or head not in container:
        return container
    if not rest:
        return {key: value for key, value in container.items() if key != head}
    return {**container, head: _removed(container[str(head)], rest)}
