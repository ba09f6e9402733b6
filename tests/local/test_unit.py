"""From manifests to what is started: paths, files, environment, command, and what is refused."""

from __future__ import annotations

import copy
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cw_cli.core.problems import Problem
from cw_cli.targets.local.environment import expand
from cw_cli.targets.local.mounts import Mounts, Places
from cw_cli.targets.local.unit import Surroundings, Unit, read_units

from .machines import config_map, job, patient

PLACES = Places(mounts="/home/ada/.local/state/cw/runs/one/mounts", volumes="/home/ada/.local/share/cw/volumes")
OWN = f"{PLACES.mounts}/trainer"
CONFIG = f"{OWN}/config"
CHECKPOINTS = f"{PLACES.volumes}/model-checkpoints"


def around(caller: Mapping[str, str] | None = None) -> Surroundings:
    return Surroundings("one", PLACES, caller or {}, "/home/ada/work")


def read(
    *objects: Mapping[str, Any], caller: Mapping[str, str] | None = None, **changes: Any
) -> tuple[Unit, list[Problem]]:
    """The unit of a plan with a config map, `objects` and a Job with `changes`."""
    plan = [config_map("one-config", {"config.yaml": "a: 1\n"}), *objects, job("one", "pass", **changes)]
    units, problems = read_units(plan, around(caller))
    return units[0], problems


def variables(*entries: dict[str, Any], caller: Mapping[str, str] | None = None) -> tuple[Mapping[str, str], list[str]]:
    unit, problems = read(container={"env": list(entries)}, caller=caller)
    return unit.env, [problem.message for problem in problems]


def test_the_job_is_taken_as_it_is() -> None:
    unit, problems = read(
        spec={"backoffLimit": 3, "activeDeadlineSeconds": 60},
        pod={"terminationGracePeriodSeconds": 120},
    )
    assert problems == []
    assert unit.role == "trainer"
    assert unit.argv == (sys.executable, "-c", "pass")
    assert unit.cwd == "/home/ada/work"
    assert unit.gpus == 0


def test_limits() -> None:
    base = job("one", "pass")
    base["spec"].update(backoffLimit=3, activeDeadlineSeconds=60)
    del base["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    base["spec"]["template"]["spec"]["containers"][0]["resources"] = {"limits": {"nvidia.com/gpu": "4", "cpu": "8"}}
    (unit,), _ = read_units([config_map("one-config", {}), base], around())
    assert (unit.retries, unit.time_limit, unit.grace, unit.gpus) == (3, 60.0, 30.0, 4)


@pytest.mark.parametrize(
    ("text", "local"),
    [
        ("output_dir: /model-checkpoints/one", f"output_dir: {CHECKPOINTS}/one"),
        ("x: '/model-checkpoints'", f"x: '{CHECKPOINTS}'"),
        ("/cw/config:/model-checkpoints", f"{CONFIG}:{CHECKPOINTS}"),
        ("open('/cw/config/config.yaml')", f"open('{CONFIG}/config.yaml')"),
        ("--out=/model-checkpoints", f"--out={CHECKPOINTS}"),
        ("file:///model-checkpoints/a", f"file://{CHECKPOINTS}/a"),
        ("/cw/configuration", "/cw/configuration"),
        ("/cw/config.yaml", "/cw/config.yaml"),
        ("/model-checkpoints-2/x", "/model-checkpoints-2/x"),
        ("/mnt/model-checkpoints", "/mnt/model-checkpoints"),
        ("./model-checkpoints", "./model-checkpoints"),
        ("$HOME/model-checkpoints", "$HOME/model-checkpoints"),
        ("${HOME}/model-checkpoints", "${HOME}/model-checkpoints"),
        ("https://host/cw/config", "https://host/cw/config"),
        ("/dev/shm/x", "/dev/shm/x"),
    ],
)
def test_paths_are_mapped_on_their_boundaries(text: str, local: str) -> None:
    unit, _ = read(container={"command": ["sh", "-c", text]})
    assert unit.argv == ("sh", "-c", local)


def test_the_longest_mount_wins_and_nothing_is_mapped_twice() -> None:
    mounts = Mounts(paths={"/a": "/x/a", "/a/b": "/a/y"})
    assert mounts.localize("/a /a/b /a/b/c /a/c") == "/x/a /a/y /a/y/c /x/a/c"


@patient
@given(st.text().filter(lambda text: "/cw" not in text and "/model" not in text and "$" not in text))
def test_hostile_text_arrives_intact(text: str) -> None:
    text = text.encode(errors="ignore").decode()
    objects = [
        config_map("one-config", {"config.yaml": text}),
        job("one", text, container={"env": [{"name": "TEXT", "value": text}]}),
    ]
    objects[1]["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] = [
        {"name": "config", "mountPath": "/cw/config"}
    ]
    (unit,), problems = read_units(objects, around())
    assert problems == []
    assert unit.argv[2] == text
    assert unit.env["TEXT"] == text
    assert [file.content.decode() for file in unit.mounts.files] == [text]


@patient
@given(
    st.sampled_from(" \"':,;=([{<>\n\t|&#"),
    st.text(),
    st.sampled_from(["", "/", "/x", " ", '"', "'", ",", "\n", ")", ":"]),
)
def test_a_mount_path_is_found_in_any_text(before: str, text: str, after: str) -> None:
    mounts = Mounts(paths={"/cw/config": "/here"})
    localized = mounts.localize(f"{before}/cw/config{after}")
    assert localized == f"{before}/here{after}"
    if "/cw/config" not in text:
        assert mounts.localize(text) == text


def test_config_maps_become_files() -> None:
    volumes = [
        {"name": "files", "configMap": {"name": "f", "items": [{"key": "k", "path": "deep/er/k.txt", "mode": 0o755}]}},
        {"name": "recipes", "configMap": {"name": "r"}},
        {"name": "scratch", "emptyDir": {}},
    ]
    mounts = [
        {"name": "files", "mountPath": "/cw/files/"},
        {"name": "recipes", "mountPath": "/cw/recipes"},
        {"name": "scratch", "mountPath": "/scratch"},
    ]
    unit, problems = read(
        config_map("f", {"k": "see /cw/files/deep", "unused": ""}),
        config_map("r", {}, {"cw_train.zip": b"PK\xff\x00/cw/files"}),
        pod={
            "volumes": volumes,
            "containers": [{"name": "t", "command": ["x", "/cw/files/deep"], "volumeMounts": mounts}],
        },
    )
    assert problems == []
    written = {file.path: (file.content, file.mode) for file in unit.mounts.files}
    assert written == {
        f"{OWN}/files/deep/er/k.txt": (f"see {OWN}/files/deep".encode(), 0o755),
        f"{OWN}/recipes/cw_train.zip": (b"PK\xff\x00/cw/files", 0o644),
    }
    assert unit.mounts.folders == tuple(f"{OWN}/{name}" for name in ("files", "recipes", "scratch"))
    assert unit.argv == ("x", f"{OWN}/files/deep")


def test_sub_paths() -> None:
    mounts = [
        {"name": "config", "mountPath": "/etc/train.yaml", "subPath": "config.yaml"},
        {"name": "model-checkpoints", "mountPath": "/out", "subPath": "team/a"},
    ]
    unit, problems = read(container={"command": ["x", "/etc/train.yaml", "/out/m"], "volumeMounts": mounts})
    assert problems == []
    assert unit.argv == ("x", f"{CONFIG}/config.yaml", f"{CHECKPOINTS}/team/a/m")
    assert unit.mounts.folders == (f"{CHECKPOINTS}/team/a",)


def test_commands() -> None:
    def argv(*words: str, args: tuple[str, ...] = ()) -> tuple[str, ...]:
        return read(container={"command": list(words), "args": list(args)})[0].argv

    torchrun = (sys.executable, "-m", "torch.distributed.run")
    assert argv("python", args=("-c", "x")) == (sys.executable, "-c", "x")
    assert argv("/usr/bin/python3.11", "x") == (sys.executable, "x")
    assert argv("torchrun", "--nproc-per-node=2", "t.py") == (*torchrun, "--standalone", "--nproc-per-node=2", "t.py")
    assert argv("torchrun", "--rdzv_backend=c10d", "t.py") == (*torchrun, "--rdzv_backend=c10d", "t.py")
    assert argv("accelerate", "launch") == ("accelerate", "launch")


def test_working_folders() -> None:
    assert read(container={"command": ["x"], "workingDir": "/workspace"})[0].cwd == "/home/ada/work"
    mounts = [{"name": "model-checkpoints", "mountPath": "/out"}]
    unit, _ = read(container={"command": ["x"], "workingDir": "/out/here", "volumeMounts": mounts})
    assert unit.cwd == f"{CHECKPOINTS}/here"
    assert unit.cwd in unit.mounts.folders


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("$(A)", "1"),
        ("$$(A)", "$(A)"),
        ("$(B)", "$(B)"),
        ("$A ${A} $", "$A ${A} $"),
        ("x$(A)y$(A)", "x1y1"),
        ("$$$(A)", "$1"),
    ],
)
def test_expansion_is_that_of_kubernetes(text: str, expanded: str) -> None:
    assert expand(text, {"A": "1"}) == expanded


def test_plain_variables() -> None:
    env, problems = variables(
        {"name": "ROOT", "value": "/cw"},
        {"name": "PATHS", "value": "$(ROOT)/config:/model-checkpoints"},
        {"name": "EMPTY"},
        {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "LABEL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['cw.dev/role']"}}},
        {"name": "KEY", "valueFrom": {"configMapKeyRef": {"name": "one-config", "key": "config.yaml"}}},
    )
    assert problems == []
    assert env == {
        "ROOT": "/cw",
        "PATHS": f"{CONFIG}:{CHECKPOINTS}",
        "EMPTY": "",
        "NAME": "one",
        "IP": "127.0.0.1",
        "LABEL": "trainer",
        "KEY": "a: 1\n",
    }


def secret(**more: Any) -> dict[str, Any]:
    return {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hf", "key": "k", **more}}}


def test_secrets_are_inherited_and_never_read() -> None:
    assert variables(secret(), caller={"HF_TOKEN": "x"}) == ({}, [])
    assert variables(secret(optional=True)) == ({}, [])
    _, problems = variables(secret())
    assert "HF_TOKEN" in problems[0] and "`hf`" in problems[0]
    _, problems = variables(secret(), {"name": "URL", "value": "https://$(HF_TOKEN)@host"}, caller={"HF_TOKEN": "x"})
    assert "$(HF_TOKEN)" in problems[0]


def without_command() -> dict[str, Any]:
    base = job("one", "pass")
    del base["spec"]["template"]["spec"]["containers"][0]["command"]
    return base


def volume(**source: Any) -> dict[str, Any]:
    return {
        "pod": {"volumes": [{"name": "config", **source}]},
        "container": {"command": ["x"], "volumeMounts": [{"name": "config", "mountPath": "/cw/config"}]},
    }


def changed(**changes: Any) -> dict[str, Any]:
    base = copy.deepcopy(job("one", "pass", container=changes.pop("container", {})))
    base["spec"]["template"]["spec"].update(changes.pop("pod", {}))
    base["spec"].update(changes.pop("spec", {}))
    return base


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        (without_command(), "names no `command`"),
        (changed(spec={"completionMode": "Indexed", "completions": 2, "parallelism": 2}), "2 nodes"),
        (changed(pod={"initContainers": [{"name": "wait"}]}), "init containers (wait)"),
        (changed(**volume(secret={"secretName": "s"})), "Secret `s`"),
        (changed(**volume(csi={})), "`config` (csi)"),
        (changed(**volume(configMap={"name": "gone"})), "`gone` is not among"),
        (changed(**volume(configMap={"name": "one-config", "items": [{"key": "no", "path": "p"}]})), "no key `no`"),
        (
            changed(**volume(configMap={"name": "one-config", "items": [{"key": "config.yaml", "path": "../p"}]})),
            "`../p` leads out",
        ),
        (changed(**volume(persistentVolumeClaim={"claimName": "../../x"})), "`../../x` is not a name"),
        (changed(container={"envFrom": [{"secretRef": {"name": "s"}}]}), "Secret `s`"),
        (changed(container={"env": [{"name": "X", "valueFrom": {"resourceFieldRef": {}}}]}), "`resourceFieldRef`"),
        ({"kind": "StatefulSet", "metadata": {"name": "reward"}}, "StatefulSet `reward` cannot run"),
    ],
)
def test_what_cannot_run_here_is_said(manifest: dict[str, Any], message: str) -> None:
    objects = [config_map("one-config", {"config.yaml": ""}), manifest]
    _, problems = read_units(objects, around())
    assert any(message in problem.message for problem in problems), problems
    assert all(re.match(r"[A-Z`].*\.$", problem.message, re.S) for problem in problems)


def test_a_home_that_would_be_misread_is_refused() -> None:
    places = Places(mounts="/home/a: b/x", volumes="/v")
    _, problems = read_units([job("one", "")], replace(around(), places=places))
    assert "XDG_STATE_HOME" in problems[0].remedy
