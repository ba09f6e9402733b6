"""The name that was probably meant."""

from __future__ import annotations

from collections.abc import Iterable


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The one of `names` that `name` was probably meant to be, or None."""
    import difflib

    candidates = {_plain(other): other for other in reversed(list(names))}
    if _plain(name) in candidates:
        return candidates[_plain(name)]
    found = difflib.get_close_matches(_plain(name), candidates, n=1, cutoff=0.7)
    return candidates[found[0]] if found else None


def meant(name: str, names: Iterable[str], otherwise: str) -> str:
    """The remedy for a name that there is not: the one that was probably meant, or what else to do."""
    near = nearest(name, names)
    return f"did you mean {near}?" if near else otherwise


def _plain(name: str) -> str:
    return name.replace("-", "_").lower()
