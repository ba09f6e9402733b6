"""Ports of services: which are given out, and every text that names a service or its port."""

from __future__ import annotations

import json
import socket
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cw_cli.core.exceptions import TargetError
from cw_cli.core.resources import Resources
from cw_cli.core.roles import Role
from cw_cli.targets.local import ports
from cw_cli.targets.local.mounts import Places
from cw_cli.targets.local.ports import Addresses, give_ports, own_variables, with_own_ports
from cw_cli.targets.local.unit import Surroundings, Unit, read_units

from .machines import config_map, deployment, job, patient, service

PLACES = Places(mounts="/runs/one/mounts", volumes="/volumes")
ADDRESSES = Addresses(
    {
        ("one-reward-service", 8000): [20001, 20002],
        ("one-reward-service", 80): [20003, 20004],
        ("one-reward-service-2", 8000): [20005],
    }
)


@pytest.mark.parametrize(
    ("text", "here"),
    [
        ("http://one-reward-service:8000", "http://127.0.0.1:20001"),
        ("http://one-reward-service:8000/score?x=1", "http://127.0.0.1:20001/score?x=1"),
        ("one-reward-service:8000", "127.0.0.1:20001"),
        ("url: one-reward-service:8000\n", "url: 127.0.0.1:20001\n"),
        ("['one-reward-service:8000', \"one-reward-service:80\"]", "['127.0.0.1:20001', \"127.0.0.1:20003\"]"),
        ("http://one-reward-service/score", "http://127.0.0.1:20003/score"),
        ("http://one-reward-service.team.svc.cluster.local:8000/", "http://127.0.0.1:20001/"),
        ("one-reward-service.team:8000", "127.0.0.1:20001"),
        ("one-reward-service-2:8000", "127.0.0.1:20005"),
        ("one-reward-service:8000: refused", "127.0.0.1:20001: refused"),
        ("user@one-reward-service:8000", "user@127.0.0.1:20001"),
        ("one-reward-service:8000,one-reward-service-2:8000", "127.0.0.1:20001,127.0.0.1:20005"),
        ("one-reward-service:80001", "one-reward-service:80001"),
        ("one-reward-service:9", "one-reward-service:9"),
        ("https://one-reward-service/", "https://one-reward-service/"),
        ("one-reward-service", "one-reward-service"),
        ("http://one-reward-service:$PORT", "http://one-reward-service:$PORT"),
        ("my-one-reward-service:8000", "my-one-reward-service:8000"),
        ("x.one-reward-service:8000", "x.one-reward-service:8000"),
        ("one-reward-service-3:8000", "one-reward-service-3:8000"),
    ],
)
def test_mentions(text: str, here: str) -> None:
    assert ADDRESSES.in_text(text) == here


@pytest.mark.parametrize(
    ("value", "here"),
    [
        ("http://one-reward-service:8000", "http://127.0.0.1:20001,http://127.0.0.1:20002"),
        ("http://one-reward-service:8000/v1", "http://127.0.0.1:20001/v1,http://127.0.0.1:20002/v1"),
        ("http://one-reward-service-2:8000", "http://127.0.0.1:20005"),
        ("one-reward-service:8000", "127.0.0.1:20001"),
        ("--url http://one-reward-service:8000", "--url http://127.0.0.1:20001"),
        ("http://one-reward-service:8000,http://else", "http://127.0.0.1:20001,http://else"),
        ("http://else:8000", "http://else:8000"),
        ("", ""),
    ],
)
def test_a_variable_that_is_a_url_names_every_replica(value: str, here: str) -> None:
    assert ADDRESSES.in_variable(value) == here


@patient
@given(st.text())
def test_other_text_stays(text: str) -> None:
    assert Addresses().in_text(text) == text
    if "one-reward-service" not in text:
        assert ADDRESSES.in_text(text) == ADDRESSES.in_variable(text) == text


def test_addresses_survive_the_run_folder() -> None:
    assert Addresses.from_data(json.loads(json.dumps(ADDRESSES.as_data()))).named == ADDRESSES.named


@pytest.mark.parametrize(
    ("words", "own"),
    [
        (("serve", "--port", "8000"), ("serve", "--port", "20001")),
        (("serve", "--port=8000"), ("serve", "--port=20001")),
        (("serve", "--http-port", "8000", "-p", "8000"), ("serve", "--http-port", "20001", "-p", "20001")),
        (("serve", "--port", "9000", "--steps", "8000"), ("serve", "--port", "9000", "--steps", "8000")),
        (("sh", "-c", "exec serve --port 8000 --n 8000"), ("sh", "-c", "exec serve --port 20001 --n 8000")),
        (("serve", "--bind", "0.0.0.0:8000"), ("serve", "--bind", "127.0.0.1:20001")),
        (("serve", "--host", "0.0.0.0"), ("serve", "--host", "127.0.0.1")),
        (("serve", "--host=0.0.0.0", "10.0.0.0.0"), ("serve", "--host=127.0.0.1", "10.0.0.0.0")),
        (("-m", "http.server", "8000"), ("-m", "http.server", "20001")),
        (("serve", "-b", ":8000"), ("serve", "-b", ":20001")),
        (("-c", "print(8000)", "7"), ("-c", "print(8000)", "7")),
        (("serve", "--port", "80000", "--port=80001"), ("serve", "--port", "80000", "--port=80001")),
    ],
)
def test_a_service_gets_its_own_port_and_listens_for_this_machine(words: tuple[str, ...], own: tuple[str, ...]) -> None:
    assert with_own_ports(words, {8000: 20001}) == own


def test_variables_of_a_service() -> None:
    assert own_variables({}, {8000: 20001, 9000: 20002}) == {"HOST": "127.0.0.1", "PORT": "20001"}
    assert own_variables({}, {}) == {}
    values = {"PORT": "9000", "METRICS_PORT": "8000", "STEPS": "8000", "HOST": "0.0.0.0", "REPORT": "8000"}
    assert own_variables(values, {8000: 20001, 9000: 20002}) == {
        "PORT": "20002",
        "METRICS_PORT": "20001",
        "STEPS": "8000",
        "HOST": "127.0.0.1",
        "REPORT": "8000",
    }


def test_every_port_of_every_replica_is_another_one() -> None:
    made = deployment("one", "reward", "pass", spec={"replicas": 3})
    container = made["spec"]["template"]["spec"]["containers"][0]
    container["ports"] = [{"name": "http", "containerPort": 8000}, {"containerPort": 9090}]
    addresses = give_ports([service("one", "reward"), made], taken=())
    replicas = addresses.own["one-reward"]
    given = [port for replica in replicas for port in replica.values()]
    assert len(set(given)) == 6 and all(20000 <= port < 32768 for port in given)
    assert addresses.named == {("one-reward-service", 8000): [replica[8000] for replica in replicas]}
    assert give_ports([job("one", "pass"), service("one", "reward")], taken=()) == Addresses()


def test_taken_ports_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as other:
        (busy,) = next(iter(give_ports([service("one", "reward"), deployment("one", "reward", "")], ()).named.values()))
        other.bind(("127.0.0.1", busy))
        monkeypatch.setattr(ports, "_FIRST", busy)
        monkeypatch.setattr(ports, "_LAST", busy + 1)
        objects = [service("one", "reward"), deployment("one", "reward", "pass")]
        (given,) = give_ports(objects, taken=()).named.values()
        assert given == [busy + 1]
        with pytest.raises(TargetError, match="no free port"):
            give_ports(objects, taken={busy + 1})


def read(trainer: dict[str, Any] | None = None, config: str = "", replicas: int = 2, **changes: Any) -> list[Unit]:
    """The units of a trainer and two replicas of a service behind ADDRESSES."""
    made = deployment("one", "reward", "pass", spec={"replicas": replicas}, **changes)
    objects = [
        config_map("one-config", {"config.yaml": config}),
        service("one", "reward"),
        made,
        job("one", "pass", container=trainer or {}),
    ]
    own = {"one-reward": [{8000: 20001}, {8000: 20002}]}
    roles = (Role("reward", "one-reward", Resources(), replicas, "http://one-reward-service:8000/health", 90),)
    addresses = Addresses(ADDRESSES.named, own)
    around = Surroundings("one", PLACES, {"HTTPS_PROXY": "http://proxy"}, "/home/ada", addresses, roles)
    units, problems = read_units(objects, around)
    assert problems == []
    return units


def test_a_deployment_is_a_unit_for_each_replica() -> None:
    trainer, first, second = read(pod={"terminationGracePeriodSeconds": 7})
    assert [unit.name for unit in (trainer, first, second)] == ["trainer", "reward", "reward-1"]
    assert trainer.service is None and first.service and second.service
    assert (first.service.address, first.service.start_limit) == ("http://127.0.0.1:20001", 90)
    assert second.service.health == "http://127.0.0.1:20002/health"
    assert (first.env["PORT"], second.env["PORT"], "PORT" in trainer.env) == ("20001", "20002", False)
    assert (first.argv, first.grace, first.retries) == ((sys.executable, "-c", "pass"), 7.0, 0)


def test_texts_of_the_trainer_lead_to_the_services() -> None:
    url = "http://one-reward-service:8000"
    container = {"command": ["x", "--url", url], "env": [{"name": "REWARD_MODEL_URL", "value": url}]}
    mounts = [{"name": "config", "mountPath": "/cw/config"}]
    trainer = read({**container, "volumeMounts": mounts}, f"reward_url: {url}\nwhere: /cw/config\n")[0]
    assert trainer.argv == ("x", "--url", "http://127.0.0.1:20001")
    assert trainer.env["REWARD_MODEL_URL"] == "http://127.0.0.1:20001,http://127.0.0.1:20002"
    (file,) = trainer.mounts.files
    assert file.content.decode() == "reward_url: http://127.0.0.1:20001\nwhere: /runs/one/mounts/trainer/config\n"
    assert trainer.env["NO_PROXY"] == "127.0.0.1"


def test_processes_share_no_folder_but_claims() -> None:
    folders = [set(unit.mounts.folders) for unit in read()]
    assert folders[0] & folders[1] == folders[1] & folders[2] == {"/volumes/model-checkpoints"}


def test_two_processes_of_one_name_are_refused() -> None:
    objects = [config_map("one-config", {}), deployment("one", "trainer", "pass"), job("one", "pass")]
    addresses = Addresses(own={"one-trainer": [{8000: 20001}]})
    _, problems = read_units(objects, Surroundings("one", PLACES, {}, "/", addresses))
    assert [problem.message for problem in problems] == ["Two processes of the run are called `trainer`."]
