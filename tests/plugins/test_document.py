"""A plugin like that of the document that this project began with works unchanged and gets what built-in ones have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from .conftest import User


def objects(out: str) -> list[dict[str, Any]]:
    return [item for item in yaml.safe_load_all(out) if item]


def the(kind: str, found: list[dict[str, Any]]) -> dict[str, Any]:
    return next(item for item in found if item["kind"] == kind)


def container(found: list[dict[str, Any]]) -> dict[str, Any]:
    return the("Job", found)["spec"]["template"]["spec"]["containers"][0]


def test_the_command_is_the_plugins_name(cw: User, document: Path) -> None:
    listed = cw("--help").out
    assert "trl-plugin TYPE CONFIG" in listed and "TRL, from outside." in listed
    assert {"sft", "grpo"} <= set(cw("trl-plugin", "--help").out.split())
    assert "there is no command my_trl_plugin" in cw("my_trl_plugin", "sft", "sft.yaml").err


def test_a_dry_run_has_names_labels_flags_and_a_record(cw: User, document: Path) -> None:
    done = cw("trl-plugin", "sft", "sft.yaml", "--gpu", "2", "--name", "mine", "--dry-run")
    assert done.code == 0, done.err
    found = objects(done.out)
    run = the("Job", found)["metadata"]["name"]
    assert run.startswith("cw-trl-train-sft-mine-")
    labels = the("Job", found)["metadata"]["labels"]
    assert (
        labels["cw.dev/framework"] == "trl-plugin" and labels["cw.dev/type"] == "sft" and labels["app"] == "trl-train"
    )
    assert container(found)["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert container(found)["resources"]["limits"]["memory"] == "1600Gi"
    volumes = the("Job", found)["spec"]["template"]["spec"]["volumes"]
    assert {"name": "config-volume", "configMap": {"name": f"{run}-config"}} in volumes
    config_map = the("ConfigMap", found)
    assert yaml.safe_load(config_map["data"]["config.yaml"])["trainer_args"] == {"learning_rate": 2e-5}
    assert "gpu" not in yaml.safe_load(config_map["data"]["config.yaml"])
    record = json.loads(config_map["data"]["record.json"])
    assert record["framework"] == "trl-plugin" and record["plugin"] == "trl-plugin 1.0.0"


def test_cw_owns_the_time_that_a_finished_job_stays(cw: User, document: Path) -> None:
    job = the("Job", objects(cw("trl-plugin", "sft", "sft.yaml", "--dry-run").out))
    assert job["spec"]["ttlSecondsAfterFinished"] == 7 * 24 * 3600


def test_a_key_that_is_written_twice_is_a_warning_with_its_line(cw: User, document: Path) -> None:
    said = cw("trl-plugin", "sft", "sft.yaml", "--dry-run").err
    template = document / "kubeconfigs" / "trl" / "sft_job.yaml"
    last = len(template.read_text().splitlines())
    assert f"{template}:{last}:3: warning: backoffLimit is written twice, first in line 9" in said


def test_two_runs_share_no_name_and_every_reference_follows(cw: User, document: Path) -> None:
    first, second = (objects(cw("trl-plugin", "grpo", "rlhf.yaml", "--dry-run").out) for _ in range(2))
    own = ([item for item in found if "cw.dev/run" in item["metadata"]["labels"]] for found in (first, second))
    names = [{(item["kind"], item["metadata"]["name"]) for item in found} for found in own]
    assert not names[0] & names[1]
    for found in (first, second):
        names_of_services = (item["metadata"]["name"] for item in found if item["kind"] == "Service")
        service = next(name for name in names_of_services if name.endswith("-service"))
        job = next(item for item in found if item["metadata"]["labels"].get("cw.dev/role") == "trainer")
        pod = job["spec"]["template"]["spec"]
        address = {entry["name"]: entry.get("value") for entry in pod["containers"][0]["env"]}["REWARD_MODEL_URL"]
        assert address == f"http://{service}:8000"
        waits = [text for init in pod["initContainers"] for text in init["command"]]
        assert any(f"nc -zv {service} 8000" in text for text in waits)
        assert the("ConfigMap", found)["metadata"]["name"] == job["metadata"]["name"] + "-config"
    assert "cw-trl-reward-model-service" not in str(first)


def test_it_runs_here_and_answers_to_every_verb(cw: User, document: Path) -> None:
    done = cw("trl-plugin", "sft", "sft.yaml", "--local", "--gpu", "0", "--name", "here")
    assert done.code == 2 and "WANDB_API_KEY" in done.err
    done = cw("trl-plugin", "sft", "sft.yaml", "--local", "--gpu", "0", "--name", "here", WANDB_API_KEY="x")
    assert done.code == 0, done.err
    assert "trained owner/model" in cw("logs", "here").out
    (row,) = json.loads(cw("list", "-o", "json").out)
    assert row["state"] == "Succeeded" and row["framework"] == "trl-plugin"
    assert cw("why", "here").code == 0 and cw("describe", "here").code == 0
    (seen,) = cw.home.glob(".local/share/cw/volumes/model-checkpoints/*/seen.yaml")
    assert yaml.safe_load(seen.read_text())["model_name"] == "owner/model"
    again = cw("rerun", "here", "--name", "again", WANDB_API_KEY="x")
    assert again.code == 0 and "trained owner/model" in cw("logs", "again").out


def test_a_config_that_the_plugin_refuses_is_a_sentence_with_its_name(cw: User, document: Path) -> None:
    (cw.home / "bad.yaml").write_text("model_name: owner/model\n")
    done = cw("trl-plugin", "sft", "bad.yaml", "--dry-run")
    assert done.code == 2
    assert "bad.yaml: the plugin trl-plugin 1.0.0 does not accept this config for sft" in done.err


def test_unknown_keys_are_the_plugins_own_business(cw: User, document: Path) -> None:
    (cw.home / "more.yaml").write_text("model_name: a/b\ndataset_name: a/c\nnobody_knows: 1\n")
    found = objects(cw("trl-plugin", "sft", "more.yaml", "--something_else", "2", "--dry-run").out)
    config = yaml.safe_load(the("ConfigMap", found)["data"]["config.yaml"])
    assert config["nobody_knows"] == 1 and config["something_else"] == 2


def test_without_templates_of_its_own_it_gets_those_that_ship(cw: User) -> None:
    code = "print(self.kubeconfig_dir.joinpath('trl', 'sft_job.yaml').is_file())"
    from .conftest import plugin

    cw.has(
        plugin(
            "small", ('super().__init__("whatever", kubeconfig_dir)', f"super().__init__('x', kubeconfig_dir); {code}")
        )
    )
    assert "False" in cw("small", "distill", "config.yaml", "--dry-run").err
    for file in (cw.plugins / "small" / "kubeconfigs").iterdir():
        file.unlink()
    (cw.plugins / "small" / "kubeconfigs").rmdir()
    assert "True" in cw("small", "distill", "config.yaml", "--dry-run").err
