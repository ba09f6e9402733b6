"""Config files: what can be read, and what is said about those that cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cw_cli.core.config import Config, parse_config, read_config
from cw_cli.core.exceptions import ConfigError
from cw_cli.core.problems import Origin

from .lab import patient, refused


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"# only a comment\n\n", "is empty"),
        (b"null\n", "is empty"),
        (b"{}\n", "is empty"),
        (b"\x7fELF\0\0\0", "is a binary file"),
        (b"a: caf\xe9\n", "cannot be read"),
        (b"- a\n- b\n", "is not a config"),
        (b"just text\n", "is not a config"),
        (b"x" * 5_000_000, "is larger than 1 MiB"),
        (b"a: 1\n---\nb: 2\n", "cannot be read as YAML"),
    ],
    ids=["empty", "comment", "null", "no-keys", "binary", "latin-1", "list", "text", "5MB", "two-documents"],
)
def test_what_is_no_config_gets_a_sentence(tmp_path: Path, content: bytes, words: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=words) as raised:
        read_config(file)
    error = refused(raised)
    assert str(file) in error.message
    assert error.problems or error.hint


def test_text_that_is_not_utf_8_has_its_line(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_bytes(b"a: 1\nb: 2\nc: caf\xe9\n")
    with pytest.raises(ConfigError) as raised:
        read_config(file)
    (problem,) = refused(raised).problems
    assert problem.origin == Origin(str(file), 3)


@pytest.mark.parametrize("name", ["missing.yaml", "folder", "a\0b", "x" * 300 + ".yaml", "config.yaml/inside"])
def test_a_path_that_cannot_be_read_gets_a_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "config.yaml").write_text("a: 1\n")
    with pytest.raises(ConfigError) as raised:
        read_config(f"{tmp_path}/{name}")
    assert refused(raised).exit_code == 2


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_bytes(b"\xef\xbb\xbfa: 1\n")
    config = read_config(file)
    assert config.values == {"a": 1}
    assert config.key_origin("a").column == 1


@patient
@given(st.binary(max_size=300))
def test_any_bytes_are_a_config_or_a_sentence(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any.yaml"
    file.write_bytes(content)
    try:
        assert read_config(file).values
    except ConfigError as error:
        assert error.message


def test_a_place_nearby_stands_in_for_a_place_that_is_not_there() -> None:
    config = parse_config("a:\n  b: 1\n", "c.yaml")
    assert str(config.origin("a", "b", "c")) == "c.yaml:2:6"
    assert str(config.key_origin("a", "z")) == "c.yaml:1:1"
    assert str(config.origin("nothing")) == "c.yaml"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (("a",), {"a": 7, "list": [1, {"x": 2}]}),
        (("new", "inner"), {"a": {"b": 1}, "list": [1, {"x": 2}], "new": {"inner": 7}}),
        (("a", "c"), {"a": {"b": 1, "c": 7}, "list": [1, {"x": 2}]}),
        (("list", 0), {"a": {"b": 1}, "list": [7, {"x": 2}]}),
        (("list", 1, "x"), {"a": {"b": 1}, "list": [1, {"x": 7}]}),
        (("list", 9), {"a": {"b": 1}, "list": [1, {"x": 2}, 7]}),
    ],
)
def test_a_value_is_placed_in_a_copy(path: tuple[Any, ...], expected: dict[str, Any]) -> None:
    config = parse_config("a: {b: 1}\nlist: [1, {x: 2}]\n", "c.yaml")
    changed = config.with_value(path, 7, Origin("--flag"))
    assert changed.values == expected
    assert str(changed.origin(*path)) == "--flag"
    assert config.values == {"a": {"b": 1}, "list": [1, {"x": 2}]}


def test_what_is_taken_out_leaves_no_place_behind() -> None:
    config = parse_config("a: {b: 1, c: 2}\nd: 3\n", "c.yaml").without(("a", "b"))
    assert config.values == {"a": {"c": 2}, "d": 3}
    assert not config.has("a", "b")


def test_what_moves_takes_its_place_along() -> None:
    config = parse_config("block:\n  old: {x: 1}\n", "c.yaml").moved(("block", "old"), ("new",))
    assert config.get("new", "x") == 1
    assert str(config.key_origin("new")) == "c.yaml:2:3"
    assert str(config.origin("new", "x")) == "c.yaml:2:12"


def test_a_config_lies_over_another_key_by_key() -> None:
    base = parse_config("env: {A: 1, B: 2}\nimage: base\ncpu: 4\n", "settings.yaml")
    config = parse_config("env: {B: 3}\nimage: null\n", "c.yaml").over(base)
    assert config.values == {"env": {"B": 3, "A": 1}, "image": None, "cpu": 4}
    assert config.origin("env", "A").source == "settings.yaml"
    assert config.origin("env", "B").source == "c.yaml"


def test_paths_are_relative_to_the_file() -> None:
    assert Config("some/where/c.yaml").folder == Path("some/where")
