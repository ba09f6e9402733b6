"""cw's own keys of a config as one typed value, and their schema; `launch_reader.py` makes the one of the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from cw_cli.core.config import Config
from cw_cli.core.problems import NOTHING
from cw_cli.core.resources import Resources
from cw_cli.core.schema import Schema, read_schema
from cw_cli.core.shipped import shipped


class SecretRef(NamedTuple):
    """An environment variable whose value Kubernetes takes from a Secret; cw never reads it."""

    variable: str
    secret: str
    key: str
    optional: bool = False


class Volume(NamedTuple):
    """A folder in the container: a persistent volume claim, or an empty folder of the node."""

    name: str
    path: str
    read_only: bool = False
    sub_path: str | None = None
    empty_dir: str | None = None
    """Size limit of an empty folder; None for a claim."""


class ServiceKeys(NamedTuple):
    """What one service of a run takes. `resources` are per replica, durations in seconds."""

    resources: Resources = Resources()
    image: str | None = None
    replicas: int | None = None
    env: Mapping[str, str] = NOTHING
    start_limit: int | None = None
    """How long the trainer waits until it answers."""
    pod: Mapping[str, Any] = NOTHING


class LaunchKeys(NamedTuple):
    """How a run is launched. Durations are in seconds; `resources` are per node."""

    resources: Resources = Resources()
    image: str | None = None
    pull: bool = False
    env: Mapping[str, str] = NOTHING
    secrets: tuple[SecretRef, ...] = ()
    volumes: tuple[Volume, ...] = ()
    dropped_volumes: tuple[str, ...] = ()
    """Volumes of the template that the config sets to null."""
    node_selector: Mapping[str, str] = NOTHING
    tolerations: tuple[Mapping[str, Any], ...] = ()
    queue: str | None = None
    priority: str | None = None
    labels: Mapping[str, str] = NOTHING
    annotations: Mapping[str, str] = NOTHING
    services: Mapping[str, ServiceKeys] = NOTHING
    """By role."""
    start_limit: int | None = None
    """How long services wait for the trainer to start."""
    guard_image: str | None = None
    timeout: int | None = None
    retries: int = 0
    ttl: int | None = None
    pod: Mapping[str, Any] = NOTHING


OTHER_NAMES = {"env": "environment"}
"""What cw's own keys are called where the framework has a key of that name."""


def launch_schema(taken: Iterable[str] = ()) -> Schema:
    """What cw's own keys may hold in a config; of those that are `taken`, under their other names."""
    schema = read_schema((shipped("schemas") / "cw.json").read_text("utf-8"), "launch", "cw", {})
    names = {name: OTHER_NAMES[name] for name in taken}
    return schema._replace(
        keys={names.get(name, name): key._replace(name=names.get(name, name)) for name, key in schema.keys.items()}
    )


def renamed(config: Config, names: Mapping[str, str]) -> Config:
    """A copy in which cw's own keys stand under other names."""
    for old, new in names.items():
        config = config.moved((old,), (new,)) if config.has(old) else config
    return config


def settings_schema() -> Schema:
    """What the settings file may hold."""
    return read_schema((shipped("schemas") / "cw.json").read_text("utf-8"), "settings", "cw's settings", {})
