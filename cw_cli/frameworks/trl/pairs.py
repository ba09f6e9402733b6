"""The keys of each training type of TRL, for each pair of TRL and Transformers that cw's images hold."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from cw_cli.core.key import Key
from cw_cli.core.schema import Schema, schema_of
from cw_cli.core.shipped import shipped
from cw_cli.frameworks.trl import accelerate, distillation, online_rules, rewards, rlhf, rules

NEWEST = "trl.json"


@cache
def schema(training_type: str, file: Path | None = None) -> Schema:
    """The keys of a training type in the pair of versions that a file describes, without one in the newest."""
    data = _data(file or shipped("schemas") / NEWEST)
    overlay = rules.OVERLAY_OF | online_rules.OVERLAY_OF | {"distillation": distillation.OVERLAY}
    removed = rules.REMOVED_OF | online_rules.REMOVED_OF | {"distillation": distillation.REMOVED}
    renamed = rules.RENAMED | rules.NEWER | online_rules.RENAMED_OF.get(training_type, {})
    subject = f"TRL {data['versions']['trl']} with Transformers {data['versions']['transformers']}"
    found = schema_of(data, training_type, subject, rules.OVERLAY | overlay.get(training_type, {}))
    own = {name: Key.read(name, spec, training_type) for name, spec in online_rules.OWN.get(training_type, {}).items()}
    if own:
        own[rewards.SERVICE] = rlhf.schema().keys[rewards.SERVICE]._replace(group=training_type)
    known = found.keys
    return found._replace(
        keys={**known, **own, accelerate.KEY: Key.read(accelerate.KEY, accelerate.SPEC, "trainer")},
        aliases=rules.ALIASES,
        blocks=rules.BLOCKS,
        renamed={old: name for old, name in renamed.items() if name.new in known and old not in known},
        removed=rules.REMOVED | removed.get(training_type, {}),
        refused=rules.ACCELERATE | rules.OTHER_SCRIPTS,
        ignored=rules.IGNORED,
        renamed_choices=rules.RENAMED_CHOICES if training_type == "sft" else {},
    )


def _data(file: Path) -> Mapping[str, Any]:
    """What a schema file says; that of an older pair says only how it differs from the newest."""
    data: dict[str, Any] = json.loads(file.read_text("utf-8"))
    if file.name == NEWEST:
        return data
    newest: dict[str, Any] = json.loads(file.with_name(NEWEST).read_text("utf-8"))
    for name, group in newest["groups"].items():
        lacks, others = data["lacks"].get(name, ()), data["groups"].get(name, {}).get("keys", {})
        kept = {key: spec for key, spec in group["keys"].items() if key not in lacks}
        group["keys"] = dict(sorted({**kept, **others}.items()))
    return {**newest, "versions": data["versions"]}
