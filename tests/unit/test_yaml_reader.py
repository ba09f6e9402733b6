"""YAML text to plain data: numbers as YAML 1.2 has them, and a place for every key, value and mistake."""

from __future__ import annotations

import json
import math
import time
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cw_cli.core.yaml_reader import MAX_NODES, read_yaml, scalar
from cw_cli.core.yaml_writer import to_yaml, to_yaml_stream

from .lab import patient

PLAIN = st.text(
    st.characters(exclude_categories=("Cc", "Cs", "Cn"), exclude_characters="\u2028\u2029\ufeff"), max_size=40
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | PLAIN
DATA = st.recursive(
    SCALARS, lambda inside: st.lists(inside, max_size=4) | st.dictionaries(PLAIN, inside, max_size=4), max_leaves=12
)


def read(text: str) -> Any:
    document = read_yaml(text, "c.yaml")
    assert document.problems == []
    return document.value


def mistake(text: str) -> tuple[str, str]:
    """The place and the sentence of the only mistake."""
    (problem,) = read_yaml(text, "c.yaml").problems
    assert problem.remedy, "a mistake comes with what to write instead"
    return str(problem.origin), problem.message


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-5", 1e-5),
        ("2E3", 2000.0),
        ("1.5e+3", 1500.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("-7", -7),
        ("+12", 12),
        ("017", 17),
        ("0o17", 15),
        ("0x1F", 31),
        ("-.inf", -math.inf),
        (".INF", math.inf),
        ("~", None),
        ("Null", None),
        ("", None),
        ("TRUE", True),
        ("false", False),
        ("yes", "yes"),
        ("off", "off"),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("1_000", "1_000"),
        ("1e", "1e"),
        ("0b1", "0b1"),
        ("tRue", "tRue"),
        ("H100:4", "H100:4"),
    ],
)
def test_plain_scalars_follow_yaml_1_2(text: str, value: Any) -> None:
    assert scalar(text) == value
    assert type(scalar(text)) is type(value)
    assert read(f"key: {text}\n") == {"key": value}


def test_nan_is_a_number() -> None:
    assert math.isnan(scalar(".nan"))


def test_quotes_make_text() -> None:
    assert read("a: '1e-5'\nb: \"null\"\nc: |\n  7\n") == {"a": "1e-5", "b": "null", "c": "7\n"}


def test_a_number_of_thousands_of_digits_is_no_crash() -> None:
    assert isinstance(scalar("9" * 5000), str)


@patient
@given(DATA)
def test_json_is_read_as_what_it_is(value: Any) -> None:
    assert read(json.dumps(value, ensure_ascii=False)) == value


@patient
@given(st.dictionaries(st.text(max_size=20), st.recursive(
    SCALARS | st.text(max_size=40) | st.sampled_from([math.inf, -math.inf]),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=10), inside, max_size=3),
    max_leaves=8,
), max_size=4))  # fmt: skip
def test_what_is_written_is_read_back_by_cw_and_by_yaml_1_1(value: dict[str, Any]) -> None:
    text = to_yaml(value)
    assert read(text) == value
    assert yaml.safe_load(text) == value


@patient
@given(st.text())
def test_any_text_gives_a_value_or_a_mistake_with_a_sentence(text: str) -> None:
    document = read_yaml(text, "c.yaml")
    assert all(problem.message for problem in document.problems)


def test_several_objects_are_one_stream() -> None:
    assert list(yaml.safe_load_all(to_yaml_stream([{"a": 1}, {"b": "x\ny\n"}]))) == [{"a": 1}, {"b": "x\ny\n"}]


def test_written_yaml_has_no_aliases() -> None:
    shared = {"x": 1}
    assert "&" not in to_yaml({"a": shared, "b": shared})


def test_every_key_and_value_has_its_place() -> None:
    document = read_yaml("a: 1\nblock:\n  inner:   [x,\n    y]\n", "c.yaml")
    places = {path: str(origin) for path, origin in document.values.items()}
    keys = {path: str(origin) for path, origin in document.keys.items()}
    assert keys == {("a",): "c.yaml:1:1", ("block",): "c.yaml:2:1", ("block", "inner"): "c.yaml:3:3"}
    assert places["a",] == "c.yaml:1:4"
    assert places["block", "inner"] == "c.yaml:3:12"
    assert places["block", "inner", 1] == "c.yaml:4:5"
    assert document.keys["block", "inner"].text == "  inner:   [x,"


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("a: 1\nb: 2\na: 3\n", "c.yaml:3:1", "'a' is written twice, first in line 1"),
        ("x:\n  a: 1\n  a: 1\n", "c.yaml:3:3", "'a' is written twice, first in line 2"),
        ("a: 1\n---\nb: 2\n", "c.yaml:3:1", "second YAML document"),
        ("a: 1\n\tb: 2\n", "c.yaml:2:1", "tab"),
        ("a: b: c\n", "c.yaml:1:5", "second `: `"),
        ("a: 1\nb\nc: 2\n", "c.yaml:3:1", "a key without its colon"),
        ("a: *nowhere\n", "c.yaml:1:4", "no anchor stands before this alias"),
        ("a: !!python/object:os.system x\n", "c.yaml:1:4", "has no meaning here"),
        ("? [a, b]\n: 1\n", "c.yaml:1:3", "a key is a word"),
        ("a: [1, 2\n", "c.yaml:2:1", "expected"),
        ("a: &x\n  b: *x\n", "c.yaml:1:4", "refers to what it is part of"),
        ("base: &b [1]\na:\n  <<: *b\n", "c.yaml:1:11", "`<<` takes a mapping"),
        ("base: &b 7\na:\n  <<: *b\n", "c.yaml:1:7", "`<<` takes a mapping"),
    ],
)
def test_a_mistake_has_its_line_and_column(text: str, place: str, words: str) -> None:
    where, message = mistake(text)
    assert words in message
    assert where == place


def test_merges_never_replace_what_is_written() -> None:
    text = "base: &b {x: 1, y: 2}\nmore: &m {y: 3, z: 4}\na:\n  <<: [*b, *m]\n  x: 9\n"
    assert read(text)["a"] == {"x": 9, "y": 2, "z": 4}


def test_a_merged_key_keeps_the_place_where_it_was_written() -> None:
    document = read_yaml("base: &b\n  x: 1\na:\n  <<: *b\n", "c.yaml")
    assert str(document.keys["a", "x"]) == "c.yaml:2:3"


def test_an_alias_bomb_is_refused_at_once() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    began = time.monotonic()
    problems = read_yaml("\n".join(lines), "c.yaml").problems
    assert [f"more than {MAX_NODES:,} values"] == [problem.message for problem in problems]
    assert time.monotonic() - began < 10


def test_windows_line_ends_and_comments() -> None:
    assert read("a: 1 # one\r\nb: two\r\n") == {"a": 1, "b": "two"}
    assert str(read_yaml("a: 1\r\na: 2\r\n", "c.yaml").problems[0].origin) == "c.yaml:2:1"


@pytest.mark.parametrize("depth", [300, 100_000])
def test_deep_nesting_is_a_mistake_and_no_crash(depth: int) -> None:
    _, message = mistake("[" * depth + "]" * depth)
    assert "levels of nesting" in message


@pytest.mark.parametrize("link", ["[*a{}]", "{{<<: *a{}}}", "{{b: *a{}}}"])
def test_a_long_chain_of_aliases_is_a_mistake_and_no_crash(link: str) -> None:
    lines = ["a0: &a0 {x: 1}", *(f"a{n}: &a{n} " + link.format(n - 1) for n in range(1, 3000))]
    _, message = mistake("\n".join(lines))
    assert "levels of nesting" in message or "values" in message


def test_merges_that_multiply_are_refused_at_once() -> None:
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, 12)]
    _, message = mistake("\n".join(lines))
    assert "values" in message


def test_nesting_as_deep_as_a_config_needs_is_fine() -> None:
    assert read("{a: " * 40 + "1" + "}" * 40)["a"]["a"]
