"""`--key value`, `--key=value` and `--set a.b=c`: which key is meant, and what the text means there."""

from __future__ import annotations

from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from cw_cli.cli.arguments import LAUNCH_KEYS, OverridingCommand
from cw_cli.core.config import parse_config
from cw_cli.core.launch_keys import launch_schema
from cw_cli.core.overrides import Override, apply

from .lab import BASE, checked, only_problem, patient, problems, trl


def config(text: str, *overrides: str) -> dict[str, Any]:
    return checked(BASE + text, *overrides).data()


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("args: {steps: 1}", {"args": {"steps": 5}}),
        ("steps: 2\nargs: {steps: 1}", {"steps": 5, "args": {"steps": 1}}),
        ("args: {other: 1}", {"args": {"other": 1}, "steps": 5}),
        ("env: {steps: 1}", {"env": {"steps": 1}, "steps": 5}),
    ],
)
def test_without_a_schema_a_key_is_meant_where_it_stands(text: str, values: dict[str, Any]) -> None:
    found, problems = apply(parse_config(text, "c.yaml"), [Override("steps", "5", "--steps 5")], launch_schema(), None)
    assert not problems and found.values == values


def test_without_a_schema_two_places_are_a_question() -> None:
    given = parse_config("a: {steps: 1}\nb: {steps: 1}", "c.yaml")
    found, (problem,) = apply(given, [Override("steps", "5", "--steps 5")], launch_schema(), None)
    assert problem.message == "steps stands in a and in b" and "--set a.steps=" in problem.remedy
    assert found.values == given.values


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("learning_rate=1e-5", "learning_rate", 1e-5),
        ("max_steps=-1", "max_steps", -1),
        ("num_train_epochs=2", "num_train_epochs", 2),
        ("max_length=null", "max_length", None),
        ("packing=true", "packing", True),
        ("packing=yes", "packing", True),
        ("bf16=off", "bf16", False),
        ("optim=adamw_torch", "optim", "adamw_torch"),
        ("run_name=1e-5", "run_name", "1e-5"),
        ("run_name=true", "run_name", "true"),
        ("run_name=", "run_name", None),
        ("lora_target_modules=[q_proj, v_proj]", "lora_target_modules", ["q_proj", "v_proj"]),
        ("lora_target_modules=q_proj,v_proj", "lora_target_modules", ["q_proj", "v_proj"]),
        ("lora_target_modules=all-linear", "lora_target_modules", "all-linear"),
        ("report_to=none", "report_to", "none"),
        ("trainer_args.seed=7", "seed", 7),
        ("model_name=other/model", "model_name_or_path", "other/model"),
        ("model_name_or_path=other/model", "model_name_or_path", "other/model"),
        ("max_seq_length=512", "max_length", 512),
        ("trainer_args.max_seq_length=512", "max_length", 512),
        ("model_init_kwargs.attention_dropout=0.1", "model_init_kwargs", {"attention_dropout": 0.1}),
        ('model_init_kwargs={"a": [1]}', "model_init_kwargs", {"a": [1]}),
    ],
)
def test_the_text_means_what_the_key_takes(override: str, key: str, value: Any) -> None:
    use_peft = "use_peft: true\n" if "lora" in override else ""
    found = config(use_peft, override)[key]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "written",
    ["max_length: 100\n", "max_seq_length: 100\n", "trainer_args:\n  max_length: 100\n",
     "trainer_args:\n  max_seq_length: 100\n"],
)  # fmt: skip
@pytest.mark.parametrize("key", ["max_length", "max_seq_length", "trainer_args.max_length"])
def test_an_override_replaces_every_spelling(written: str, key: str) -> None:
    assert config(written, f"{key}=7")["max_length"] == 7


def test_an_alias_is_replaced_however_it_was_written() -> None:
    assert config("", "model_name_or_path=a/b")["model_name_or_path"] == "a/b"


def test_the_last_override_wins() -> None:
    assert config("seed: 1\n", "seed=2", "seed=3")["seed"] == 3


def test_a_nested_override_keeps_what_stands_beside_it() -> None:
    found = config("model_init_kwargs: {a: 1, b: 2}\n", "model_init_kwargs.b=3")
    assert found["model_init_kwargs"] == {"a": 1, "b": 3}


def test_an_index_reaches_into_a_list() -> None:
    text = "model_name: m/m\ndatasets:\n  - path: a/a\n  - path: b/b\n"
    found = checked(text, "datasets.1.path=c/c").data()
    assert [item["path"] for item in found["datasets"]] == ["a/a", "c/c"]


@pytest.mark.parametrize(
    ("override", "attribute", "value"),
    [
        ("cpu=16", "cpu", "16"),
        ("memory=64Gi", "memory", "64Gi"),
        ("gpu=H100:4", "gpu", 4),
        ("gpu=H100:4", "gpu_type", "H100"),
        ("gpu=2", "gpu", 2),
        ("nodes=3", "nodes", 3),
        ("resources.limits.memory=1Ti", "limits", (("memory", "1Ti"),)),
    ],
)
def test_keys_of_cw_are_overridden_in_the_same_way(override: str, attribute: str, value: Any) -> None:
    assert getattr(checked(BASE, override).keys.resources, attribute) == value


def test_environment_variables_stay_text_that_cw_does_not_touch() -> None:
    keys = checked(BASE, "env.SEED=7", "env.NAME=a b: c", "env.EMPTY=''").keys
    assert keys.env["SEED"] == "7"
    assert keys.env["NAME"] == "a b: c"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("learnng_rate=1", "did you mean learning_rate?"),
        ("gpus=1", "did you mean gpu?"),
        ("max_seq_lenght=1", "did you mean max_length?"),
        ("trainer_args.lerning_rate=1", "did you mean learning_rate?"),
        ("qqq=1", "`cw schema` lists the keys"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_name(override: str, words: str) -> None:
    problem = only_problem(BASE, override)
    assert "is not a key of" in problem.message
    assert words in problem.remedy
    assert problem.origin is not None
    assert problem.origin.source == f"--set {override}"


@pytest.mark.parametrize(
    ("override", "words"),
    [("learning_rate=fast", "a number"), ("packing=perhaps", "true or false"), ("gpu=-1", "0 for a run without")],
)
def test_a_wrong_value_is_told_with_the_flag(override: str, words: str) -> None:
    problem = only_problem(BASE, override)
    assert words in problem.remedy
    assert str(problem.origin) == f"--set {override}"


def test_removed_keys_are_refused_with_the_reason() -> None:
    problem = only_problem(BASE, "overwrite_output_dir=true")
    assert "no longer exists" in problem.message
    assert "choose another folder" in problem.message


@patient
@given(st.sampled_from(sorted(trl().get_schema("sft").keys)), st.text(max_size=30))  # type: ignore[arg-type, union-attr]
def test_any_text_for_any_key_is_taken_or_refused_with_a_sentence(key: str, text: str) -> None:
    for problem in problems(BASE, f"{key}={text}"):
        assert problem.message


@patient
@given(st.text(min_size=1, max_size=30).filter(lambda text: "=" not in text), st.text(max_size=10))
def test_any_key_is_taken_or_refused_with_a_sentence(key: str, text: str) -> None:
    for problem in problems(BASE, f"{key}={text}"):
        assert problem.message


class Probe(OverridingCommand):
    def schema(self, ctx: Any) -> Any:
        return trl().get_schema("sft")  # type: ignore[arg-type]


def split(*argv: str) -> tuple[list[Override], dict[str, Any]]:
    """The overrides and the command's own options of a command line."""
    found: dict[str, Any] = {}
    app = typer.Typer(rich_markup_mode=None)

    @app.command(cls=Probe)
    def command(
        ctx: typer.Context,
        config: str,
        gpu: str | None = None,
        pull: bool = False,
        name: str | None = None,
        dry_run: str | None = None,
        follow: bool = typer.Option(False, "--follow", "-f"),
    ) -> None:
        found.update(overrides=ctx.meta["overrides"], config=config, gpu=gpu, name=name, dry_run=dry_run, follow=follow)

    result = CliRunner().invoke(app, list(argv))
    assert result.exit_code == 0, result.output
    return found.pop("overrides"), found


@pytest.mark.parametrize(
    ("argv", "key", "text"),
    [
        (["--learning_rate", "1e-5"], "learning_rate", "1e-5"),
        (["--learning-rate=1e-5"], "learning_rate", "1e-5"),
        (["--max_steps", "-1"], "max_steps", "-1"),
        (["--bf16"], "bf16", "true"),
        (["--bf16", "false"], "bf16", "false"),
        (["--no_bf16"], "bf16", "false"),
        (["--no-packing"], "packing", "false"),
        (["--bf16=no"], "bf16", "no"),
        (["--env.A-b", "x=y"], "env.A-b", "x=y"),
        (["--gpu", "4"], "gpu", "4"),
        (["--gpu=H100:4"], "gpu", "H100:4"),
        (["--pull"], "pull", "true"),
        (["--eval_strategy"], "eval_strategy", ""),
    ],
)
def test_every_spelling_on_the_command_line(argv: list[str], key: str, text: str) -> None:
    for line in (["c.yaml", *argv], [*argv, "--follow", "c.yaml"]):
        overrides, own = split(*line)
        assert [(item.key, item.text) for item in overrides] == [(key, text)]
        assert own["config"] == "c.yaml"


def test_the_commands_own_flags_are_left_alone() -> None:
    overrides, own = split("--name", "--odd", "c.yaml", "-f", "--dry-run", "--seed", "1")
    assert [str(item) for item in overrides] == ["seed=1"]
    assert own == {"config": "c.yaml", "gpu": None, "name": "--odd", "dry_run": "client", "follow": True}


def test_what_follows_two_dashes_is_no_flag() -> None:
    overrides, own = split("--seed", "1", "--", "--c.yaml")
    assert [str(item) for item in overrides] == ["seed=1"]
    assert own["config"] == "--c.yaml"


def test_every_launch_flag_is_a_key_of_cw() -> None:
    from cw_cli.core.launch_keys import launch_schema

    assert set(LAUNCH_KEYS) <= set(launch_schema().keys)
