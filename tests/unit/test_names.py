"""Names are safe as DNS labels, short enough for a Job's pods, and new each time."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cw_cli.core.names import (
    MAX_RUN_NAME,
    dns_label,
    label_value,
    matching_runs,
    object_name,
    run_labels,
    run_name,
    selector,
)

from .lab import patient

DNS = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
LABEL = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")


@patient
@given(st.text(max_size=80), st.text(max_size=80))
def test_a_run_name_is_safe_whatever_it_is_made_of(base: str, stem: str) -> None:
    name = run_name(base, stem)
    assert DNS.fullmatch(name)
    assert len(name) <= MAX_RUN_NAME == 52
    assert "--" not in name


def test_a_run_name_says_what_it_is() -> None:
    assert re.fullmatch(r"cw-trl-train-sft-my-config-[a-z0-9]{5}", run_name("cw-trl-train-sft", "My_Config"))


def test_two_names_are_never_the_same() -> None:
    assert len({run_name("cw", "x") for _ in range(20)}) == 20


@patient
@given(st.text(max_size=80), st.text(max_size=90))
def test_object_names_are_safe(stem: str, part: str) -> None:
    name = object_name(run_name("cw", stem), part)
    assert DNS.fullmatch(name)
    assert len(name) <= 63


def test_long_object_names_stay_apart() -> None:
    run, part = "r" * 52, "p" * 40
    assert object_name(run, part) != object_name(run, part + "q")


@patient
@given(st.text(max_size=100))
def test_label_values_are_what_kubernetes_takes(text: str) -> None:
    value = label_value(text)
    assert LABEL.fullmatch(value)
    assert len(value) <= 63


@patient
@given(st.text(max_size=100), st.integers(1, 63))
def test_dns_labels_are_what_dns_takes(text: str, limit: int) -> None:
    label = dns_label(text, limit)
    assert not label or re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", label)
    assert len(label) <= limit


def test_the_labels_of_a_run() -> None:
    assert selector(run_labels("r", "trl", "sft", "ada@host")) == (
        "app.kubernetes.io/managed-by=cw,cw.dev/run=r,cw.dev/framework=trl,cw.dev/type=sft,cw.dev/user=ada-host"
    )
    assert run_labels("r", "trl", "sft", "--")["cw.dev/user"] == "unknown"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("cw-a-bcdfg", ["cw-a-bcdfg"]),
        ("bcdfg", ["cw-a-bcdfg"]),
        ("cw-a", ["cw-a-bcdfg", "cw-a-hjklm"]),
        ("cw-a-h", ["cw-a-hjklm"]),
        ("cdfg", []),
        ("", []),
    ],
)
def test_runs_are_found_by_name_by_their_last_characters_or_by_their_beginning(text: str, found: list[str]) -> None:
    assert matching_runs(text, ["cw-a-bcdfg", "cw-a-hjklm"]) == found
