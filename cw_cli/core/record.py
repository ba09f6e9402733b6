"""The run record: what a launch leaves behind for `list`, `describe`, `diff` and `rerun`."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from cw_cli.core.checks import CheckedConfig
from cw_cli.core.names import RECORD, object_name
from cw_cli.core.yaml_writer import to_yaml

CONFIG_FILE = "config.yaml"


class Launch(NamedTuple):
    """Who launches, where, and what the record shall say of it."""

    target: str
    """`kubernetes` or `local`."""
    user: str
    name: str | None = None
    namespace: str | None = None
    version: str = ""
    commit: str | None = None
    note: str | None = None
    """How the target was chosen, if cw chose it."""
    services_only: bool = False
    """Start the services and no trainer."""
    services_of: str | None = None
    """The run whose services the trainer shall use, in place of its own."""


def record_map(run: str, config: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, Any]:
    """The run's own ConfigMap: the config that the trainer reads, and the record, which outlives the Job."""
    rest = {key: value for key, value in record.items() if key != "given"}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": object_name(run, "config"), "labels": {RECORD: "true"}},
        "data": {
            CONFIG_FILE: to_yaml(dict(config)),
            "given.yaml": record["given"],
            "record.json": json.dumps(rest, indent=1, ensure_ascii=False) + "\n",
        },
    }


def make_record(
    checked: CheckedConfig,
    launch: Launch,
    run: str,
    objects: list[dict[str, Any]],
    config: Mapping[str, Any],
    output_dir: str,
) -> dict[str, Any]:
    """What a launch leaves behind for `list`, `describe`, `diff` and `rerun`."""
    digest = hashlib.sha256(json.dumps([objects, dict(config)], sort_keys=True, default=str).encode())
    return {
        "run": run,
        "framework": checked.framework.name,
        "type": str(checked.training_type),
        "target": launch.target,
        "user": launch.user,
        "name": launch.name,
        "namespace": launch.namespace,
        "config": checked.given.source,
        "folder": os.path.abspath(checked.given.folder),
        "given": checked.given.text,
        "overrides": [{"key": item.key, "text": item.text, "flag": item.flag} for item in checked.overrides],
        "output_dir": output_dir,
        "services_only": launch.services_only,
        "services_of": launch.services_of,
        "cw": launch.version,
        "schema": checked.schema.subject if checked.schema else None,
        **({"plugin": f"{checked.framework.name} {checked.framework.version}"} if checked.framework.version else {}),
        "commit": launch.commit,
        "digest": f"sha256:{digest.hexdigest()}",
    }
