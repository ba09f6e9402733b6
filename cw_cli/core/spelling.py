"""The name that was probably meant."""

from __future__ import annotations

from collections.abc import Iterable


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The one of `names` that `name` was probably meant to be, or None."""
    import difflib

    candidates = dict.fromkeys(names)
    plain = name.replace("-", "_").lower()
    if plain in candidates:
        return plain
    found = difflib.get_close_matches(plain, candidates, n=1, cutoff=0.7)
    return found[0] if found else None
