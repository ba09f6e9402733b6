"""What the tests of the recipes share: a place to train in, and a whole run that several of them look at."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "containers")]  # for training_lab and cw_train

from rlhf_lab import RewardLab, write_model  # noqa: E402
from training_lab import Ended, Lab  # noqa: E402


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    missing = [name for name in ("torch", "trl", "datasets", "peft") if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"training needs {', '.join(missing)}: install the train extra")
    with closing(Lab(tmp_path_factory.mktemp("train"))) as made:
        yield made


@pytest.fixture(scope="session")
def full(lab: Lab) -> Ended:
    """A run from beginning to end, by a Python of its own."""
    ended = lab.train(lab.folder / "full", name="full", cold=True)
    assert ended.code == 0, ended.err
    return ended


@pytest.fixture(scope="session")
def rewards(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RewardLab]:
    """Where reinforcement learning is run; asks for `lab` so as to be skipped with it."""
    with closing(RewardLab(tmp_path_factory.mktemp("rewards"))) as made:
        made.prepare()
        yield made


@pytest.fixture(scope="session")
def tiny(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Models that a test may load, by their kind."""
    folder = tmp_path_factory.mktemp("tiny")
    return {kind: write_model(folder / kind, kind) for kind in ("llama", "gpt2")}
