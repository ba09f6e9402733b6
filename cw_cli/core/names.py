"""Run names, labels and selectors: names are for people, labels are the identity."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable, Mapping

MAX_RUN_NAME = 52
"""A Job's pods append eleven characters to its name, and a label value holds 63."""
_SUFFIX = 5
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""No vowels, so that no word appears; no characters that look alike."""

MANAGED_BY = "app.kubernetes.io/managed-by"
RUN = "cw.dev/run"
FRAMEWORK = "cw.dev/framework"
TYPE = "cw.dev/type"
ROLE = "cw.dev/role"
USER = "cw.dev/user"
RECORD = "cw.dev/record"
"""On the ConfigMap of each run that holds its record."""
RECIPES = "cw.dev/recipes"
"""On recipes that runs share, and on the record of each run that uses them."""
OUTPUT = "cw.dev/output-dir"
"""Annotation on the trainer's workload: where it writes, as its container sees it."""


def dns_label(text: str, limit: int = 63) -> str:
    """`text` as a DNS label (RFC 1123): lower case letters, digits and inner dashes, at most `limit` characters."""
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    return plain[:limit].strip("-")


def run_name(base: str, stem: str) -> str:
    """A new name `<base>-<stem>-<5 characters>`, DNS-safe, at most 52 characters, beginning with a letter.

    The five characters are random: 14 million of them, so that two launches do not meet; whoever creates the run
    still refuses a name that is taken.
    """
    suffix = "".join(secrets.choice(_ALPHABET) for _ in range(_SUFFIX))
    room = MAX_RUN_NAME - _SUFFIX - 1
    head = dns_label(base, room) or "run"
    head = head if head[0].isalpha() else f"r-{head}"[:room].strip("-")
    tail = dns_label(stem, max(room - len(head) - 1, 0))
    return "-".join(part for part in (head, tail, suffix) if part)


def object_name(run: str, part: str) -> str:
    """The name of an object that belongs to `run`: `<run>-<part>`, cut to 63 characters and then marked by a hash."""
    name = f"{run}-{dns_label(part) or 'object'}"
    if len(name) <= 63:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:5]
    return f"{name[:57].rstrip('-')}-{digest}"


def label_value(text: str) -> str:
    """`text` as a label value: at most 63 letters, digits, dashes, dots and underscores, ends alphanumeric."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text)[:63].strip("-._")


def run_labels(run: str, framework: str, training_type: str, user: str) -> dict[str, str]:
    """The labels that everything of a run carries."""
    return {
        MANAGED_BY: "cw",
        RUN: run,
        FRAMEWORK: label_value(framework),
        TYPE: label_value(training_type),
        USER: label_value(user) or "unknown",
    }


def selector(labels: Mapping[str, str]) -> str:
    """A label selector for exactly these labels."""
    return ",".join(f"{key}={value}" for key, value in labels.items())


def matching_runs(text: str, names: list[str]) -> list[str]:
    """The runs that `text` names: in full, or else by the last five characters, by the word before them, or by how
    the name begins, whichever names any first."""
    if not text:
        return []
    heads = {name: name.rpartition("-") for name in names}
    ways: tuple[Callable[[str], bool], ...] = (
        lambda name: name == text,
        lambda name: heads[name][2] == text,
        lambda name: heads[name][0].endswith(f"-{text}"),
        lambda name: name.startswith(text),
    )
    found = ([name for name in names if way(name)] for way in ways)
    return next(filter(None, found), [])
