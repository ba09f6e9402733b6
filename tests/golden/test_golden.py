"""What each example renders to, compared with what was found right before.

Run with CW_UPDATE_GOLDEN=1 to write the files anew, and read the difference before it is committed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

WordsOf = Callable[[Path], list[str]]
HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
FILES = [*(ROOT / "examples").glob("*/*.yaml"), *(ROOT / "examples").glob("*/*.toml")]
EXAMPLES = sorted(file for file in FILES if file.name != "pyproject.toml")
OURS = sorted((HERE / "configs").glob("*.yaml"))


def name_of(config: Path) -> str:
    return f"{config.parent.name}-{config.stem}" if config in EXAMPLES else config.stem


def flags_of(config: Path) -> list[str]:
    """The flags of the command in the first line of the example's README, where it says more than where to run."""
    readme = config.parent / "README.md"
    first = readme.read_text("utf-8").splitlines()[0].strip("`") if config in EXAMPLES and readme.exists() else ""
    _, found, rest = first.partition(f"examples/{config.parent.name}/{config.name}")
    return [word for word in rest.split() if word != "--local"] if found else []


def rendered(config: Path, words: list[str], home: Path) -> str:
    command = [*words, str(config.relative_to(ROOT)), *flags_of(config), "--dry-run"]
    environment = {**os.environ, "HOME": str(home), "KUBECONFIG": str(home / "none"), "LOGNAME": "ada"}
    for name in ("CW_SETTINGS", "XDG_CONFIG_HOME"):
        environment.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-m", "cw_cli.cli.main", *command], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def steady(text: str) -> str:
    """The text without what differs from run to run, from machine to machine and from commit to commit."""
    record = json.loads(next(yaml.safe_load_all(text))["data"]["record.json"])
    text = text.replace(record["run"], f"{record['run'][:-5]}00000")
    text = re.sub(r"^(  cw_train\.zip: ).*$", r"\1<the recipes>", text, flags=re.MULTILINE)
    text = re.sub(r"(\bcw-train-|\bcw\.dev/recipes: \W?)[0-9a-f]{12}\b", r"\g<1>000000000000", text)
    text = re.sub(r"^(  [\w.-]+: )([A-Za-z0-9+/=]{60,})$", _digest, text, flags=re.MULTILINE)
    text = re.sub(r"(name: START_LIMIT\s+value: ).*", r"\1…", text)  # each run has its own
    for key in ("commit", "digest", "cw"):
        text = re.sub(rf'^(     "{key}": ).*?(,?)$', r"\1…\2", text, flags=re.MULTILINE)
    return text.replace(str(ROOT), "<project>")


def _digest(match: re.Match[str]) -> str:
    return f"{match[1]}<sha256 {hashlib.sha256(match[2].encode()).hexdigest()[:16]}>"


@pytest.mark.parametrize("config", [*EXAMPLES, *OURS], ids=name_of)
def test_an_example_renders_as_before(config: Path, words_of: WordsOf, tmp_path: Path) -> None:
    text = steady(rendered(config, words_of(config), tmp_path))
    golden = HERE / f"{name_of(config)}.yaml"
    if os.environ.get("CW_UPDATE_GOLDEN"):
        golden.write_text(text, "utf-8")
    assert golden.exists(), "no golden file yet; CW_UPDATE_GOLDEN=1 writes it"
    assert text == golden.read_text("utf-8")


@pytest.mark.parametrize("config", EXAMPLES, ids=name_of)
def test_rendering_twice_gives_the_same(config: Path, words_of: WordsOf, tmp_path: Path) -> None:
    words = words_of(config)
    assert steady(rendered(config, words, tmp_path)) == steady(rendered(config, words, tmp_path))


def test_no_golden_file_is_left_over() -> None:
    assert {file.stem for file in HERE.glob("*.yaml")} == {name_of(config) for config in [*EXAMPLES, *OURS]}
