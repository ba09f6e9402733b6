"""What a command may not import: starting fast is part of the design."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .lab import BASE

PROBE = """
import json, pathlib, re, sys
from typer.testing import CliRunner
from cw_cli.cli.main import app
result = CliRunner().invoke(app, sys.argv[1:], prog_name="cw")
status = pathlib.Path("/proc/self/status")
# What getrusage tells begins with what the parent held when it forked.
memory = int(re.search(r"VmHWM:\\s+(\\d+)", status.read_text())[1]) / 1024 if status.exists() else 0
print(json.dumps({"code": result.exit_code, "output": result.output, "modules": sorted(sys.modules), "mb": memory}))
"""

AXOLOTL = "base_model: owner/model\nlearning_rate: 1e-4\ndatasets: [{path: owner/data, type: alpaca}]\n"

HEAVY = ("kubernetes", "pydantic", "rich", "torch", "transformers", "trl", "datasets", "numpy", "requests")


@pytest.mark.parametrize(
    ("command", "never", "megabytes"),
    [
        (["--help"], (*HEAVY, "jinja2", "yaml", "cw_cli.frameworks", "cw_cli.targets"), 40),
        (["trl", "--help"], (*HEAVY, "jinja2", "yaml", "cw_cli.frameworks.trl", "cw_cli.targets"), 40),
        (["trl", "sft", "--help"], (*HEAVY, "jinja2", "yaml", "cw_cli.frameworks", "cw_cli.targets"), 40),
        (["--version"], (*HEAVY, "jinja2", "yaml", "cw_cli.frameworks", "cw_cli.targets"), 40),
        (["list"], (*HEAVY, "jinja2", "yaml", "cw_cli.frameworks.trl"), 40),
        (["init", "trl", "sft"], (*HEAVY, "jinja2"), 50),
        (["schema", "trl", "sft"], (*HEAVY, "jinja2"), 50),
        (["validate", "trl", "sft", "config.yaml"], (*HEAVY, "jinja2"), 50),
        (["trl", "sft", "config.yaml", "--dry-run"], HEAVY, 60),
        (["axolotl", "--help"], (*HEAVY, "jinja2", "yaml", "cw_cli.frameworks", "cw_cli.targets"), 40),
        (["validate", "axolotl", "sft", "axolotl.yaml"], (*HEAVY, "jinja2", "cw_cli.frameworks.trl.framework"), 50),
        (["axolotl", "sft", "axolotl.yaml", "--dry-run"], HEAVY, 60),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_command_imports_only_what_it_needs(
    command: list[str], never: tuple[str, ...], megabytes: int, tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_text(BASE)
    (tmp_path / "axolotl.yaml").write_text(AXOLOTL)
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")}
    probe = subprocess.run(
        [sys.executable, "-c", PROBE, *command], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert probe.returncode == 0, probe.stderr
    seen = json.loads(probe.stdout)
    assert seen["code"] == 0, seen["output"]
    loaded = {name for name in seen["modules"] for heavy in never if name == heavy or name.startswith(f"{heavy}.")}
    assert loaded == set()
    assert seen["mb"] < megabytes


def test_the_package_itself_imports_nothing_of_its_own() -> None:
    code = "import sys, cw_cli; print([name for name in sys.modules if name.startswith('cw_cli.')])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_the_library_offers_the_use_cases() -> None:
    import cw_cli

    assert all(callable(getattr(cw_cli, name)) for name in cw_cli.__all__ if name != "__version__")
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        cw_cli.nonsense  # noqa: B018
