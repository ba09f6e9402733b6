"""The settings file: where it lies, what it may say, and which target follows from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cw_cli import api
from cw_cli.core.exceptions import ConfigError
from cw_cli.core.settings import read_settings, settings_path
from cw_cli.targets.choice import choose

from .lab import BASE


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "settings.yaml"
    monkeypatch.setenv("CW_SETTINGS", str(file))
    return file


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "config.yaml"
    file.write_text(BASE)
    return file


def test_where_the_file_lies(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings_path() == home / ".config/cw/settings.yaml"
    monkeypatch.setenv("XDG_CONFIG_HOME", "/xdg")
    assert settings_path() == Path("/xdg/cw/settings.yaml")
    monkeypatch.setenv("CW_SETTINGS", "/mine.yaml")
    assert settings_path() == Path("/mine.yaml")


@pytest.mark.parametrize("text", [None, "", "\n"])
def test_no_settings_are_fine(settings: Path, text: str | None) -> None:
    if text is not None:
        settings.write_text(text)
    assert read_settings().values == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("targt: local\n", "did you mean target?"),
        ("target: cloud\n", "kubernetes, local"),
        ("memory: 5GB\n", "write 5Gi"),
        ("learning_rate: 1\n", ""),
        ("a: 1\na: 2\n", "keep one"),
    ],
)
def test_mistakes_in_the_settings_are_told_with_their_place(settings: Path, text: str, words: str) -> None:
    settings.write_text(text)
    with pytest.raises(ConfigError) as raised:
        read_settings()
    problem = raised.value.problems[0]
    assert str(problem.origin).startswith(f"{settings}:")
    assert words in problem.remedy


def test_settings_choose_target_namespace_and_user(settings: Path, config: Path) -> None:
    settings.write_text("target: kubernetes\nnamespace: research\nuser: grace\nimage: ours:1\n")
    plan = api.plan("trl", "sft", config)
    assert (plan.target, plan.user, plan.image) == ("kubernetes", "grace", "ours:1")
    assert {item["metadata"]["namespace"] for item in plan.objects} == {"research"}
    assert api.plan("trl", "sft", config, namespace="other").record["namespace"] == "other"


def test_without_any_cluster_a_run_stays_here_and_says_so(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, note = choose(None, None)
    assert (kind, note) == ("local", "no kubeconfig was found, so the run starts on this machine")
    assert choose("kubernetes", None) == ("kubernetes", None)
    assert choose(None, "kubernetes") == ("kubernetes", None)
    assert choose("local", "kubernetes") == ("local", None)
    kubeconfig = home / "kubeconfig"
    kubeconfig.write_text("")
    monkeypatch.setenv("KUBECONFIG", f"/nowhere:{kubeconfig}")
    assert choose(None, None) == ("kubernetes", None)
    monkeypatch.delenv("KUBECONFIG")
    assert choose(None, None)[0] == "local"
    (home / ".kube").mkdir()
    (home / ".kube/config").write_text("")
    assert choose(None, None) == ("kubernetes", None)


def test_the_library_takes_overrides_as_python_values(config: Path) -> None:
    checked = api.validate(
        "trl", "sft", config, learning_rate=1e-5, packing=True, lora_target_modules=["a", "b"], use_peft=True
    )
    found = checked.data()
    assert (found["learning_rate"], found["packing"], found["lora_target_modules"]) == (1e-5, True, ["a", "b"])
