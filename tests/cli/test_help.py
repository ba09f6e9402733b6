"""What there is, said briefly and everywhere, and what was probably meant."""

from __future__ import annotations

import pytest

from cw_cli.cli.main import VERBS

from .conftest import User


@pytest.mark.parametrize("words", [[], ["trl"], ["trl", "sft"], *[[verb] for verb in VERBS]], ids=" ".join)
def test_help_is_everywhere(cw: User, words: list[str]) -> None:
    short, long = cw(*words, "-h"), cw(*words, "--help")
    assert (short.code, short.err) == (0, "")
    assert short.out == long.out
    assert short.out.startswith(f"Usage: {' '.join(['cw', *words])} ")
    assert max(map(len, short.out.splitlines())) <= 110


def test_the_first_screen_names_every_command(cw: User) -> None:
    said = cw("--help").out
    assert all(f"  {verb} " in said for verb in [*VERBS, "trl"])
    assert "Traceback" not in said


def test_help_may_stand_anywhere(cw: User) -> None:
    assert cw("trl", "sft", "missing.yaml", "--learning_rate", "1", "-h").out == cw("trl", "sft", "-h").out


def test_launch_help_tells_of_keys_and_flags(cw: User) -> None:
    said = cw("trl", "sft", "-h").out
    for flag in ("--gpu", "--memory", "--nodes", "--image", "--set", "--local", "--dry-run", "--detach", "--KEY"):
        assert flag in said


def test_a_key_inside_a_block_is_explained(cw: User) -> None:
    said = cw("schema", "axolotl", "grpo", "trl.num_generations").out
    assert said.startswith("trl.num_generations: a whole number or null, default null\n    ")
    assert "    holds: path, split, type," in cw("schema", "axolotl", "sft", "datasets").out


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["lst"], "Did you mean cw list?"),
        (["trll", "sft"], "Did you mean cw trl?"),
        (["qqqqq"], "See cw --help."),
        (["schema", "tlr", "sft"], "There is trl"),
        (["schema", "trll", "sft"], "Did you mean trl?"),
        (["schema", "trl", "sfd"], "There is sft, dpo, kto, reward, distillation, grpo, rloo, rlhf."),
        (["init", "trl", "mpo"], "There is sft, dpo, kto, reward, distillation, grpo, rloo, rlhf."),
        (["schema", "trl", "sft", "learnig_rate"], "did you mean learning_rate?"),
        (["schema", "trl", "sft", "adafactor"], "optim: adafactor"),
        (["schema", "axolotl", "grpo", "trl.reward_fns"], "Did you mean reward_funcs?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_misspelt_word_is_answered_with_the_nearest(cw: User, words: list[str], hint: str) -> None:
    said = cw(*words)
    assert said.code in (1, 2)
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert hint in said.err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["list", "--al"], "--al"),
        (["logs"], "RUN"),
        (["trl", "sft"], "CONFIG"),
        (["trl", "orpo", "c.yaml"], "orpo"),
        (["version", "extra"], "extra"),
        (["wait", "x", "--timeout"], "--timeout"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_command_that_cannot_be_understood_ends_with_2(cw: User, words: list[str], sentence: str) -> None:
    said = cw(*words)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("error: ")
    assert sentence in said.err
    assert "hint: " in said.err


def test_nothing_typed_shows_the_help(cw: User) -> None:
    said = cw()
    assert "Usage: cw " in said.out + said.err


def test_a_framework_alone_shows_its_training_types(cw: User) -> None:
    said = cw("trl")
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("Usage: cw trl ")
    assert "  rlhf          Check a config for rlhf" in said.err


def test_versions(cw: User) -> None:
    import cw_cli

    assert cw("--version").out == f"cw {cw_cli.__version__}\n"
    said = cw("version").out
    assert said.startswith(f"cw {cw_cli.__version__}\npython ")
    assert "trl TRL 1.16" in said


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_for_every_shell(cw: User, shell: str) -> None:
    cw.environment["_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION"] = "1"
    said = cw("--show-completion", shell)
    assert said.code == 0
    assert "cw" in said.out


@pytest.mark.parametrize(
    ("line", "offered"),
    [("cw li", "list"), ("cw trl s", "sft"), ("cw trl sft c.yaml --learning_r", "--learning_rate")],
)
def test_words_and_keys_are_completed(cw: User, line: str, offered: str) -> None:
    cw.environment |= {
        "_CW_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split()) - 1),
    }
    import subprocess
    import sys

    program = "from cw_cli.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program], env=cw.environment, cwd=cw.home, capture_output=True, text=True, timeout=60
    )
    assert offered in done.stdout.split(), done.stderr
