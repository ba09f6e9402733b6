"""`cw` as a user with plugins calls it: a process of its own, in a home of its own, without a cluster."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = Path(__file__).with_name("document") / "my_trl_plugin"

PLUGIN = """
from cw_cli.core.framework import BaseTrainingFramework, TrainingType
from cw_cli.core.plugins import FrameworkPlugin
from pathlib import Path


class Framework(BaseTrainingFramework):
    def __init__(self, kubeconfig_dir):
        super().__init__("whatever", kubeconfig_dir)

    def validate_config(self, config_data, training_type):
        return True

    def prepare_config(self, config_data):
        return dict(config_data)

    def get_configmap_name(self, training_type):
        return "small-config"

    def get_job_name(self, training_type):
        return "small"

    def get_yaml_templates(self, training_type):
        return [self.kubeconfig_dir / "job.yaml"]

    def get_default_image(self):
        return "python:3"


class Plugin(FrameworkPlugin):
    name = "{name}"
    version = "1.2.3"
    description = "A small plugin."

    def get_framework_class(self):
        return Framework

    def get_supported_training_types(self):
        return [TrainingType("distill")]


def get_plugin():
    return Plugin()
"""

JOB = """
apiVersion: batch/v1
kind: Job
metadata: {name: small}
spec:
  template:
    spec:
      containers:
        - name: trainer
          command: [python3, -c, "print('trained with', open('/config/config.yaml').read())"]
          volumeMounts: [{name: config, mountPath: /config}]
      volumes: [{name: config, configMap: {name: small-config}}]
"""


@dataclass
class Said:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str


@dataclass
class User:
    """Somebody at a shell."""

    home: Path
    environment: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        kept = ("PATH", "LANG", "TMPDIR", "OMP_NUM_THREADS", "HF_HUB_OFFLINE")
        self.environment = {
            **{name: os.environ[name] for name in kept if name in os.environ},
            "HOME": str(self.home),
            "KUBECONFIG": str(self.home / "no-kubeconfig"),
            "LOGNAME": "ada",
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
        }

    @property
    def plugins(self) -> Path:
        return self.home / ".cw-cli" / "plugins"

    def __call__(self, *words: str | Path, timeout: float = 120, **environment: str) -> Said:
        """Run `cw` with these words to its end."""
        done = subprocess.run(
            [sys.executable, "-m", "cw_cli.cli.main", *map(str, words)],
            cwd=self.home,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Said(done.returncode, done.stdout, done.stderr)

    def has(self, code: str, folder: str = "small") -> Path:
        """Put a plugin with this code into the user's folder."""
        path = self.plugins / folder
        (path / "kubeconfigs").mkdir(parents=True)
        (path / "__init__.py").write_text(code)
        (path / "kubeconfigs" / "job.yaml").write_text(JOB)
        return path


def plugin(name: str = "small", *changes: tuple[str, str]) -> str:
    """The code of a plugin that works, with some of its text replaced."""
    code = PLUGIN.replace("{name}", name)
    for old, new in changes:
        assert code.count(old) == 1, old
        code = code.replace(old, new)
    return code


@pytest.fixture
def cw(tmp_path: Path) -> User:
    home = tmp_path / "home"
    home.mkdir(mode=0o755)
    (home / "config.yaml").write_text("teacher: large\ntemperature: 2\n")
    return User(home)


@pytest.fixture
def document(cw: User) -> Path:
    """A plugin like the one in the document that this project began with, where that document puts it."""
    folder = cw.plugins / "my_trl_plugin"
    shutil.copytree(DOCUMENT, folder)
    for name, text in (
        (
            "sft.yaml",
            "model_name: owner/model\ndataset_name: owner/data\ngpu: 4\ntrainer_args: {learning_rate: 2e-5}\n",
        ),
        ("rlhf.yaml", "model_name: owner/model\nreward_model: owner/reward\nppo_config: {batch_size: 16}\n"),
    ):
        (cw.home / name).write_text(text)
    return folder
