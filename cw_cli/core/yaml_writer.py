"""Plain data to YAML text that people read and that YAML 1.1 and 1.2 readers understand alike."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml

from cw_cli.core.yaml_reader import scalar

_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Dumper(_DUMPER):  # type: ignore[misc]
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: Any, text: str) -> Any:
    # `1e-5` is a number in YAML 1.2 and text in 1.1: in quotes it is text in both.
    style = "|" if "\n" in text else '"' if not isinstance(scalar(text), str) and text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def to_yaml(value: Any) -> str:
    """One YAML document."""
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return text


def to_yaml_stream(values: Iterable[Any]) -> str:
    """Several YAML documents, as `kubectl apply -f -` takes them."""
    return "---\n".join(to_yaml(value) for value in values)
