"""One mapping laid over another, as Kubernetes' own strategic merge patch does it."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any


def merged(base: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """`patch` on top of `base`: mappings are joined, lists of items that Kubernetes tells apart by a key are joined by
    that key, other lists and values are replaced, and null takes a key away."""
    result = deepcopy(dict(base))
    for key, value in patch.items():
        mine = result.get(key)
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping):
            result[key] = merged(mine if isinstance(mine, Mapping) else {}, value)
        elif isinstance(mine, list) and (key_of_items := identity(value)) and identity(mine) == key_of_items:
            result[key] = _merged_by(key_of_items, mine, value)
        elif isinstance(value, list):
            result[key] = [merged({}, item) if isinstance(item, Mapping) else deepcopy(item) for item in value]
        else:
            result[key] = value
    return result


def identity(value: Any) -> str | None:
    """The key that tells the items of a list apart, as in Kubernetes' own strategic merge patch."""
    if not isinstance(value, list):
        return None
    for key in ("mountPath", "name"):
        if value and all(isinstance(item, Mapping) and key in item for item in value):
            return key
    return None


def _merged_by(key: str, base: list[Any], patch: list[Any]) -> list[dict[str, Any]]:
    result = {item[key]: dict(item) for item in base}
    for item in patch:
        result[item[key]] = merged(result.get(item[key], {}), item)
    return list(result.values())
