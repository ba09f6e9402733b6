"""Whatever happens between cw and the API server, nothing is left half-way and nothing is lost."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cw_cli import api
from cw_cli.core.exceptions import TargetError
from cw_cli.core.names import MANAGED_BY, RUN, selector
from cw_cli.core.plan import Plan
from cw_cli.core.status import State
from cw_cli.targets.kubernetes import listing, transport
from cw_cli.targets.kubernetes.connection import Connection
from cw_cli.targets.kubernetes.kubeconfig import Access, read_access
from cw_cli.targets.kubernetes.target import KubernetesTarget

from .chaos import FOREVER, Chaos, Fault, chaos
from .clusters import Cluster
from .conftest import Run

# Two nodes and a file beside the config: a launch with every kind of object. No node has that many GPUs.
CONFIG = """\
model_name: owner/model
dataset_name: data
volumes: {model-checkpoints: null}
image: busybox:1.36
nodes: 2
gpu: 64
"""
STEPS = 7
"""Requests of that launch: greeting, record, files, recipes, Service, Job, mark."""
RECORD = 1


@pytest.fixture
def upstream(cluster: Cluster, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Access:
    """The API server itself, in the test's namespace."""
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    monkeypatch.setenv("CW_SETTINGS", str(tmp_path / "settings.yaml"))
    monkeypatch.setenv("USER", "tester")
    (tmp_path / "config.yaml").write_text(CONFIG)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.jsonl").write_text('{"text": "a cat"}\n')
    return read_access(None, namespace)


class World:
    """The namespace as it is, past the proxy."""

    def __init__(self, upstream: Access, folder: Path) -> None:
        self.upstream = upstream
        self.folder = folder
        self.target = KubernetesTarget(Connection(lambda: upstream))

    def plan(self) -> Plan:
        return api.plan(
            "trl", "sft", self.folder / "config.yaml", target="kubernetes", namespace=self.upstream.namespace
        )

    def objects(self, run: str | None = None) -> list[str]:
        """What carries cw's labels, as `configmap/name`."""
        labels = selector({MANAGED_BY: "cw", **({RUN: run} if run else {})})
        connection = Connection(lambda: self.upstream)
        return [
            f"{kind.lower()}/{item['metadata']['name']}"
            for kind in ("ConfigMap", "Service", "Job")
            for item in connection.list(kind, labels=labels, metadata=True)
            if "deletionTimestamp" not in item["metadata"]
        ]

    def kinds(self, run: str) -> list[str]:
        return [name.partition("/")[0] for name in self.objects(run)]

    def comes_to(self, run: str | None, wanted: list[str]) -> bool:
        """Whether the objects become these in time: the garbage collector needs a moment."""
        until = time.monotonic() + 20
        while self.objects(run) != wanted and time.monotonic() < until:
            time.sleep(0.1)
        return self.objects(run) == wanted


WHOLE = ["configmap", "configmap", "service", "job"]


@pytest.fixture
def world(upstream: Access, tmp_path: Path) -> World:
    return World(upstream, tmp_path)


def attempt(world: World, fault: Fault | None) -> tuple[Plan, TargetError | None, list[tuple[str, str]]]:
    """One launch through a proxy of its own."""
    plan = world.plan()
    with chaos(world.upstream) as proxy:
        proxy.fault = fault
        failed = None
        try:
            KubernetesTarget(Connection(lambda: proxy.access(world.upstream.namespace))).launch(plan, attached=False)
        except TargetError as error:
            failed = error
        if fault and fault.what == "hang":
            time.sleep(fault.seconds)  # what hung arrives after all
        return plan, failed, list(proxy.seen)


def attempts(world: World, faults: list[Fault]) -> list[tuple[Fault, Plan, TargetError | None]]:
    """Launches side by side, as several people make them."""
    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(lambda fault: attempt(world, fault), faults))
    return [(fault, plan, failed) for fault, (plan, failed, _) in zip(faults, results, strict=True)]


def everywhere(what: int | str, **more: Any) -> list[Fault]:
    """The fault at every request of a launch, before and after it has its effect."""
    return [Fault(what, number, after, **more) for number in range(STEPS) for after in (False, True)]


def test_a_launch_is_these_requests(world: World) -> None:
    plan, failed, seen = attempt(world, None)
    assert failed is None
    assert [method for method, _ in seen] == ["GET", "POST", "PATCH", "PATCH", "PATCH", "PATCH", "PATCH"]
    assert "/jobs/" in seen[-2][1] and seen[-1][1].endswith("-config?fieldManager=cw")
    assert world.kinds(plan.run) == WHOLE


@pytest.mark.parametrize("what", [429, 500, 503, "reset"])
def test_what_passes_is_waited_for(world: World, what: int | str) -> None:
    for fault, plan, failed in attempts(world, everywhere(what)):
        assert failed is None, fault
        assert world.kinds(plan.run) == WHOLE, fault
    assert len(world.target.list()) == 2 * STEPS


@pytest.mark.parametrize("what", [409, 410])
def test_a_refusal_leaves_a_whole_run_or_nothing(world: World, what: int) -> None:
    for fault, plan, failed in attempts(world, everywhere(what)):
        if failed is None:
            assert world.kinds(plan.run) == WHOLE, fault
        else:
            assert world.objects(plan.run) == [], fault
            assert "chaos" in failed.message or "already" in failed.message
            assert "Nothing was left behind." in failed.hint or "already" in failed.message


def test_a_request_that_hangs_and_arrives_late_leaves_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "READ_SECONDS", 1.0)
    hangs = [Fault("hang", number, seconds=2.5) for number in range(STEPS)]
    for fault, plan, failed in attempts(world, hangs):
        assert failed is not None and "does not answer" in failed.message, fault
        # The record that arrives after all is a launch that is known to have died; the rest goes by itself.
        record = [f"configmap/{plan.run}-config"] if fault.first == RECORD else []
        assert world.comes_to(plan.run, record), (fault, world.objects(plan.run))
        world.target.delete([plan.run] if record else [])
    # Recipes that arrive late belong to nobody, until they go with the next run that used them.
    world.target.delete([attempt(world, None)[0].run])
    assert world.objects() == []


def test_a_server_that_stays_broken_is_told_and_what_is_left_can_be_deleted(world: World) -> None:
    broken = [Fault(what, number, times=FOREVER) for number in range(STEPS) for what in (500, "reset")]
    for fault, plan, failed in attempts(world, broken):
        assert failed is not None, fault
        if fault.first <= RECORD:
            assert world.objects(plan.run) == []
            continue
        assert f"configmap/{plan.run}-config" in failed.hint and f"cw delete {plan.run}" in failed.hint
        assert "job" not in world.kinds(plan.run) or fault.first == STEPS - 1
        status = world.target.status(plan.run)
        assert (status.state, status.reason) == (State.FAILED, "launch interrupted") or fault.first == STEPS - 1
        world.target.delete([plan.run])
        assert world.objects(plan.run) == []
    assert world.comes_to(None, [])  # and the recipes that they shared


def test_recipes_stay_while_a_run_uses_them(world: World) -> None:
    first, second = attempt(world, None)[0], attempt(world, None)[0]
    deleted = world.target.delete([first.run])
    assert not any("cw-train" in name for name in deleted)
    deleted = world.target.delete([second.run])
    assert any("cw-train" in name for name in deleted)
    assert world.objects() == []


def test_recipes_survive_deletions_beside_launches(world: World) -> None:
    def launch_and_delete(_: int) -> None:
        plan = attempt(world, None)[0]
        names = {name for name in world.objects() if "cw-train" in name}
        assert names, "a run whose recipes are gone"
        world.target.delete([plan.run])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(launch_and_delete, range(16)))
    assert world.objects() == []


# Through the command line, whose process dies.


@pytest.fixture
def proxy(world: World) -> Iterator[Chaos]:
    with chaos(world.upstream) as found:
        yield found


@pytest.fixture
def start(proxy: Chaos, cw_environment: dict[str, str], tmp_path: Path, namespace: str) -> Callable[..., Any]:
    """Start cw behind the proxy."""

    def begin(*arguments: str, fault: Fault | None = None) -> subprocess.Popen[str]:
        proxy.seen.clear()
        proxy.fault = fault
        proxy.victim = subprocess.Popen(
            [sys.executable, "-m", "cw_cli.cli.main", *arguments],
            cwd=tmp_path,
            env={**cw_environment, "KUBECONFIG": str(proxy.kubeconfig(tmp_path, namespace))},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        return proxy.victim

    return begin


def finish(process: subprocess.Popen[str]) -> Run:
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in err, err
    return Run(process.returncode, out, err)


LAUNCH = ("trl", "sft", "config.yaml")


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_launch_killed_anywhere_holds_no_gpu(world: World, start: Callable[..., Any], after: bool) -> None:
    for number in range(STEPS):
        assert finish(start(*LAUNCH, fault=Fault("kill", number, after))).code == -signal.SIGKILL
        runs = world.target.list()
        if (number, after) <= (RECORD, False):
            assert runs == []
            continue
        (run,) = runs
        job = number == STEPS - 1 or (number == STEPS - 2 and after)
        assert ("job" in world.kinds(run.name)) == job, number
        if job:
            assert world.kinds(run.name) == WHOLE
            assert run.state is State.PENDING
        else:
            assert (run.state, run.reason) == (State.FAILED, "launch interrupted")
        world.target.delete([run.name])
        assert world.objects() == [], number


def test_ctrl_c_in_the_middle_of_a_launch_undoes_it(world: World, proxy: Chaos, start: Callable[..., Any]) -> None:
    for number in (RECORD, 2, STEPS - 2, STEPS - 1):
        process = start(*LAUNCH, fault=Fault("hang", number, seconds=1.5))
        until = time.monotonic() + 20
        while len(proxy.seen) <= number and time.monotonic() < until:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        done = finish(process)
        assert done.code == 130
        assert "was not started" in done.err and "Nothing was left behind." in done.err
        time.sleep(1.5)  # what hung arrives after all
        if number == RECORD:
            (run,) = world.target.list()
            assert run.reason == "launch interrupted"
            world.target.delete([run.name])
        assert world.comes_to(None, []), (number, world.objects())


@pytest.mark.parametrize("what", [500, 410, "reset"])
def test_a_refused_launch_ends_with_1_and_says_so(start: Callable[..., Any], what: int | str, world: World) -> None:
    done = finish(start(*LAUNCH, fault=Fault(what, 4, times=5)))
    assert done.code == 1 and done.out == ""
    assert "error: creating service/" in done.err and "chaos" in done.err
    assert "hint:" in done.err


def test_a_deletion_killed_anywhere_can_be_done_again(world: World, proxy: Chaos, start: Callable[..., Any]) -> None:
    run = attempt(world, None)[0].run
    assert finish(start("delete", run, "--yes")).code == 0
    for number in range(2, len(proxy.seen), 2):
        run = attempt(world, None)[0].run
        assert finish(start("delete", run, "--yes", fault=Fault("kill", number, after=True))).code == -signal.SIGKILL
        if world.target.list():
            assert finish(start("delete", run, "--yes")).code == 0
        assert world.objects(run) == []


@pytest.mark.parametrize("what", [429, 503, "reset"])
def test_delete_and_cancel_wait_for_what_passes(world: World, start: Callable[..., Any], what: int | str) -> None:
    run = attempt(world, None)[0].run
    assert finish(start("cancel", run, fault=Fault(what, 2))).code == 0
    assert world.target.status(run).reason == "cancelled"
    assert finish(start("delete", run, "--yes", fault=Fault(what, 5))).code == 0
    assert world.objects() == []


@pytest.mark.parametrize("verb", ["delete", "cancel"])
def test_delete_and_cancel_say_what_failed(world: World, start: Callable[..., Any], verb: str) -> None:
    run = attempt(world, None)[0].run
    yes = ["--yes"] if verb == "delete" else []
    done = finish(start(verb, run, *yes, fault=Fault(500, 2, times=FOREVER)))
    assert done.code == 1
    assert "busy or broken (HTTP 500)" in done.err
    assert run in world.target.list()[0].name


def test_a_list_whose_next_page_breaks_off_is_whole(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "JOBS_A_PAGE", 2)
    for _ in range(3):
        attempt(world, None)
    cut: list[str] = []

    def next_page(_: int, path: str) -> Fault | None:
        if "continue=" not in path or cut:
            return None
        cut.append(path)
        return Fault("cut", 0)

    with chaos(world.upstream) as proxy:
        proxy.faults = next_page
        target = KubernetesTarget(Connection(lambda: proxy.access(world.upstream.namespace)))
        assert len(target.list()) == 3
    assert cut


# The policy's own node has all GPUs of the cluster and more, so only the service can ever hold one.
WITH_SERVICE = """\
model_name: owner/model
reward_model: owner/reward
dataset_name: data
volumes: {model-checkpoints: null}
image: busybox:1.36
gpu: 64
start_limit: 8s
services: {reward: {gpu: 1, cpu: 10m, memory: 32Mi}}
"""
IMPATIENT = """
import cw_cli.core.guard as guard
from cw_cli.cli.main import main
guard.LAUNCH_LIMIT = 8
main()
"""


def test_a_launch_with_services_killed_anywhere_frees_their_gpus(
    world: World, cluster: Cluster, cw_environment: dict[str, str], tmp_path: Path, namespace: str
) -> None:
    """Nobody is there to look after what a killed launch has left, so the guard does; nor does a trainer that can
    never start keep its services."""
    (tmp_path / "rlhf.yaml").write_text(WITH_SERVICE)

    def launch(kill: tuple[int, bool] | None) -> list[str]:
        """A launch that is killed at one of its changes, before or after it takes effect; the changes it came to."""
        changes: list[str] = []

        def fault(number: int, path: str) -> Fault | None:
            method = proxy.seen[number][0]
            if method in ("POST", "PATCH"):
                changes.append(path.partition("?")[0])
                if kill is not None and len(changes) == kill[0] + 1:
                    return Fault("kill", number, kill[1])
            return None

        with chaos(world.upstream) as proxy:
            proxy.faults = fault
            folder = tmp_path / str(kill)
            folder.mkdir()
            proxy.victim = subprocess.Popen(
                [sys.executable, "-c", IMPATIENT, "trl", "rlhf", str(tmp_path / "rlhf.yaml")],
                cwd=tmp_path,
                env={**cw_environment, "KUBECONFIG": str(proxy.kubeconfig(folder, namespace))},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            done = finish(proxy.victim)
        assert done.code == (0 if kill is None else -signal.SIGKILL), done.err
        return changes

    steps = launch(None)
    assert [path.rpartition("/")[0].rpartition("/")[2] for path in steps].count("deployments") == 1
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(launch, [(number, after) for number in range(len(steps)) for after in (False, True)]))

    def held() -> str:
        services = cluster.kubectl("--namespace", namespace, "get", "deployments,jobs", "-o", "name").split()
        return " ".join(name for name in services if "deployment" in name or "guard" in name)

    until = time.monotonic() + 90
    while held():
        assert time.monotonic() < until, held()
        time.sleep(0.5)
