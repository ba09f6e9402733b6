"""The trainer's end of the group."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any


def trainer_init(init_info: dict[str, Any]) -> SimpleNamespace:
    return SimpleNamespace(group=SimpleNamespace(store=None, socket=None), init_info=init_info)
