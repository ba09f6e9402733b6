"""The wheel, installed where no checkout is, has all that it needs."""

from __future__ import annotations

import base64
import importlib.util
import io
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    # Without the build tool at hand, pip fetches it.
    isolation = ["--no-isolation"] if importlib.util.find_spec("hatchling") else []
    command = [sys.executable, "-m", "build", "--wheel", *isolation, "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, cwd=out, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = out.glob("*.whl")
    return found


@dataclass
class Installed:
    """An environment with the wheel and its dependencies, and an empty folder to work in."""

    bin: Path
    folder: Path

    def __call__(self, *words: str, path: str | None = None) -> str:
        environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "CW_SETTINGS")}
        environment |= {"HOME": str(self.folder), "KUBECONFIG": "/nonexistent", "XDG_CONFIG_HOME": str(self.folder)}
        environment |= {"PATH": path} if path else {}
        done = subprocess.run(
            [self.bin / "cw", *words], cwd=self.folder, env=environment, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    @property
    def site(self) -> Path:
        (found,) = self.bin.parent.glob("lib/python*/site-packages")
        return found


@pytest.fixture(scope="module")
def cw(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    place = tmp_path_factory.mktemp("installed")
    venv.create(place / "venv", symlinks=os.name == "posix")
    installed = Installed(place / "venv" / "bin", place / "work")
    installed.folder.mkdir()
    # The dependencies, but not the checkout: a path in a .pth file brings no .pth files of its own.
    (installed.site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [sys.executable, "-m", "pip", "--python", str(installed.bin / "python"), "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-index", str(wheel)], check=True, capture_output=True)
    return installed


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"cw_cli"}
    assert not [name for name in names if "__pycache__" in name or name.startswith("cw_cli/tests")]
    for needed in (
        "cw_cli/kubeconfigs/trl/sft_job.yaml",
        "cw_cli/containers/cw_train/trl_sft.py",
        "cw_cli/containers/verifiers/Containerfile",
        "cw_cli/containers/verifiers/harness/make_index.py",
        "cw_cli/examples/quickstart/model/model.safetensors",
        "cw_cli/schemas/trl.json",
        "cw_cli/schemas/trl-transformers-5.17.0.json",
        "cw_cli/schemas/cw.json",
    ):
        assert needed in names
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    assert wheel.stat().st_size < 3_000_000


def test_the_installed_package_is_the_one_that_runs(cw: Installed) -> None:
    python = [cw.bin / "python", "-c", "import cw_cli; print(cw_cli.__file__)"]
    where = subprocess.run(python, cwd=cw.folder, capture_output=True, text=True, check=True).stdout.strip()
    assert Path(where).is_relative_to(cw.site)


def test_verbs_find_what_ships(cw: Installed) -> None:
    assert cw("--version").startswith("cw ")
    assert "trl TRL" in cw("version")
    assert "learning_rate: " in cw("schema", "trl", "sft")
    assert cw("list", "-o", "json") == "[]\n"


def test_an_image_can_be_built_from_what_ships(cw: Installed) -> None:
    builder = cw.folder / "bin" / "podman"
    builder.parent.mkdir()
    # It fails unless the folder that it is given holds what goes into the image.
    builder.write_text(
        '#!/bin/sh\n[ "$1" = info ] && exit\nfor last; do :; done\ncd "$last" && [ -f cuda/torch.txt ]\n'
    )
    builder.chmod(0o755)
    assert cw("images", "build", "trl", path=str(builder.parent)) == "localhost/cw-trl:1.16.0-cuda\n"


def test_a_new_config_validates_and_renders_with_its_model_and_data(cw: Installed) -> None:
    config = cw.folder / "config.yaml"
    config.write_text(cw("init", "trl", "sft"))
    assert "cw://quickstart/model" in config.read_text()
    cw("validate", "trl", "sft", "config.yaml")
    objects = list(yaml.safe_load_all(cw("trl", "sft", "config.yaml", "--dry-run")))
    (files,) = [item for item in objects if item["metadata"]["name"].endswith("-files")]
    assert any(key.endswith("model.safetensors") for key in files["binaryData"])


def test_the_recipes_travel(cw: Installed) -> None:
    example = str(cw.site / "cw_cli" / "examples" / "quickstart" / "sft.yaml")
    objects = list(yaml.safe_load_all(cw("trl", "sft", example, "--dry-run")))
    (recipes,) = [item for item in objects if item.get("immutable")]
    packed = zipfile.ZipFile(io.BytesIO(base64.b64decode(recipes["binaryData"]["cw_train.zip"])))
    shipped = {
        path.relative_to(ROOT / "containers").as_posix() for path in (ROOT / "containers/cw_train").rglob("*.py")
    }
    assert set(packed.namelist()) == shipped
