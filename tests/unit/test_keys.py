"""cw's own keys as typed values."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cw_cli.core.launch_keys import SecretRef, Volume
from cw_cli.core.launch_reader import duration

from .lab import good_keys, keys, patient


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (90, 90),
        ("90", 90),
        ("30s", 30),
        ("90m", 5400),
        ("8h", 28800),
        ("2d", 172800),
        ("1d12h", 129600),
        ("1h30m10s", 5410),
        (" 5m ", 300),
    ],
)
def test_durations(text: Any, seconds: int) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0s", "-5m", "5 minutes", "1m1h", "1.5h", "h", "99999999999d", True, "５m"])
def test_durations_that_make_no_sense(text: Any) -> None:
    with pytest.raises(ValueError, match="write a time"):
        duration(text)


@patient
@given(st.integers(0, 300), st.integers(0, 99), st.integers(0, 99), st.integers(1, 99))
def test_durations_add_up(days: int, hours: int, minutes: int, seconds: int) -> None:
    expected = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    assert duration(f"{days}d{hours}h{minutes}m{seconds}s") == expected


@pytest.mark.parametrize(
    ("written", "reference"),
    [
        ("my-secret", SecretRef("TOKEN", "my-secret", "TOKEN")),
        ("my-secret/key", SecretRef("TOKEN", "my-secret", "key")),
        ("{name: my-secret}", SecretRef("TOKEN", "my-secret", "TOKEN")),
        ("{name: my-secret, key: k, optional: true}", SecretRef("TOKEN", "my-secret", "k", True)),
    ],
)
def test_secrets_are_references(written: str, reference: SecretRef) -> None:
    assert good_keys(f"secrets: {{TOKEN: {written}}}\n").secrets == (reference,)


@pytest.mark.parametrize("value", ["hf_AbCdEfG", "two words", "{key: k}", "/k", "Upper"])
def test_a_value_is_no_secret_reference(value: str) -> None:
    _, (problem,) = keys(f"secrets: {{TOKEN: {value}}}\n")
    assert "names no Secret" in problem.message
    assert value not in problem.message, "what may be a secret value is not repeated"


@pytest.mark.parametrize(
    ("written", "volume"),
    [
        ("/data", Volume("claim", "/data")),
        ("/data/", Volume("claim", "/data")),
        ("/data:ro", Volume("claim", "/data", read_only=True)),
        ("{path: /data, sub_path: a/b}", Volume("claim", "/data", sub_path="a/b")),
        ("{path: /data, read_only: true}", Volume("claim", "/data", read_only=True)),
        ("{path: /data, empty_dir: 10Gi}", Volume("claim", "/data", empty_dir="10Gi")),
    ],
)
def test_volumes(written: str, volume: Volume) -> None:
    assert good_keys(f"volumes: {{claim: {written}}}\n").volumes == (volume,)


def test_a_volume_of_the_template_can_be_dropped() -> None:
    found = good_keys("volumes: {model-checkpoints: null, other: /data}\n")
    assert found.dropped_volumes == ("model-checkpoints",)
    assert [volume.name for volume in found.volumes] == ["other"]


@pytest.mark.parametrize(
    ("line", "place", "words"),
    [
        ("volumes: {claim: data}", "1:18", "absolute path"),
        ("volumes: {claim: /}", "1:18", "outside /cw"),
        ("volumes: {claim: /cw/x}", "1:18", "outside /cw"),
        ("volumes: {claim: '/data:rw'}", "1:18", "read_only"),
        ("volumes: {Claim: /data}", "1:18", "letters, digits"),
        ("volumes: {a: /data, b: /data}", "1:24", "choose another path"),
        ("volumes: {a: {path: /data, empty_dir: lots}}", "1:39", "write a number"),
        ("env: {'a b': 1}", "1:14", "letters, digits"),
        ("labels: {a: 'not a label'}", "1:13", "63 letters"),
        ("labels: {cw.dev/run: x}", "1:22", "choose another name"),
        ("labels: {app.kubernetes.io/managed-by: x}", "1:40", "choose another name"),
        ("labels: {a: " + "x" * 64 + "}", "1:13", "63 letters"),
        ("node_selector: {'a b': c}", "1:24", "letters, digits"),
        ("queue: My Queue", "1:8", "small letters"),
        ("priority: UPPER", "1:11", "small letters"),
        ("image: 'a b'", "1:8", "without spaces"),
        ("image: ''", "1:8", "without spaces"),
        ("timeout: soon", "1:10", "8h"),
        ("ttl: 0", "1:6", "at least one second"),
        ("gpu: fast", "1:6", "there are"),
        ("memory: 500GB", "1:9", "write 500Gi"),
        ("cpu: lots", "1:6", "number of cores"),
        ("resources: {limits: {memory: 5GB}}", "1:30", "write 5Gi"),
        ("resources: {requests: {rdma/hca: some}}", "1:34", "write a number"),
    ],
)
def test_values_that_make_no_sense_are_told_at_their_place(line: str, place: str, words: str) -> None:
    _, (problem,) = keys(line + "\n")
    assert str(problem.origin) == f"config.yaml:{place}"
    assert words in problem.remedy


@pytest.mark.parametrize(
    ("written", "toleration"),
    [
        ("spot", {"key": "spot", "operator": "Exists"}),
        ("spot:NoSchedule", {"key": "spot", "operator": "Exists", "effect": "NoSchedule"}),
        ("spot=yes", {"key": "spot", "operator": "Equal", "value": "yes"}),
        (
            "spot=yes:NoExecute",
            {"key": "spot", "operator": "Equal", "value": "yes", "effect": "NoExecute"},
        ),
        ("{operator: Exists}", {"operator": "Exists"}),
    ],
)
def test_tolerations(written: str, toleration: dict[str, str]) -> None:
    assert good_keys(f"tolerations: [{written}]\n").tolerations == (toleration,)


def test_environment_values_are_text() -> None:
    found = good_keys("env: {A: 1, B: 1.5, C: true, D: 'x', E: null}\nlabels: {n: 7, b: false}\n")
    assert found.env == {"A": "1", "B": "1.5", "C": "true", "D": "x"}
    assert found.labels == {"n": "7", "b": "false"}


def test_times_and_attempts() -> None:
    found = good_keys("timeout: 8h\nttl: 2d\nretries: 3\n")
    assert (found.timeout, found.ttl, found.retries) == (28800, 172800, 3)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inside: st.lists(inside, max_size=2) | st.dictionaries(st.text(max_size=6), inside, max_size=2),
    max_leaves=5,
)


@patient
@given(st.data())
def test_any_value_of_any_key_is_read_or_gets_a_sentence(data: st.DataObject) -> None:
    from cw_cli.core.config import Config
    from cw_cli.core.launch_keys import launch_schema
    from cw_cli.core.launch_reader import read_keys

    schema = launch_schema()
    key = data.draw(st.sampled_from(sorted(schema.keys)))
    config = Config("config.yaml", values={key: data.draw(VALUES)})
    if not list(schema.check(config)):
        _, found = read_keys(config)
        assert all(problem.message and problem.remedy for problem in found)


def test_text_stays_as_it_was_typed() -> None:
    values = good_keys("env: {A: 0123, B: 1e-5, C: yes, D: true, E: 0x1F}\nlabels: {a: 007}\nannotations: {b: 1.50}\n")
    assert values.env == {"A": "0123", "B": "1e-5", "C": "yes", "D": "true", "E": "0x1F"}
    assert values.labels == {"a": "007"}
    assert values.annotations == {"b": "1.50"}
