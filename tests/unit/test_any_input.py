"""Whatever a config holds and whatever is typed: an exit code of 0, 1 or 2, a sentence, and never a traceback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from cw_cli.cli.main import app
from cw_cli.core.launch_keys import launch_schema

from .lab import BASE, patient, trl

WORDS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=20)
FLAGS = [
    *("--gpu", "--cpu", "--memory", "--nodes", "--image", "--pull", "--queue", "--name", "-n", "--set", "--set=a=b"),
    *("--detach", "-d", "-o", "--output", "-h", "--help", "--", "-", "--=", "--x=", "---", "--dry-run=server"),
    *("--learning_rate", "1e-5", "--bf16", "--no_packing", "--trainer_args.seed", "json", "name", "-1", "[", "{a: ["),
]
KEYS = st.sampled_from([*sorted(trl().get_schema("sft").keys), *sorted(launch_schema().keys), "trainer_args"])  # type: ignore
VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS,
    lambda inside: st.lists(inside, max_size=2) | st.dictionaries(WORDS, inside, max_size=2),
    max_leaves=4,
)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("any") / "config.yaml"
    file.write_text(BASE)
    return file


def answered(*argv: str) -> Any:
    result = CliRunner().invoke(app, list(argv), prog_name="cw")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code in (0, 1, 2)
    assert "Traceback" not in result.output
    if result.exit_code:
        assert "error: " in result.stderr
        assert result.stdout == "", "what failed prints no data"
    return result


@patient
@given(st.text())
@example("[" * 50_000)
def test_any_text_as_a_config(config: Path, text: str) -> None:
    file = config.with_name("any.yaml")
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    answered("validate", "trl", "sft", str(file))


@settings(patient, max_examples=60)
@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_any_values_of_known_keys(config: Path, values: dict[str, Any]) -> None:
    file = config.with_name("values.yaml")
    file.write_text(yaml.safe_dump({"model_name": "owner/model", "dataset_name": "owner/data", **values}))
    result = answered("trl", "sft", str(file), "--dry-run")
    if result.exit_code == 0:
        assert [item["kind"] for item in yaml.safe_load_all(result.stdout)][-1] == "Job"


@settings(patient, max_examples=60)
@given(st.lists(st.sampled_from(FLAGS) | WORDS, max_size=5))
def test_any_arguments_after_a_config(config: Path, argv: list[str]) -> None:
    # The flag comes first: what follows `--` is no flag.
    answered("trl", "sft", "--dry-run", str(config), *argv)


@settings(patient, max_examples=40)
@given(
    st.lists(
        st.sampled_from([*FLAGS, "trl", "sft", "validate", "schema", "list", "describe", "init"]) | WORDS, max_size=4
    )
)
def test_any_arguments_at_all(argv: list[str]) -> None:
    if "--install-completion" not in argv:
        answered("validate", *argv)
        answered("schema", *argv)
        answered("describe", *argv)
        answered("delete", *argv)


@settings(patient, max_examples=60)
@given(KEYS, WORDS)
def test_any_override(config: Path, key: str, text: str) -> None:
    answered("trl", "sft", str(config), "--dry-run", f"--{key}", text)
    answered("trl", "sft", str(config), "--dry-run", "--set", f"{key}={text}")


def test_this_would_notice_a_traceback(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise KeyError("broken")

    monkeypatch.setattr("cw_cli.core.checks.check_config", broken)
    with pytest.raises(KeyError):
        answered("validate", "trl", "sft", str(config))
