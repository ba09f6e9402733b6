"""What a file of the user's imports, and where it will be missing."""

from __future__ import annotations

import importlib.metadata
import re
import sys
from pathlib import Path

import pytest

from cw_cli.core import images
from cw_cli.core.config import parse_config
from cw_cli.core.imports import PACKAGES, checks
from cw_cli.core.problems import Problem

IMAGE = "localhost/cw-trl:1.16.0-cpu"
SOURCE = '''"""A reward."""
from __future__ import annotations
import json, yaml
from typing import TYPE_CHECKING
import sympy.parsing
try:
    import numba
except ImportError:
    numba = None
if TYPE_CHECKING:
    import pandas_stubs
import notthere

def mine(completions, **columns):
    from alsonotthere.deep import thing
    import notthere
    from cw_train import rewards
    return [0.0]
'''


def said(folder: Path, image: str | None = IMAGE, target: str = "kubernetes") -> list[Problem]:
    config = parse_config("reward: rewards.py:mine\nfolder: ./folder\n", str(folder / "config.yaml"))
    return list(checks(config, [("reward",), ("folder",)], image, target))


def test_an_image_that_lacks_a_module_is_told_at_its_line(tmp_path: Path) -> None:
    (tmp_path / "rewards.py").write_text(SOURCE)
    found = {problem.message: problem for problem in said(tmp_path)}
    assert set(found) == {
        f"rewards.py imports {module}, and {IMAGE} has no package {module}" for module in ("notthere", "alsonotthere")
    }
    first = found[f"rewards.py imports notthere, and {IMAGE} has no package notthere"]
    assert first.severity == "warning"
    assert first.origin is not None
    assert (first.origin.line, first.origin.text) == (12, "import notthere")


@pytest.mark.parametrize("image", [None, "registry.example.com/mine:1"])
def test_nothing_is_said_of_a_strangers_image(image: str | None, tmp_path: Path) -> None:
    (tmp_path / "rewards.py").write_text(SOURCE)
    assert said(tmp_path, image) == []


def test_this_python_is_asked_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rewards.py").write_text(SOURCE.replace("sympy.parsing", "pytest"))
    monkeypatch.chdir(tmp_path)
    assert sorted(problem.message.split(",")[0] for problem in said(tmp_path, target="local")) == [
        "rewards.py imports alsonotthere",
        "rewards.py imports notthere",
    ]
    (tmp_path / "notthere.py").touch()
    assert [problem.message for problem in said(tmp_path, target="local")] == [
        f"rewards.py imports alsonotthere, which this Python ({sys.executable}) lacks"
    ]


def test_a_folder_brings_its_own_modules(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)
    (folder / "__init__.py").write_text("import folder.deep\nfrom . import deep\nimport tasks\nimport notthere\n")
    (folder / "tasks.py").touch()
    (folder / "deep" / "__init__.py").write_text("import torch\nimport elsewhere\n")
    assert [problem.message.split(",")[0] for problem in said(tmp_path)] == [
        "__init__.py imports notthere",
        "__init__.py imports elsewhere",
    ]
    (folder / "__init__.py").unlink()  # a folder of data, or a model's
    assert said(tmp_path) == []


def test_what_lies_beside_a_file_stays_behind_unless_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "rewards.py").write_text("import beside\nfrom . import other\n")
    (tmp_path / "beside.py").touch()
    assert {(problem.message, problem.severity) for problem in said(tmp_path)} == {
        (f"rewards.py imports {name} from beside it, and only rewards.py is there", "error")
        for name in ("a file", "beside")
    }
    config = parse_config("reward: rewards.py\nmore: beside.py\n", str(tmp_path / "config.yaml"))
    left = [problem.message for problem in checks(config, [("reward",), ("more",)], None, "kubernetes")]
    assert left == ["rewards.py imports a file from beside it, and only rewards.py is there"]


@pytest.mark.parametrize("text", ["def broken(:", "\0", "import " + "x." * 5000 + "y\n"])
def test_a_file_that_is_no_python_is_for_others_to_judge(text: str, tmp_path: Path) -> None:
    (tmp_path / "rewards.py").write_text(text)
    assert all(problem.severity == "warning" for problem in said(tmp_path))


def test_packages_are_called_as_their_modules_or_are_in_the_table() -> None:
    """Of all that is installed here and in an image of cw's own."""
    locked = {
        name for framework in images.frameworks() for image in images.images(framework) for name in image.packages
    }
    for module, distributions in importlib.metadata.packages_distributions().items():
        packages = {re.sub(r"[-_.]+", "-", name).lower() for name in distributions}
        if module.isidentifier() and module[0] != "_" and "mypyc" not in module and packages & locked:
            assert packages & {*PACKAGES.get(module, ()), re.sub("_+", "-", module).lower()}, module
