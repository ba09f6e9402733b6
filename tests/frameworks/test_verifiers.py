"""`cw verifiers eval`: what a config may say, what is wrong with it, and what a launch makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cw_cli.core.checks import CheckedConfig, check_config
from cw_cli.core.config import parse_config
from cw_cli.core.exceptions import ConfigError
from cw_cli.core.framework import TrainingType
from cw_cli.core.overrides import Override
from cw_cli.core.plan import Plan, make_plan
from cw_cli.core.record import Launch
from cw_cli.core.registry import FrameworkRegistry

BASE = 'model = "owner/model"\n'
TASKS = '[env.taskset]\nid = "textarena"\n'


def checked(text: str, *overrides: str, source: str = "eval.toml") -> CheckedConfig:
    typed = [Override(*item.split("=", 1), f"--set {item}") for item in overrides]
    framework = FrameworkRegistry().get("verifiers")
    return check_config(framework, TrainingType.EVAL, parse_config(text, source), typed)


def said(text: str, *overrides: str, **how: Any) -> list[str]:
    """Every problem as `line: message; remedy`, warnings with an asterisk."""
    try:
        problems = checked(text, *overrides, **how).warnings
    except ConfigError as error:
        problems = tuple(error.problems)
    return [
        f"{'*' if item.severity == 'warning' else ''}{item.origin.line if item.origin else None}: "
        f"{item.message}; {item.remedy}"
        for item in problems
    ]


def only(text: str, *overrides: str, **how: Any) -> str:
    (problem,) = said(text, *overrides, **how)
    return problem


def planned(text: str, *overrides: str, **how: Any) -> Plan:
    return make_plan(checked(text, *overrides, **how), Launch(target="kubernetes", user="ada"))


def objects(plan: Plan, kind: str) -> list[Any]:
    return [item for item in plan.objects if item["kind"] == kind]


def test_the_least_that_a_config_says() -> None:
    assert said(BASE + TASKS) == []


def test_yaml_says_the_same() -> None:
    text = "model: owner/model\nenv: {taskset: {id: textarena}}\nenvironment: {A: b}\n"
    assert checked(text, source="eval.yaml").keys.env == {"A": "b"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (TASKS, "None: model is missing"),
        (BASE, "None: env is missing"),
        (BASE + "[env]\n", "2: env.taskset.id is missing"),
        (
            BASE + "num_rollout = 2\n" + TASKS,
            "2: num_rollout is not a key of Verifiers 0.4.0; did you mean num_rollouts?",
        ),
        (BASE + "num_rollouts = 0\n" + TASKS, "2: num_rollouts cannot be 0; write 1 or more"),
        (BASE + TASKS + "[env.agent]\nmax_turn = 3\n", "5: env.agent has no key max_turn; did you mean max_turns?"),
        (BASE + TASKS + "[env.agnt]\n", "4: env has no key agnt; did you mean agent?"),
        (BASE + '[env]\nid = "best-of-n"\nm = 2\n' + TASKS, "4: env has no key m; it may hold agent, id"),
        (BASE + TASKS + "[env.args]\n", "4: env has no key args in Verifiers 0.4.0; write its keys in the block"),
        (
            BASE + "max_tokens = 3\n" + TASKS,
            "2: max_tokens no longer exists in Verifiers 0.4.0: it stands in a block now",
        ),
        (
            BASE + "max_prompt_length = 3\n" + TASKS,
            "2: max_prompt_length no longer exists in Verifiers 0.4.0: verifiers t",
        ),
        (BASE + TASKS + "[trainer.args]\n", "4: trainer no longer exists in Verifiers 0.4.0: verifiers trains no more"),
        (
            BASE + TASKS + "[client]\nmultiplex = 2\n",
            "5: client has no key multiplex when its type is eval; it is for train",
        ),
        (
            BASE + TASKS + '[env.agent.runtime]\ntype = "dokcer"\n',
            "5: env.agent.runtime.type cannot be dokcer; did you me",
        ),
        (
            BASE + TASKS + '[env.agent.runtime]\nimage = "x"\n',
            "5: env.agent.runtime has no key image when its type is sub",
        ),
        (
            BASE + TASKS + '[client]\nbase_url = "host:1"\n',
            "5: client.base_url cannot be host:1; write it as in http://",
        ),
        (
            BASE + TASKS + '[client]\nbase_url = "http://h/v1"\n[vllm]\na = 1\n',
            "6: vllm is for the run's own model server",
        ),
        (
            BASE + "gpu = 2\n" + TASKS,
            "2: gpu is for the process that makes the rollouts, which computes nothing; write `se",
        ),
        (BASE + "nodes = 2\n" + TASKS, "2: an evaluation is one process"),
        (
            BASE + TASKS + '[env.agent.harness]\nid = "mini-swe-agent"\n',
            "5: the harness mini-swe-agent works in a container alone, and env.agent has none; take bash or null",
        ),
        (
            BASE + '[env]\nid = "agentic-judge"\n' + TASKS,
            "2: the judge looks at what the solver did in its container, and env.solver works in none; write",
        ),
        (
            BASE + TASKS + "[env.agent.harness]\nserch = true\n",
            "5: env.agent.harness has no key serch when its id is bash; did you mean search?",
        ),
        (
            BASE + TASKS + '[env.agent.harness]\nid = "null"\nruntime = {type = "subprocess"}\n',
            "6: env.agent.harness has no key runtime when its id is null; write it beside the harness, as",
        ),
        (BASE + '[env.taskset]\nid = "./mine"\n', "3: env.taskset.id: there is no ./mine; write the path from"),
    ],
)
def test_a_mistake(text: str, says: str) -> None:
    assert only(text).startswith(says)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("push = true\n" + TASKS, "push uploads the results to Prime's platform"),
        (TASKS + '[env.agent.runtime]\ntype = "modal"\n', "the runtime modal is a cloud service"),
        (TASKS + '[env.agent.runtime]\ntype = "docker"\n', "the runtime docker starts containers, which pods of most"),
        (TASKS + '[[env.taskset.task.judges]]\nid = "reference"\n', "a judge without base_url is one at Prime's cloud"),
        (
            TASKS + '[client]\nbase_url = "http://localhost:1/v1"\n',
            "localhost is the machine that the evaluation runs on",
        ),
        (TASKS + '[client]\nbase_url = "https://host"\n', "client.base_url https://host has no path"),
        (TASKS + '[client]\nbase_url = "https://host/v1"\napi_key_var = "KEY"\n', "the evaluation is not given KEY"),
        (TASKS + '[client]\napi_key_var = "KEY"\n', "client.api_key_var is not used"),
        (
            '[env]\nid = "best-of-m"\n' + TASKS,
            "env.id: no folder beside the config is called best-of-m, so the image must have the environment "
            "installed; did you mean best-of-n?",
        ),
        (
            TASKS + '[env.agent.harness]\nid = "mini-swe-agnt"\n',
            "env.agent.harness.id: no folder beside the config is called mini-swe-agnt, so the image must have the "
            "harness installed; did you mean mini_swe_agent?",
        ),
        ('[env.taskset]\nid = "gsm8k"\n', "env.taskset.id: no folder beside the config is called gsm8k"),
        (
            TASKS + '[env.agent.harness]\nid = "mine"\n',
            "env.agent.harness.id: no folder beside the config is called mine",
        ),
    ],
)
def test_what_is_only_mentioned(text: str, says: str) -> None:
    problem = only(BASE + text)
    assert problem.startswith("*")
    assert problem.partition(": ")[2].startswith(says)


def test_a_secret_that_is_given_is_not_mentioned() -> None:
    text = BASE + 'push = true\nsecrets = {PRIME_API_KEY = "prime/key"}\n' + TASKS
    assert said(text) == []
    assert 'secrets = {PRIME_API_KEY = "secret-name/key"}' in only(BASE + "push = true\n" + TASKS)
    yaml = "model: m\npush: true\nenv: {taskset: {id: textarena}}\n"
    assert "secrets: {PRIME_API_KEY: secret-name/key}" in only(yaml, source="eval.yaml")


def test_roles_of_a_tasksets_own_environment_are_let_through() -> None:
    assert said(BASE + TASKS + "[env.proposer]\nmodel = 'x'\n") == []


def test_an_override_finds_its_block() -> None:
    plan = planned(BASE + TASKS, "env.taskset.game=Wordle", "sampling.temperature=0", "rollouts_per_example=3")
    text = objects(plan, "ConfigMap")[0]["data"]["config.yaml"]
    config = parse_config(text, "config.yaml").values
    assert config["env"]["taskset"] == {"id": "textarena", "game": "Wordle"}
    assert config["sampling"] == {"temperature": 0}
    assert config["num_rollouts"] == 3


def test_the_run_starts_a_model_server_with_a_gpu_and_the_evaluation_has_none() -> None:
    plan = planned(BASE + TASKS)
    assert [(role.name, role.resources.gpu) for role in plan.roles] == [("trainer", 0), ("inference", 1)]
    (deployment,) = objects(plan, "Deployment")
    server = deployment["spec"]["template"]["spec"]["containers"][0]
    assert server["image"].startswith("vllm/vllm-openai:")
    job = next(item for item in objects(plan, "Job") if item["metadata"]["name"] == plan.run)
    trainer = job["spec"]["template"]["spec"]["containers"][0]
    (url,) = [entry["value"] for entry in trainer["env"] if entry["name"] == "INFERENCE_URL"]
    (service,) = [item for item in objects(plan, "Service") if item["spec"].get("ports", [{}])[0].get("port") == 8000]
    assert url == f"http://{service['metadata']['name']}:8000/v1"
    assert plan.guard


def test_with_an_endpoint_of_the_users_nothing_else_is_started() -> None:
    plan = planned(BASE + TASKS, "client.base_url=https://host/v1")
    assert [role.name for role in plan.roles] == ["trainer"]
    assert objects(plan, "Deployment") == []
    assert plan.guard is None


def test_what_the_server_takes_is_a_services_business() -> None:
    plan = planned(BASE + TASKS, "services.inference.gpu=4", "vllm.max_model_len=8192")
    assert plan.total_gpus == 4


def test_a_taskset_beside_the_config_travels(tmp_path: Path) -> None:
    package = tmp_path / "mine"
    (package / "__pycache__").mkdir(parents=True)
    (package / "__init__.py").write_text("# a taskset")
    (package / "__pycache__" / "x.pyc").write_text("")
    plan = planned(BASE + '[env.taskset]\nid = "mine"\n', source=str(tmp_path / "eval.toml"))
    config, files = objects(plan, "ConfigMap")[:2]
    assert "id: /cw/files/mine" in config["data"]["config.yaml"]
    assert list(files["binaryData"]) == ["0-mine-__init__.py"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "num_tasks = 5\n" + TASKS,
            "*1: num_tasks is called select.limit in Verifiers 0.4.0; taken as select.limit; write that",
        ),
        (
            TASKS + '[taskset]\nid = "x"\n',
            "3: taskset and env.taskset say the same thing; keep one of them",
        ),
        (
            TASKS + '[harness]\nid = "bash"\n',
            "*3: harness is called env.agent.harness in Verifiers 0.4.0; taken as env.agent.harness",
        ),
        ("rich = false\n" + TASKS, "*1: rich is not used: the log of a run has no dashboard"),
    ],
)
def test_shapes_of_earlier_versions_are_taken_with_what_to_write(text: str, says: str) -> None:
    assert only(text, "model=owner/model").startswith(says)


def said_here(text: str) -> list[str]:
    framework = FrameworkRegistry().get("verifiers")
    config = parse_config(text, "eval.toml")
    return [item.message for item in check_config(framework, TrainingType.EVAL, config, target="local").warnings]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (TASKS, ["env.agent: its harness (bash, if the taskset has no other) runs commands that the model writes"]),
        (TASKS + '[env.agent.harness]\nid = "bash"\n', ["env.agent: the harness bash runs commands that the model"]),
        (TASKS + '[env.agent.harness]\nid = "null"\n', []),
        (TASKS + '[env.agent.runtime]\ntype = "podman"\n', []),
        ('[env]\nid = "user-sim"\n' + TASKS, ["env.assistant: its harness"]),
        (TASKS + '[env.guesser.harness]\nid = "bash"\n', ["env.guesser: the harness bash runs commands"]),
    ],
)
def test_on_this_machine_cw_says_who_runs_what_a_model_writes(text: str, says: list[str]) -> None:
    found = said_here(BASE + text)
    assert len(found) == len(says)
    assert all(sentence.startswith(beginning) for sentence, beginning in zip(found, says, strict=True))
    assert not any("commands" in sentence for sentence in said(BASE + text))


def test_what_has_moved_is_one_thing_with_its_new_place() -> None:
    old = 'num_tasks = 5\n[taskset]\nid = "textarena"\n'
    for override in ("select.limit=9", "num_tasks=9"):
        values = checked(BASE + old, override, "env.taskset.game=Wordle", "max_turns=3").config.values
        assert values["select"] == {"limit": 9}
        assert values["env"] == {"agent": {"max_turns": 3}, "taskset": {"id": "textarena", "game": "Wordle"}}
        assert "num_tasks" not in values


@pytest.mark.parametrize(
    ("text", "key", "package"),
    [
        (TASKS, "env.taskset.id", "textarena"),
        ('[env.taskset]\nid = "harbor"\n', "env.taskset.id", "harbor"),
        ('[env.taskset]\nid = "gsm8k"\n[env.agent.runtime]\ntype = "modal"\n', "env.agent.runtime.type", "modal"),
    ],
)
def test_what_needs_a_package_that_cws_image_lacks_is_told(text: str, key: str, package: str) -> None:
    told = f"{key} needs the package {package}, which localhost/cw-verifiers:0.4.0-cpu does not have"
    assert any(told in item for item in said(f'image = "localhost/cw-verifiers:0.4.0-cpu"\n{BASE}{text}'))
    assert not any("needs the package" in item for item in said(BASE + text))
