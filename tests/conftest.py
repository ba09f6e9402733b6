"""What holds for every test."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).resolve().parents[1]
TAKES_GPUS = tuple(f"tests/cluster/test_{name}.py" for name in ("services", "training", "rlhf", "verifiers", "plugins"))
"""Modules whose runs would wait for each other's GPUs, or for names while another stops them."""


class ByModule(LoadScopeScheduling):
    """A module stays in one worker. One worker has the GPUs of the test node."""

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        return "the node's GPUs" if module in TAKES_GPUS else module


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return ByModule(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests that take longest, and mostly wait, come first."""
    items.sort(key=lambda item: item.nodeid.partition("::")[0] not in TAKES_GPUS)


def pytest_configure() -> None:
    """Signals as in a terminal: a runner in the background is started with some of them ignored, and so would be
    every program that a test starts and interrupts."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture(scope="session")
def words_of() -> Callable[[Path], list[str]]:
    """Framework and training type of an example or of a golden config: `examples/quickstart/sft.yaml` is for TRL's SFT,
    `examples/init/axolotl_dpo.yaml` and `examples/axolotl/dpo.yaml` for Axolotl's DPO. Those that say nothing are for
    TRL's SFT."""
    from cw_cli.core.registry import BUILT_IN

    def words(config: Path) -> list[str]:
        said = [config.stem.partition("_")[2], *reversed(config.stem.split("_")), config.parent.name]
        framework = next((name for name in BUILT_IN if name in said), "trl")
        return [framework, next((word for word in said if word in BUILT_IN[framework].types), "sft")]

    return words


@pytest.fixture(scope="session")
def lora_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pip has installed the example package."""
    folder = tmp_path_factory.mktemp("site")
    isolation = ["--no-build-isolation"] if importlib.util.find_spec("hatchling") else []
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", *isolation, "--target", str(folder)]
    done = subprocess.run(
        [*command, str(ROOT / "examples" / "plugin-package")], capture_output=True, text=True, timeout=250
    )
    assert done.returncode == 0, done.stderr
    return folder
