"""What a command may not import: starting fast is part of the design."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

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

ROOT = Path(__file__).resolve().parents[2]
AXOLOTL = "base_model: owner/model\nlearning_rate: 1e-4\ndatasets: [{path: owner/data, type: alpaca}]\n"
VERIFIERS = 'model = "owner/model"\n[env.taskset]\nid = "textarena"\n'

HEAVY = ("kubernetes", "pydantic", "rich", "torch", "transformers", "trl", "datasets", "numpy", "requests")


def probe(command: list[str], home: Path) -> dict[str, Any]:
    """What a command imported, printed and needed in the home of somebody who has nothing else."""
    environment = {**os.environ, "HOME": str(home), "XDG_STATE_HOME": str(home / "state")}
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *command], cwd=home, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout)
    assert seen["code"] == 0, seen["output"]
    return seen


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
        (["verifiers", "eval", "--help"], (*HEAVY, "jinja2", "yaml", "cw_cli.frameworks", "cw_cli.targets"), 40),
        (["validate", "verifiers", "eval", "eval.toml"], (*HEAVY, "jinja2", "cw_cli.frameworks.trl"), 50),
        (["verifiers", "eval", "eval.toml", "--dry-run"], (*HEAVY, "verifiers"), 60),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_command_imports_only_what_it_needs(
    command: list[str], never: tuple[str, ...], megabytes: int, tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_text(BASE)
    (tmp_path / "axolotl.yaml").write_text(AXOLOTL)
    (tmp_path / "eval.toml").write_text(VERIFIERS)
    seen = probe(command, tmp_path)
    loaded = {name for name in seen["modules"] for heavy in never if name == heavy or name.startswith(f"{heavy}.")}
    assert loaded == set()
    assert seen["mb"] < megabytes


@pytest.mark.parametrize("command", [["--help"], ["trl", "sft", "--help"], ["list"]], ids=" ".join)
def test_ten_plugins_are_not_imported_to_be_listed(command: list[str], tmp_path: Path) -> None:
    plugin = ROOT / "examples" / "plugin-folder" / "my_trl_plugin"
    for number in range(10):
        folder = tmp_path / ".cw-cli" / "plugins" / f"plugin_{number}"
        shutil.copytree(plugin, folder, ignore=shutil.ignore_patterns("__pycache__"))
        code = (folder / "__init__.py").read_text()
        (folder / "__init__.py").write_text(f"import statistics\n{code.replace('trl-plugin', f'plugin-{number}')}")
    for _ in range(2):  # the second time from what was noted at the first
        seen = probe(command, tmp_path)
        assert not {"statistics", "cw_cli.frameworks.trl", *HEAVY, "jinja2", "yaml"} & set(seen["modules"])
        assert seen["mb"] < 40
    assert command != ["--help"] or all(f"plugin-{number}" in seen["output"] for number in range(10))


def test_the_package_itself_imports_nothing_of_its_own() -> None:
    code = "import sys, cw_cli; print([name for name in sys.modules if name.startswith('cw_cli.')])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_the_library_offers_the_use_cases() -> None:
    import cw_cli

    assert all(callable(getattr(cw_cli, name)) for name in cw_cli.__all__ if name != "__version__")
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        cw_cli.nonsense  # noqa: B018
