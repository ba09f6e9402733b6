"""TOML: the same places for keys and values as in YAML."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from cw_cli.core.config import parse_config
from cw_cli.core.exceptions import ConfigError

from .lab import patient, refused

TEXT = """\
# a comment with [brackets] and key = value
model = "tiny" # and another
numbers = [1, 2.5, # two
  3e-5]
when = 1979-05-27 07:32:00
inline = {a.b = 1, "c d" = ["x", {y = 'z'}]}
long = \"\"\"
[not.a.table]
no = "key" \"\"\"

[env.taskset]
id = "words"

[[judge]]
name = "one"
[judge.model]
id = 'a'
[[judge]]
name = "two"

[env.agent]
dotted.key = true
"""


def place(*path: str | int) -> tuple[int | None, int | None]:
    origin = parse_config(TEXT, "eval.toml").origin(*path)
    return origin.line, origin.column


def test_every_value_has_its_place() -> None:
    assert place("model") == (2, 9)
    assert place("numbers", 2) == (4, 3)
    assert place("when") == (5, 8)
    assert place("inline", "a", "b") == (6, 17)
    assert place("inline", "c d", 1, "y") == (6, 39)
    assert place("env", "taskset", "id") == (12, 6)
    assert place("judge", 0, "model", "id") == (17, 6)
    assert place("judge", 1, "name") == (19, 8)
    assert place("env", "agent", "dotted", "key") == (22, 14)


def test_every_key_has_its_place() -> None:
    config = parse_config(TEXT, "eval.toml")
    assert str(config.key_origin("env", "taskset")) == "eval.toml:11:6"
    assert str(config.key_origin("env", "agent", "dotted")) == "eval.toml:22:1"
    assert config.key_origin("judge", 1, "name").text == 'name = "two"'
    assert not config.has("not")


def test_values_are_those_of_toml() -> None:
    config = parse_config(TEXT, "eval.toml")
    assert config.get("numbers") == [1, 2.5, 3e-5]
    assert config.get("when") == "1979-05-27 07:32:00"
    assert config.get("judge", 1) == {"name": "two"}
    assert config.origin("numbers", 2).written == "3e-5"


@pytest.mark.parametrize(
    ("text", "place", "says"),
    [
        ('model = "a"\nmodel = "b"\n', "x.toml:2:12", "overwrite"),
        ("model = tiny\n", "x.toml:1:9", "invalid value"),
        ("a = 1\n[b\n", "x.toml:2:3", "]"),
        ("a = [1,", "x.toml:1:8", "value"),
    ],
)
def test_a_mistake_has_its_place(text: str, place: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "x.toml")
    (problem,) = refused(caught).problems
    assert str(problem.origin) == place
    assert says in problem.message
    assert "at line" not in problem.message


def test_what_is_nested_too_deeply_is_a_mistake() -> None:
    with pytest.raises(ConfigError):
        parse_config("a = " + "[" * 5000 + "]" * 5000, "x.toml")


@patient
@given(some.text(alphabet="ab.=[]{}\"'#,1 \n\\-_", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        config = parse_config(text, "x.toml")
    except ConfigError as error:
        assert error.problems
    else:
        assert all(config.get(*path) is not None for path in config.places)
