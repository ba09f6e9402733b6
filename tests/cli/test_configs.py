"""From a config to Kubernetes objects on stdout, or to every mistake at once, without touching anything."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client

from cw_cli.frameworks.trl.framework import TRLFramework

from .conftest import Said, User

SEED = """\
# Example TRL SFT config (trl_sft_config.yaml)
model_name: "microsoft/DialoGPT-medium"
dataset_name: "imdb"
output_dir: "/model-checkpoints/trl-sft-dialo"

# TRL-specific training arguments
trainer_args:
  learning_rate: 2e-5
  num_train_epochs: 3
  per_device_train_batch_size: 4
  gradient_accumulation_steps: 8
  warmup_steps: 100
  logging_steps: 10
  save_steps: 500
  max_seq_length: 512

# Resource overrides (optional)
gpu: 4
cpu: "32"
memory: "500Gi"
image: "huggingface/transformers-pytorch-gpu:4.21.0"
"""
"""The config of the project's first description, word for word."""

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
MODELS = {"Job": "V1Job", "ConfigMap": "V1ConfigMap", "Service": "V1Service"}


@pytest.fixture
def seed(cw: User) -> Path:
    file = cw.home / "trl_sft_config.yaml"
    file.write_text(SEED)
    return file


def objects(said: Said) -> list[dict[str, Any]]:
    assert said.code == 0, said.err
    return list(yaml.safe_load_all(said.out))


def test_the_first_example_validates_with_one_warning(cw: User, seed: Path) -> None:
    said = cw("validate", "trl", "sft", seed.name)
    assert (said.code, said.out) == (0, "")
    assert said.err.splitlines() == [
        f"{seed.name}:15:3: warning: max_seq_length is called max_length in TRL 1.16.0 with Transformers 5.23.0",
        "  15 |   max_seq_length: 512",
        "         ^",
        "      → taken as max_length; write that",
        f"valid: {seed.name} fits TRL 1.16.0 with Transformers 5.23.0; "
        "what huggingface/transformers-pytorch-gpu:4.21.0 holds is not known",
    ]


def test_a_config_that_comes_alone_is_taken_for_what_it_looks_like(cw: User, seed: Path) -> None:
    said = cw("validate", seed.name, "--learning_rate", "1e-5")
    assert said.code == 0, said.err
    assert said.err.startswith(f"taken: {seed.name} for one of `cw trl sft`")
    assert "learning_rat is not a key of TRL" in cw("validate", seed.name, "--learning_rat", "1").err
    assert cw("validate", "nowhere.yaml").err.startswith("error: nowhere.yaml does not exist\n")
    assert "Write trl sft config.yaml, or config.yaml alone." in cw("validate", "trl", seed.name).err


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("trl", "ppo"), "TRL removed PPO in 1.13. cw has a PPO of its own: cw trl rlhf CONFIG."),
        (("trl", "orpo"), "cw axolotl orpo CONFIG"),
        (("axolotl", "ppo"), "cw trl rlhf"),
        (("verifiers", "rl"), "cw verifiers grpo CONFIG"),
        (("trl", "sfft"), "Did you mean sft?"),
        (("trl", "nothing"), "There is sft, dpo, kto, reward, distillation, grpo, rloo, rlhf."),
    ],
)
def test_a_training_type_that_is_not_there_says_where_to_look(cw: User, words: tuple[str, str], hint: str) -> None:
    for verb in ((), ("validate",)):
        said = cw(*verb, *words, "config.yaml")
        assert said.code == 2
        assert said.err.startswith(f"error: {words[0]} has no training type {words[1]}\nhint: ")
        assert hint in said.err


def test_a_config_is_checked_against_what_the_chosen_image_holds(cw: User) -> None:
    text = "model_name: owner/model\ndataset_name: owner/data\nactivation_checkpointing: true\n"
    (cw.home / "config.yaml").write_text(text)
    validate = ("validate", "trl", "sft", "config.yaml")
    newest = cw(*validate)
    assert newest.err == "valid: config.yaml fits TRL 1.16.0 with Transformers 5.23.0\n"
    assert cw(*validate, "--image", "localhost/cw-trl:1.16.0-cuda").err == newest.err
    with_vllm = ("--image", "registry.example.com/team/cw-trl:7-vllm")
    older = cw(*validate, *with_vllm).err.splitlines()
    pair = "TRL 1.16.0 with Transformers 5.17.0"
    assert older[0].endswith(f"activation_checkpointing is called gradient_checkpointing in {pair}")
    assert older[-1] == f"valid: config.yaml fits {pair}"
    wrong = cw(*validate, *with_vllm, "--learning_rat", "1")
    assert f"learning_rat is not a key of {pair}" in wrong.err
    assert wrong.err.endswith(f"error: config.yaml has 1 mistake (checked against {pair}); nothing was started\n")
    (cw.home / "config.yaml").write_text(text + f"image: {with_vllm[1]}\n")
    assert cw(*validate).err.splitlines()[-1] == older[-1]
    planned = cw("trl", "sft", "config.yaml", "--dry-run")
    assert f"  fits     {pair}\n" in planned.err
    assert "gradient_checkpointing: true" in planned.out


def test_what_a_strangers_image_holds_is_said_to_be_unknown_once(cw: User) -> None:
    (cw.home / "config.yaml").write_text("model_name: owner/model\ndataset_name: owner/data\n")
    for words in (["validate", "trl", "sft", "config.yaml"], ["trl", "sft", "config.yaml", "--dry-run"]):
        said = cw(*words, "--image", "stranger/trainer:1")
        assert said.code == 0
        assert said.err.count("what stranger/trainer:1 holds is not known") == 1
        assert "fits" in said.err
        assert "TRL 1.16.0 with Transformers 5.23.0" in said.err
        assert "not known" not in cw(*words, "--image", "huggingface/trl:1.16.0").err


@pytest.mark.parametrize(
    ("key", "lines"),
    [
        (
            "activation_checkpointing",
            [
                "of TRL 1.16.0 with Transformers 5.23.0",
                "called gradient_checkpointing in TRL 1.16.0 with Transformers 5.17.0, as in "
                "localhost/cw-trl:1.16.0-vllm",
            ],
        ),
        (
            "learning_rate",
            [
                "of TRL 1.16.0 with Transformers 5.23.0",
                "and of TRL 1.16.0 with Transformers 5.17.0, as in localhost/cw-trl:1.16.0-vllm",
            ],
        ),
    ],
)
def test_a_key_says_what_it_is_of(cw: User, key: str, lines: list[str]) -> None:
    shown = [line.strip() for line in cw("schema", "trl", "grpo", key).out.splitlines()]
    assert shown[-2:] == lines


def test_the_first_example_renders(cw: User, seed: Path) -> None:
    found = objects(cw("trl", "sft", seed.name, "--dry-run"))
    job = found[-1]
    main = job["spec"]["template"]["spec"]["containers"][0]
    assert main["image"] == "huggingface/transformers-pytorch-gpu:4.21.0"
    assert main["resources"]["limits"] == {"nvidia.com/gpu": "4", "cpu": "32", "memory": "500Gi"}
    assert "--nproc-per-node=4" in main["command"]
    config = yaml.safe_load(found[0]["data"]["config.yaml"])
    assert config == {
        "model_name_or_path": "microsoft/DialoGPT-medium",
        "dataset_name": "imdb",
        "output_dir": "/model-checkpoints/trl-sft-dialo",
        "learning_rate": 2e-5,
        "num_train_epochs": 3,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 8,
        "warmup_steps": 100,
        "logging_steps": 10,
        "save_steps": 500,
        "max_length": 512,
    }
    assert found[0]["data"]["given.yaml"] == SEED


def test_the_line_that_users_type(cw: User, seed: Path) -> None:
    found = objects(cw("trl", "sft", seed.name, "--gpu", "8", "--learning_rate", "1e-5", "--nodes=2", "--dry-run"))
    assert yaml.safe_load(found[0]["data"]["config.yaml"])["learning_rate"] == 1e-5
    assert found[-1]["spec"]["completions"] == 2
    assert found[-1]["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "8"


@pytest.mark.parametrize(
    "flags", [[], ["--nodes", "2"], ["--gpu", "H100:8", "--queue", "team", "--pull"]], ids=" ".join
)
def test_the_objects_are_what_kubernetes_knows(cw: User, seed: Path, flags: list[str]) -> None:
    """Every field survives the client's own models, so none is misspelt or misplaced."""
    api = client.ApiClient(client.Configuration())
    for item in objects(cw("trl", "sft", seed.name, "--dry-run", *flags)):
        model = api.deserialize(json.dumps(item), MODELS[item["kind"]], "application/json")
        assert without_nulls(api.sanitize_for_serialization(model)) == without_nulls(item)
        assert item["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "cw"


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def test_a_dry_run_prints_data_on_stdout_and_talks_on_stderr(cw: User, seed: Path) -> None:
    said = cw("trl", "sft", seed.name, "--dry-run")
    assert said.out.startswith("apiVersion: v1\n")
    assert "would run" not in said.out
    assert "would run" in said.err
    assert "4 GPUs, 32 cores, 500Gi" in said.err
    assert "objects  2 ConfigMap, 1 Job" in said.err


def test_formats(cw: User, seed: Path) -> None:
    listed = json.loads(cw("trl", "sft", seed.name, "--dry-run", "-o", "json").out)
    assert (listed["kind"], [item["kind"] for item in listed["items"]]) == ("List", ["ConfigMap", "ConfigMap", "Job"])
    names = cw("trl", "sft", seed.name, "--dry-run", "-o", "name").out.split()
    assert [name.split("/")[0] for name in names] == ["configmap", "configmap", "job"]
    said = cw("trl", "sft", seed.name, "--dry-run", "-o", "xml")
    assert (said.code, said.out) == (2, "")
    assert "-o json" in said.err


def test_names_differ_from_launch_to_launch(cw: User, seed: Path) -> None:
    first, second = (cw("trl", "sft", seed.name, "--dry-run", "-o", "name").out.split()[-1] for _ in range(2))
    assert first != second
    assert first.startswith("job/cw-trl-train-sft-trl-sft-config-")
    assert (
        cw("trl", "sft", seed.name, "--dry-run", "-o", "name", "--name", "Try 7!")
        .out.split()[-1]
        .startswith("job/cw-trl-train-sft-try-7-")
    )


@pytest.mark.skipif(os.name != "posix", reason="needs permissions as POSIX has them")
def test_a_dry_run_touches_nothing(cw: User, seed: Path) -> None:
    before = sorted(cw.home.rglob("*"))
    cw.environment["HOME"] = "/nonexistent"
    cw.environment["KUBECONFIG"] = "/nonexistent/kubeconfig"
    said = cw("trl", "sft", seed.name, "--dry-run")
    assert said.code == 0
    assert sorted(cw.home.rglob("*")) == before


def test_a_dry_run_needs_no_network(cw: User, seed: Path) -> None:
    inside = ["unshare", "-n", "--"]
    if shutil.which("unshare") is None or subprocess.run([*inside, "true"], capture_output=True).returncode:
        pytest.skip("this machine does not let a process leave the network")
    command = [*inside, *cw.command("trl", "sft", seed.name, "--dry-run")]
    done = subprocess.run(command, cwd=cw.home, env=cw.environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_a_dry_run_opens_no_socket_and_writes_no_file(cw: User, seed: Path) -> None:
    """Python tells what it opens; writing, connecting and starting processes would all be told."""
    program = """
import os, sys
def audit(event, args):
    writes = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    asks = event in ("socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.fork")
    if writes or asks or event in ("os.mkdir", "os.rename", "os.remove"):
        if not str(args[0]).endswith(".pyc") and "__pycache__" not in str(args[0]):
            sys.stderr.write(f"AUDIT {event} {args}\\n")
sys.addaudithook(audit)
from cw_cli.cli.main import main
main()
"""
    command = [*cw.command()[:1], "-c", program, "trl", "sft", seed.name, "--dry-run"]
    for _ in range(2):  # what the first command finds out about plugins is kept in the cache
        done = subprocess.run(command, cwd=cw.home, env=cw.environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0
    assert "AUDIT" not in done.stderr


def test_every_mistake_at_once_with_its_line(cw: User) -> None:
    (cw.home / "bad.yaml").write_text(
        "model_name: owner/model\ndataset_name: owner/data\nlearning_rat: 1e-5\ngpu: -1\nmemory: 500GB\n"
        "trainer_args:\n  max_steps: many\n"
    )
    said = cw("trl", "sft", "bad.yaml", "--dry-run", "--seed", "x", "--gpus", "4")
    assert (said.code, said.out) == (2, "")
    shown = said.err.splitlines()
    assert shown[:4] == [
        "bad.yaml:3:1: learning_rat is not a key of TRL 1.16.0 with Transformers 5.23.0",
        "   3 | learning_rat: 1e-5",
        "       ^",
        "      → did you mean learning_rate?",
    ]
    places = [line.split(": ")[0] for line in shown if line.startswith(("bad.yaml:", "--"))]
    assert places[:4] == ["bad.yaml:3:1", "bad.yaml:4:6", "bad.yaml:5:9", "bad.yaml:7:14"]
    assert sorted(places[4:]) == ["--gpus 4", "--seed x"]
    assert "      → write 500Gi" in shown
    assert "      → did you mean gpu?" in shown
    against = "checked against TRL 1.16.0 with Transformers 5.23.0"
    assert shown[-1] == f"error: bad.yaml has 6 mistakes ({against}); nothing was started"
    assert cw("list", "-o", "name").out == ""


def test_the_mark_stands_under_the_place_in_long_lines(cw: User) -> None:
    (cw.home / "long.yaml").write_text("env: {" + "".join(f"A{n}: 1, " for n in range(40)) + "A7: 2}\n")
    head, line, mark, *_ = cw("validate", "trl", "sft", "long.yaml").err.splitlines()
    assert "'A7' is written twice" in head
    assert line[mark.index("^") :] == "A7: 2}"
    assert len(line) < 110


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\x00\x01\x02", "is a binary file"),
        (b"- a\n", "the file holds a list"),
        (b"a: caf\xe9\n", "not UTF-8 text"),
        (b"a: 1\n" * 1_000_000, "larger than 1 MiB"),
        (b"a: 1\na: 2\n", "'a' is written twice, first in line 1"),
        (b"a: b: c\n", "a second `: ` on one line"),
        (b"[" * 100_000, "levels of nesting"),
    ],
    ids=["empty", "binary", "list", "latin-1", "5MB", "duplicate", "colons", "deep"],
)
def test_files_that_are_no_config(cw: User, content: bytes, words: str) -> None:
    (cw.home / "odd.yaml").write_bytes(content)
    said = cw("trl", "sft", "odd.yaml", "--local")
    assert (said.code, said.out) == (2, "")
    assert words in said.err
    assert "error: odd.yaml" in said.err


@pytest.mark.parametrize("name", ["missing.yaml", ".", "x" * 300])
def test_paths_that_are_no_config(cw: User, name: str) -> None:
    said = cw("trl", "sft", name, "--dry-run")
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("error: ")


def test_a_config_that_may_not_be_read(cw: User, seed: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    seed.chmod(0)
    said = cw("validate", "trl", "sft", seed.name)
    assert said.code == 2
    assert "cannot be read" in said.err


@pytest.mark.parametrize("training_type", TRLFramework(EXAMPLES).get_training_types())
def test_init_makes_a_config_that_validates_and_renders(cw: User, training_type: str) -> None:
    made = cw("init", "trl", training_type)
    assert made.code == 0
    assert made.err == f"hint: Write it to a file and run it: cw trl {training_type} config.yaml --local\n"
    assert made.out.startswith("#")
    assert f"cw schema trl {training_type}\n" in made.out
    (cw.home / "config.yaml").write_text(made.out)
    checked = cw("validate", "trl", training_type, "config.yaml")
    assert (checked.code, "warning" in checked.err) == (0, False), checked.err
    rendered = objects(cw("trl", training_type, "config.yaml", "--dry-run"))
    (trainer,) = [item for item in rendered if item["kind"] == "Job" and "guard" not in item["metadata"]["name"]]
    command = trainer["spec"]["template"]["spec"]["containers"][0]["command"]
    assert f"trl_{training_type}" in command


def test_the_schema_is_one_that_editors_take(cw: User) -> None:
    schema = json.loads(cw("schema", "trl", "sft", "--json").out)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert (schema["type"], schema["additionalProperties"]) == ("object", False)
    types = {"string", "integer", "number", "boolean", "array", "object", "null"}
    for name, spec in walk(schema["properties"]):
        given = spec.get("type", [])
        assert set([given] if isinstance(given, str) else given) <= types, name
        assert isinstance(spec.get("description", ""), str)
        assert isinstance(spec.get("enum", [None]), list)
    assert len(schema["properties"]) > 150
    assert schema["properties"]["learning_rate"]["type"] == "number"
    assert schema["properties"]["model_name"]["description"] == "The same as model_name_or_path."
    assert schema["properties"]["max_seq_length"]["deprecated"] is True
    assert "learning_rat" not in schema["properties"]


def walk(properties: dict[str, Any]) -> Any:
    for name, spec in properties.items():
        yield name, spec
        yield from walk(spec.get("properties", {}))


SFT = [EXAMPLES / "quickstart" / "sft.yaml", EXAMPLES / "init" / "trl_sft.yaml"]


@pytest.mark.parametrize("file", SFT, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_the_schema_knows_every_key_of_the_examples(cw: User, file: Path) -> None:
    properties = json.loads(cw("schema", "trl", "sft", "--json").out)["properties"]
    assert set(yaml.safe_load(file.read_text())) <= set(properties)


def test_the_schema_knows_every_key_of_the_first_example(cw: User) -> None:
    properties = json.loads(cw("schema", "trl", "sft", "--json").out)["properties"]
    config = yaml.safe_load(SEED)
    assert set(config) <= set(properties)
    assert set(config["trainer_args"]) <= set(properties["trainer_args"]["properties"])


def test_the_schema_in_words(cw: User) -> None:
    whole = cw("schema", "trl", "sft").out
    assert "\ngpu: " in whole
    assert "\nlearning_rate: a number, default 2e-05\n" in whole
    one = cw("schema", "trl", "sft", "lr_scheduler_type").out
    assert "one of: " in one
    assert "cosine" in one
    assert cw("schema", "trl", "sft", "max_seq_length").out.startswith("max_length: ")


def test_settings_are_shown_with_where_they_come_from(cw: User) -> None:
    said = cw("config")
    assert said.code == 0
    assert f"{cw.home}/settings/cw/settings.yaml (not there yet" in said.out
    file = cw.home / "settings/cw/settings.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("namespace: research\nmemory: 32Gi\n")
    shown = json.loads(cw("config", "-o", "json").out)
    assert shown["path"] == str(file)
    assert shown["values"]["memory"] == {"value": "32Gi", "from": f"{file}:2:9"}
    file.write_text("namespac: research\n")
    said = cw("config")
    assert said.code == 2
    assert f"{file}:1:1: " in said.err
    assert "did you mean namespace?" in said.err


def test_settings_reach_the_objects(cw: User, seed: Path) -> None:
    file = cw.home / "settings/cw/settings.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("namespace: research\nlabels: {team: vision}\n")
    found = objects(cw("trl", "sft", seed.name, "--dry-run"))
    assert {item["metadata"]["namespace"] for item in found} == {"research"}
    assert found[-1]["metadata"]["labels"]["team"] == "vision"
    found = objects(cw("trl", "sft", seed.name, "--dry-run", "-n", "other"))
    assert {item["metadata"]["namespace"] for item in found} == {"other"}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--set", "seed"], "is not KEY=VALUE"),
        (["--set", "=1"], "is not KEY=VALUE"),
        (["--dry-run=never"], "not possible"),
    ],
)
def test_flags_that_make_no_sense(cw: User, seed: Path, words: list[str], sentence: str) -> None:
    said = cw("trl", "sft", seed.name, "--dry-run", *words)
    assert (said.code, said.out) == (2, "")
    assert sentence in said.err


def test_a_kubeconfig_that_names_no_cluster_is_told_with_a_hint(cw: User, seed: Path) -> None:
    (cw.home / "no-kubeconfig").write_text("apiVersion: v1\nkind: Config\n")
    said = cw("trl", "sft", seed.name)
    assert (said.code, said.out) == (1, "")
    assert "error: " in said.err
    assert "hint: " in said.err.splitlines()[-1]
