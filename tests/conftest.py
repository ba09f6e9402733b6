"""What holds for every test."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


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
