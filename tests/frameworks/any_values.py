"""Values of the right types, whatever they say: what no check may stumble over."""

from __future__ import annotations

from typing import Any

import hypothesis
from hypothesis import strategies as st

WORDS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(["~", "./a", "/", "json", "a*", "train+", "a.b", "x.py:y", "x" * 300, "no", "cw://"]),
    st.sampled_from(["lora", "(", "sharegpt:x"]),
)
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORDS, inner, max_size=2),
    max_leaves=4,
)

settings = hypothesis.settings(deadline=None, suppress_health_check=list(hypothesis.HealthCheck))


def value(spec: Any) -> Any:
    """A strategy for what a key may hold."""
    if "enum" in spec:
        return st.sampled_from(spec["enum"])
    simple = {
        "string": WORDS,
        "integer": st.integers(-3, 5),
        "number": st.floats(),
        "boolean": st.booleans(),
        "null": st.none(),
    }
    held = {name: value(item) for name, item in spec.get("properties", {}).items()}
    mapping = st.fixed_dictionaries({}, optional=held) if held else st.dictionaries(WORDS, ANY, max_size=2)
    lists = st.lists(value(spec["items"]), max_size=3) if "items" in spec else st.lists(ANY, max_size=2)
    choices = {**simple, "array": lists, "object": mapping}
    types = spec.get("type", "object" if held else "string")
    return st.one_of([choices[name] for name in ([types] if isinstance(types, str) else types)])
