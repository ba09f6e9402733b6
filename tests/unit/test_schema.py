"""A config against its schema: every mistake at its place, all at once, with what to write instead."""

from __future__ import annotations

import pytest

from cw_cli.core.problems import errors

from .lab import BASE, checked, only_problem, problems


@pytest.mark.parametrize(
    ("line", "place", "message", "remedy"),
    [
        ("learning_rat: 1", "3:1", "learning_rat is not a key of TRL", "did you mean learning_rate?"),
        ("Learning-Rate: 1", "3:1", "Learning-Rate is not a key of", "did you mean learning_rate?"),
        ("gpus: 1", "3:1", "gpus is not a key of", "did you mean gpu?"),
        ("zzzz: 1", "3:1", "zzzz is not a key of", "`cw schema` lists"),
        ("learning_rate: fast", "3:16", "learning_rate is the text 'fast'", "write a number"),
        ("learning_rate:", "3:15", "learning_rate has no value", "write a number"),
        ("learning_rate: -1", "3:16", "learning_rate cannot be -1", "write 0 or more"),
        ("learning_rate: .nan", "3:16", "learning_rate cannot be nan", "write 0 or more"),
        ("max_steps: 1.5", "3:12", "max_steps is 1.5", "write a whole number"),
        ("max_steps: true", "3:12", "max_steps is true", "write a whole number"),
        ("max_steps: [1]", "3:12", "max_steps is a list", "write a whole number"),
        ("max_steps: {a: 1}", "3:12", "max_steps is a mapping", "write a whole number"),
        ("packing: 1", "3:10", "packing is 1", "write true or false"),
        ("lr_scheduler_type: cosin", "3:20", "cannot be cosin", "did you mean cosine? There are "),
        ("lr_scheduler_type: qqqq", "3:20", "cannot be qqqq", "write one of "),
        ("optim: adamw_torch_fuse", "3:8", "optim cannot be adamw_torch_fuse", "did you mean adamw_torch_fused?"),
        ("report_to: [wandb, tensorbord]", "3:20", "report_to cannot hold tensorbord", "did you mean tensorboard?"),
        ("report_to: [none, qqqq]", "3:19", "report_to cannot hold qqqq", "write one of "),
        ("adam_beta1: 1.5", "3:13", "adam_beta1 cannot be 1.5", "write 1 or less"),
        ("test_split_size: 0", "3:18", "test_split_size cannot be 0", "write a number above 0"),
        ("trainer_args: 7", "3:15", "trainer_args is 7", "write its keys indented under it"),
        ("trainer_args: {seed: x}", "3:22", "seed is the text 'x'", "write a whole number"),
        ("trainer_args: {sed: 1}", "3:16", "sed is not a key of", "did you mean seed?"),
        ("datasets: [{pth: x}]", "3:13", "has no key pth", "did you mean path?"),
        ("cpu: [1]", "3:6", "cpu is a list", "write a whole number or a number or text"),
        ("nodes: 0", "3:8", "nodes cannot be 0", "write 1 or more"),
        ("nodes: 5000", "3:8", "nodes cannot be 5000", "write 1024 or less"),
        ("resources: {limit: {}}", "3:13", "resources has no key limit", "did you mean limits?"),
        ("resources: {limits: {cpu: []}}", "3:27", "resources.limits.cpu is a list", "write text"),
        ("gpu: {count: 2}", "3:6", "gpu lacks type", "add `type: …`"),
        ("gpu: {type: H100, cnt: 2}", "3:19", "gpu has no key cnt", "did you mean count?"),
    ],
)
def test_a_mistake_is_told_at_its_place_with_a_remedy(line: str, place: str, message: str, remedy: str) -> None:
    found = errors(problems(BASE + line + "\n"))
    (problem,) = [problem for problem in found if message in problem.message]
    assert str(problem.origin) == f"config.yaml:{place}"
    assert remedy in problem.remedy


def test_one_mistake_is_told_once() -> None:
    assert "gpu has no key cnt" in only_problem(BASE + "gpu: {type: H100, cnt: 2}\n").message


def test_all_mistakes_come_at_once_in_the_order_of_the_file() -> None:
    text = "model_nam: x\nlearning_rate: fast\ngpu: -1\ntrainer_args:\n  sed: 1\ndataset_name: owner/data\n"
    found = problems(text, "epochs=x")
    lines = [problem.origin.line for problem in found if problem.origin]
    assert lines[:4] == [1, 2, 3, 5]
    assert any(str(problem.origin) == "--set epochs=x" for problem in found)


def test_a_renamed_key_is_taken_with_a_warning() -> None:
    found = checked(BASE + "trainer_args:\n  max_seq_length: 512\n")
    assert found.data()["max_length"] == 512
    (warning,) = found.warnings
    assert str(warning.origin) == "config.yaml:4:3"
    assert "max_seq_length is called max_length in TRL 1.16" in warning.message


def test_a_renamed_value_is_taken_with_a_warning() -> None:
    found = checked(BASE + "packing: true\npacking_strategy: ffd\n")
    assert found.data()["packing_strategy"] == "bfd"
    assert any("called bfd" in problem.message for problem in found.warnings)


def test_a_renamed_key_whose_value_cannot_follow_is_an_error() -> None:
    found = errors(problems(BASE + "warmup_ratio: 3\n"))
    assert "no counterpart" in found[0].message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("max_length: 1\nmax_seq_length: 2\n", "say the same thing"),
        ("model_name_or_path: other\n", "say the same thing"),
        ("seed: 1\ntrainer_args: {seed: 2}\n", "written twice"),
    ],
)
def test_two_spellings_of_one_key_are_a_mistake(text: str, words: str) -> None:
    assert any(words in problem.message for problem in errors(problems(BASE + text)))


@pytest.mark.parametrize("line", ["overwrite_output_dir: true", "tokenizer: x", "adafactor: true"])
def test_a_removed_key_is_refused_with_the_reason(line: str) -> None:
    problem = only_problem(BASE + line + "\n")
    assert f"{line.split(':')[0]} no longer exists in TRL 1.16.0 with Transformers 5.23.0: " in problem.message
    assert str(problem.origin) == "config.yaml:3:1"


def test_a_key_that_the_launch_decides_is_left_out_with_a_warning() -> None:
    found = checked(BASE + "num_processes: 8\n")
    assert "num_processes" not in found.data()
    assert ["num_processes is not used" in warning.message for warning in found.warnings] == [True]


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        ('learning_rate: "1e-5"', "learning_rate", 1e-5),
        ("packing: yes", "packing", True),
        ("max_steps: 10.0", "max_steps", 10),
        ('max_steps: "1_000"', "max_steps", 1000),
        ("num_train_epochs: 3", "num_train_epochs", 3),
    ],
)
def test_values_that_are_beyond_doubt_are_brought_to_their_type(line: str, key: str, value: object) -> None:
    found = checked(BASE + line + "\n").data()[key]
    assert (found, type(found)) == (value, type(value))


def test_both_forms_may_be_mixed() -> None:
    text = "model_name_or_path: a/b\ntrainer_args: {seed: 7}\nlearning_rate: 1e-5\ndatasets: [{path: c/d}]\n"
    found = checked(text).data()
    assert found == {
        "model_name_or_path": "a/b",
        "learning_rate": 1e-5,
        "datasets": [{"path": "c/d"}],
        "seed": 7,
    }


def test_a_config_without_a_model_or_data_is_refused() -> None:
    assert errors(problems("dataset_name: owner/data\n"))
    assert errors(problems("model_name: owner/model\n"))


def test_settings_fill_in_what_the_config_does_not_say() -> None:
    keys = checked(BASE + "cpu: 4\n", settings="cpu: 8\nmemory: 16Gi\nenv: {A: b}\n").keys
    assert (keys.resources.cpu, keys.resources.memory, dict(keys.env)) == ("4", "16Gi", {"A": "b"})
    keys = checked(BASE, "memory=32Gi", settings="memory: 16Gi\n").keys
    assert keys.resources.memory == "32Gi"
