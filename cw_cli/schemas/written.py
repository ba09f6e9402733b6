"""A generated schema as a file: how its text looks, and whether the file still says what its source does."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def text(value: Mapping[str, Any]) -> str:
    """JSON with one line for each key of the schema, so that a new version of a framework reads well as a diff."""
    groups = []
    for name, group in value["groups"].items():
        keys = ",\n".join(f"      {json.dumps(key)}: {_compact(item)}" for key, item in group["keys"].items())
        groups.append(f'    {json.dumps(name)}: {{"title": {json.dumps(group["title"])}, "keys": {{\n{keys}\n    }}}}')
    head = "".join(f"  {json.dumps(key)}: {_compact(value[key])},\n" for key in value if key != "groups")
    return "{\n" + head + '  "groups": {\n' + ",\n".join(groups) + "\n  }\n}\n"


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def written(file: Path, generated: str, source: str, arguments: Sequence[str]) -> int:
    """Write the file; with `--check` among the arguments, say instead whether it differs from its source.

    Returns the exit code of the program.
    """
    if "--check" not in arguments:
        file.write_text(generated, encoding="utf-8")
        return 0
    if file.is_file() and file.read_text(encoding="utf-8") == generated:
        return 0
    program = f"generate_{file.stem.partition('-')[0]}"
    print(f"{file} differs from {source}: run python -m cw_cli.schemas.{program}", file=sys.stderr)
    return 1
