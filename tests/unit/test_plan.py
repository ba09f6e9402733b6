"""A plan says all that a launch will do: where the output goes, which files travel, what the record holds."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from cw_cli.core.exceptions import ConfigError, TemplateError
from cw_cli.core.files import MAX_BYTES, pack_recipes
from cw_cli.core.yaml_writer import to_yaml_stream

from .lab import BASE, QUICKSTART, config_of, container_of, job_of, planned, pod_of, refused
from .static_framework import StaticFramework

LOCAL = "model_name: owner/model\ndatasets:\n  - {path: json, data_files: data.jsonl}\n"


@pytest.mark.parametrize(
    ("target", "text", "expected"),
    [
        ("kubernetes", "", "/model-checkpoints/{run}"),
        ("kubernetes", "output_dir: mine", "/model-checkpoints/mine"),
        ("kubernetes", "output_dir: ./a/../b", "/model-checkpoints/b"),
        ("kubernetes", "output_dir: /model-checkpoints/x", "/model-checkpoints/x"),
        ("kubernetes", "output_dir: /elsewhere", "/elsewhere"),
        ("kubernetes", "volumes: {model-checkpoints: null, mine: /mine}", "/mine/{run}"),
        ("kubernetes", "volumes: {model-checkpoints: null}", "/cw/output/{run}"),
        ("local", "", "/model-checkpoints/{run}"),
        ("local", "output_dir: mine", "{cwd}/mine"),
        ("local", "output_dir: ~/mine", "{home}/mine"),
        ("local", "output_dir: /abs/mine", "/abs/mine"),
    ],
)
def test_where_the_output_goes(
    target: str, text: str, expected: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plan = planned(f"{BASE}{text}\n", target=target)
    assert plan.output_dir == expected.format(run=plan.run, cwd=tmp_path, home=home)
    assert config_of(plan).get("output_dir") == plan.output_dir
    assert plan.record["output_dir"] == plan.output_dir


def test_output_on_no_volume_is_warned_about() -> None:
    (warning,) = planned(BASE + "output_dir: /elsewhere\n").warnings
    assert "is on no volume: the model is lost" in warning.message
    assert str(warning.origin) == "config.yaml:3:13"
    assert planned(BASE + "output_dir: /elsewhere\n", target="local").warnings == ()
    assert planned(BASE).warnings == ()


def test_a_volume_that_cannot_be_written_to_takes_no_output() -> None:
    plan = planned(BASE + "volumes: {model-checkpoints: null, mine: /mine:ro}\n")
    assert plan.output_dir == f"/cw/output/{plan.run}"
    assert {"name": "output", "emptyDir": {}} in pod_of(plan)["volumes"]


@pytest.mark.parametrize(
    ("text", "expected", "notes"),
    [
        ("gpu: 0\n", {"use_cpu": True, "bf16": False}, 2),
        ("gpu: 0\nuse_cpu: true\n", {"use_cpu": True, "bf16": False}, 1),
        ("use_cpu: true\nbf16: false\n", {"use_cpu": True, "bf16": False}, 0),
        ("gpu: 1\n", {"use_cpu": None, "bf16": None}, 0),
        ("", {"use_cpu": None, "bf16": None}, 0),
    ],
)
def test_a_run_without_gpus_trains_on_the_processor_and_says_so(
    text: str, expected: dict[str, Any], notes: int
) -> None:
    plan = planned(BASE + text)
    config = config_of(plan)
    assert {key: config.get(key) for key in expected} == expected
    assert len(plan.notes) == notes
    assert all("no GPU, so" in note for note in plan.notes)


@pytest.mark.parametrize(
    ("text", "gpus", "command"),
    [
        ("gpu: 0\n", 0, ["python3", "-m", "cw_train"]),
        ("gpu: 1\n", 1, ["python3", "-m", "cw_train"]),
        ("gpu: 4\n", 4, ["python3", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=4"]),
    ],
)
def test_several_gpus_train_under_torchrun(text: str, gpus: int, command: list[str]) -> None:
    plan = planned(BASE + text)
    assert container_of(plan)["command"][: len(command)] == command
    assert plan.roles[0].resources.gpu == gpus


def test_several_nodes_find_each_other() -> None:
    plan = planned(BASE + "gpu: 8\nnodes: 2\n")
    spec = job_of(plan)["spec"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 2, 2)
    (service,) = [item for item in plan.objects if item["kind"] == "Service"]
    assert service["metadata"]["name"] == f"{plan.run}-ranks" == pod_of(plan)["subdomain"]
    assert service["spec"]["clusterIP"] == "None"
    labels = spec["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert f"{plan.run}-0.{plan.run}-ranks:29500" in container_of(plan)["command"]
    assert "--nnodes=2" in container_of(plan)["command"]
    assert plan.roles[0].resources.total_gpus == 16


def test_the_container_sees_the_config_without_cws_own_keys() -> None:
    config = config_of(planned(BASE + "gpu: 2\nenv: {A: b}\nlearning_rate: 1e-5\n", "seed=7"))
    assert config.values.keys() == {"model_name_or_path", "dataset_name", "learning_rate", "seed", "output_dir"}
    assert (config.get("learning_rate"), config.get("seed")) == (1e-5, 7)


def test_a_number_in_the_config_means_the_same_in_every_reader() -> None:
    plan = planned(BASE + "learning_rate: 1e-5\nrun_name: '1e-5'\n")
    (text,) = [item["data"]["config.yaml"] for item in plan.objects if "config.yaml" in item.get("data", {})]
    assert yaml.safe_load(text)["learning_rate"] == 1e-5
    assert yaml.safe_load(text)["run_name"] == "1e-5"


def test_the_recipes_travel_in_a_map_named_by_their_content() -> None:
    plan = planned(BASE)
    (recipes,) = [item for item in plan.objects if item.get("immutable")]
    data = base64.b64decode(recipes["binaryData"]["cw_train.zip"])
    assert recipes["metadata"]["name"] == f"cw-train-{hashlib.sha256(data).hexdigest()[:12]}"
    assert "cw_train/trl_sft.py" in zipfile.ZipFile(io.BytesIO(data)).namelist()
    assert "cw.dev/run" not in recipes["metadata"]["labels"], "it belongs to all runs that use it"
    assert {"name": "PYTHONPATH", "value": "/cw/recipes/cw_train.zip"} in container_of(plan)["env"]


def test_packed_recipes_run_from_the_zip(tmp_path: Path) -> None:
    package = tmp_path / "small"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text("print('ran')")
    packed = pack_recipes(package)
    (tmp_path / "packed.zip").write_bytes(packed.data)
    command = [sys.executable, "-m", "small"]
    run = subprocess.run(command, env={"PYTHONPATH": str(tmp_path / "packed.zip")}, capture_output=True, text=True)
    assert run.stdout == "ran\n"
    for path in package.iterdir():
        path.touch()
    assert pack_recipes(package) == packed, "the same content makes the same zip"


def test_the_users_python_path_stays_behind_the_recipes() -> None:
    env = container_of(planned(BASE + "env: {PYTHONPATH: /mine}\n"))["env"]
    assert {"name": "PYTHONPATH", "value": "/cw/recipes/cw_train.zip:/mine"} in env


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n')
    return tmp_path


def source(folder: Path) -> str:
    return str(folder / "config.yaml")


def test_files_beside_the_config_travel_to_the_cluster(folder: Path) -> None:
    plan = planned(LOCAL, source=source(folder))
    assert config_of(plan).get("datasets", 0, "data_files") == "/cw/files/data.jsonl"
    (files,) = [item for item in plan.objects if item["metadata"]["name"] == f"{plan.run}-files"]
    ((key, data),) = files["binaryData"].items()
    assert base64.b64decode(data) == (folder / "data.jsonl").read_bytes()
    (volume,) = [volume for volume in pod_of(plan)["volumes"] if volume["name"] == "files"]
    assert volume["configMap"] == {"name": f"{plan.run}-files", "items": [{"key": key, "path": "data.jsonl"}]}
    assert {"name": "files", "mountPath": "/cw/files", "readOnly": True} in container_of(plan)["volumeMounts"]


def test_folders_travel_with_their_layout() -> None:
    text = f"model_name: {QUICKSTART}/model\ndataset_name: {QUICKSTART}/data\nuse_cpu: true\nbf16: false\n"
    plan = planned(text)
    (volume,) = [volume for volume in pod_of(plan)["volumes"] if volume["name"] == "files"]
    paths = {item["path"] for item in volume["configMap"]["items"]}
    assert {"data/train.jsonl", "data/test.jsonl", "model/config.json", "model/model.safetensors"} <= paths
    assert config_of(plan).get("model_name_or_path") == "/cw/files/model"


def test_two_files_of_one_name_stay_apart(folder: Path) -> None:
    (folder / "more").mkdir()
    (folder / "more" / "data.jsonl").write_text('{"text": "three"}\n')
    text = (
        "model_name: m/m\ndatasets: [{path: json, data_files: data.jsonl}, {path: json, data_files: more/data.jsonl}]\n"
    )
    plan = planned(text, source=source(folder))
    found = [item["data_files"] for item in config_of(plan).get("datasets")]
    assert found == ["/cw/files/data.jsonl", "/cw/files/2-data.jsonl"]


def test_files_stay_where_they_are_on_this_machine(folder: Path) -> None:
    plan = planned(LOCAL, source=source(folder), target="local")
    assert config_of(plan).get("datasets", 0, "data_files") == str(folder / "data.jsonl")
    assert not any(item["metadata"]["name"].endswith("-files") for item in plan.objects)


def test_a_file_that_is_too_large_to_travel_is_refused_at_its_line(folder: Path) -> None:
    (folder / "data.jsonl").write_text('{"text": "%s"}\n' % ("x" * MAX_BYTES))
    with pytest.raises(ConfigError) as raised:
        planned(LOCAL, source=source(folder))
    (problem,) = refused(raised).problems
    assert "cannot travel" in problem.message
    assert problem.origin is not None
    assert (problem.origin.line, problem.origin.column) == (3, 30)
    assert planned(LOCAL, source=source(folder), target="local")


def test_a_path_on_a_volume_belongs_to_the_cluster(folder: Path) -> None:
    text = LOCAL.replace("data.jsonl", f"{folder}/data.jsonl") + f"volumes: {{claim: {folder}}}\n"
    plan = planned(text, source=source(folder))
    assert config_of(plan).get("datasets", 0, "data_files") == f"{folder}/data.jsonl"
    assert not any(item["metadata"]["name"].endswith("-files") for item in plan.objects)


def test_the_record_tells_how_to_do_it_again() -> None:
    plan = planned(BASE + "env: {A: b}\n", "seed=7", name="try", namespace="research")
    record = plan.record
    assert {key: record[key] for key in ("run", "framework", "type", "target", "user", "name", "namespace")} == {
        "run": plan.run,
        "framework": "trl",
        "type": "sft",
        "target": "kubernetes",
        "user": "ada",
        "name": "try",
        "namespace": "research",
    }
    assert record["given"] == BASE + "env: {A: b}\n"
    assert record["overrides"] == [{"key": "seed", "text": "7", "flag": "--set seed=7"}]
    assert record["schema"].startswith("TRL ")
    assert record["digest"].startswith("sha256:")
    assert json.loads(json.dumps(record)) == record
    (config_map,) = [item for item in plan.objects if item["metadata"]["name"] == f"{plan.run}-config"]
    assert json.loads(config_map["data"]["record.json"]) == {k: v for k, v in record.items() if k != "given"}
    assert config_map["data"]["given.yaml"] == record["given"]


def test_no_secret_value_of_the_environment_is_in_a_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_do_not_tell")
    monkeypatch.setenv("WANDB_API_KEY", "wandb_do_not_tell")
    plan = planned(BASE)
    assert "do_not_tell" not in to_yaml_stream(plan.objects) + json.dumps(plan.record)


def test_the_config_comes_first_and_the_job_last() -> None:
    kinds = [item["kind"] for item in planned(BASE + "nodes: 2\n").objects]
    assert kinds == ["ConfigMap", "ConfigMap", "Service", "Job"]


def test_the_name_comes_from_the_flag_or_from_the_file() -> None:
    assert planned(BASE, source="dir/My_Run.yaml").run.startswith("cw-trl-train-sft-my-run-")
    assert planned(BASE, name="other").run.startswith("cw-trl-train-sft-other-")
    run = planned(BASE, source="sft.yaml").run
    assert len(run.removeprefix("cw-trl-train-sft-")) == 5, "the file adds nothing to the name"


def test_a_template_needs_exactly_one_trainer(tmp_path: Path) -> None:
    template = tmp_path / "job.yaml"
    template.write_text("apiVersion: batch/v1\nkind: Job\nmetadata: {name: other}\nspec: {}\n")
    with pytest.raises(TemplateError, match="hold no Job called team-train-sft"):
        planned(BASE, framework=StaticFramework(template))
    whole = (StaticFramework().templates)[0]
    with pytest.raises(TemplateError, match="hold 2 Jobs called team-train-sft"):
        planned(BASE, framework=StaticFramework(whole, whole))


def test_a_framework_has_the_last_word_on_a_config() -> None:
    with pytest.raises(ConfigError) as raised:
        planned("other: 1\n", framework=StaticFramework())
    assert "team does not accept this config" in refused(raised).problems[0].message


def test_a_framework_without_a_schema_takes_any_key() -> None:
    plan = planned(BASE + "anything: {goes: [1, 2]}\n", "whatever.deep=3", "gpu=2", framework=StaticFramework())
    assert config_of(plan).get("whatever", "deep") == 3
    assert config_of(plan).get("anything") == {"goes": [1, 2]}
    assert not config_of(plan).has("gpu")
    assert plan.roles[0].resources.gpu == 2
