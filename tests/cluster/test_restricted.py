"""A namespace that enforces `restricted` Pod Security takes every object that cw makes, and its pods can work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from .clusters import ROOT, Cluster
from .conftest import Run, fresh_namespace

CONFIGS = sorted([*(ROOT / "examples").glob("*/*.yaml"), *(ROOT / "tests" / "golden" / "configs").glob("*.yaml")])
SHELL = "busybox:1.36"


ENFORCED = "pod-security.kubernetes.io/enforce=restricted"


@pytest.fixture
def restricted(cluster: Cluster, namespace: str) -> str:
    cluster.kubectl("label", "namespace", namespace, ENFORCED)
    return namespace


@pytest.fixture(scope="module")
def asked(cluster: Cluster) -> Iterator[str]:
    """A namespace in which nothing is made: the API server is only asked what it would say."""
    with fresh_namespace(cluster) as name:
        cluster.kubectl("label", "namespace", name, ENFORCED)
        yield name


@pytest.mark.parametrize("flags", [(), ("--nodes", "2", "--gpu", "8", "--queue", "team")], ids=["plain", "nodes"])
@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_object_is_accepted(
    cluster: Cluster,
    asked: str,
    words_of: Callable[[Path], list[str]],
    tmp_path: Path,
    config: Path,
    flags: tuple[str, ...],
) -> None:
    words = words_of(config)
    if flags and words == ["axolotl", "grpo"]:  # so many processes need so many completions for whole groups
        flags = (*flags, "--gradient_accumulation_steps", "8")
    if flags and words[0] == "verifiers":  # one process, or what its own config says
        flags = ("--queue", "team")
    command = [*words, str(config), "--namespace", asked, "--image", SHELL, "--dry-run", *flags]
    around = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "KUBECONFIG": str(cluster.kubeconfig),
        "USER": "tester",
    }
    program = [sys.executable, "-m", "cw_cli.cli.main", *command]
    shown = subprocess.run(program, env=around, capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
    would(cluster, asked, "apply", "--server-side", objects=shown.stdout)
    # A Job is taken whatever its pods are; only a pod of its own is refused.
    templates = [
        item["spec"]["template"] for item in yaml.safe_load_all(shown.stdout) if "template" in item.get("spec", {})
    ]
    assert templates
    would(cluster, asked, "create", objects="---\n".join(json.dumps(pod_of(template)) for template in templates))


def would(cluster: Cluster, namespace: str, *verb: str, objects: str) -> None:
    """Whether the API server would take these objects."""
    cluster.kubectl("--namespace", namespace, *verb, "--dry-run=server", "-f", "-", stdin=objects)


def pod_of(template: dict[str, Any]) -> dict[str, Any]:
    """One pod of a workload. Priority classes are the cluster's; this one has not those of the examples."""
    spec = {key: value for key, value in template["spec"].items() if key != "priorityClassName"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe"}, "spec": spec}


def test_the_probe_is_refused_without_the_defaults(cluster: Cluster, asked: str) -> None:
    template = {"spec": {"containers": [{"name": "trainer", "image": SHELL}]}}
    with pytest.raises(AssertionError, match="violates PodSecurity"):
        would(cluster, asked, "create", objects=json.dumps(pod_of(template)))


def config_with(tmp_path: Path, script: str, more: str = "") -> Path:
    """A config whose trainer runs a shell script instead, where the training would run."""
    path = tmp_path / "shell.yaml"
    container = {"name": "trainer", "command": ["sh", "-ec", script]}
    keys = {"pod": {"containers": [container]}, "volumes": {"model-checkpoints": None}}
    path.write_text(f"model_name_or_path: model\ndataset_name: data\n{yaml.safe_dump(keys)}{more}", encoding="utf-8")
    return path


SCRIPT = """
id -u; id -g
echo "$USER $LOGNAME $HOME $(pwd)"
mkdir -p "$HF_HOME" "$TRITON_CACHE_DIR" "$TORCHINDUCTOR_CACHE_DIR" "$MPLCONFIGDIR" "$XDG_CACHE_HOME"
touch "$HOME/file" "$TMPDIR/file" /cw/output/file
if touch /file 2>/dev/null; then echo "the root file system can be written to"; fi
if [ -e /var/run/secrets/kubernetes.io ]; then echo "there is a token"; fi
grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status
"""


def test_a_pod_can_write_where_programs_do_and_nowhere_else(
    restricted: str, cw: Callable[..., Run], tmp_path: Path
) -> None:
    config = config_with(tmp_path, SCRIPT)
    launched = cw(
        "trl", "sft", str(config), "--gpu", "0", "--cpu", "100m", "--memory", "64Mi", "--image", SHELL, "-o", "name"
    )
    assert launched.code == 0, launched.err
    run = launched.out.strip()
    ended = cw("wait", run)
    said = cw("logs", run).out.split("\n")
    assert ended.code == 0, said
    assert said[:3] == ["1000", "1000", "cw cw /cw/home /cw/home"]
    facts = dict(line.split(":\t") for line in said[3:] if line)
    assert facts == {"CapBnd": "0" * 16, "CapEff": "0" * 16, "NoNewPrivs": "1", "Seccomp": "2"}


def test_the_users_word_on_security_is_the_last(restricted: str, cw: Callable[..., Run], tmp_path: Path) -> None:
    config = config_with(tmp_path, "id -u", "gpu: 0\n")
    text = config.read_text("utf-8").replace("pod:\n", "pod:\n  securityContext: {runAsUser: 4321}\n")
    config.write_text(text, encoding="utf-8")
    run = cw("trl", "sft", str(config), "--cpu", "100m", "--memory", "64Mi", "--image", SHELL, "-o", "name").out.strip()
    assert cw("wait", run).code == 0
    assert cw("logs", run).out.strip() == "4321"
