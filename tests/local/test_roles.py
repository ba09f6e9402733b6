"""Runs of several roles with real processes: what answers is waited for, and nothing outlives the run."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from cw_cli.core.exceptions import TargetError
from cw_cli.core.status import RoleStatus, State
from cw_cli.targets.local import folder as run_folder

from .machines import LIMIT, Machine, eventually, plan_of_roles

SERVER = """
import http.server, os, signal, subprocess, sys, time
{family}
class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/die":
            os._exit(9)
        good = self.path != "/health" or {healthy}
        self.send_response(200 if good else 503)
        self.end_headers()
        self.wfile.write(str(os.getpid()).encode())
    def log_message(self, *_): pass
def leave(*_):
    print("leaving", flush=True)
    os._exit(0)
signal.signal(signal.SIGTERM, {on_term})
started = time.monotonic()
server = http.server.ThreadingHTTPServer(("0.0.0.0", int(os.environ["PORT"])), Answers)
print("pids", os.getpid(), *[each.pid for each in family], flush=True)
server.serve_forever()
"""
STRAY = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"


def server(healthy: str = "True", *, stubborn: bool = False) -> str:
    """A service with a process of its own beside it that ends for nobody; a stubborn one does not end either."""
    family = f"family = [subprocess.Popen([sys.executable, '-c', {STRAY!r}], start_new_session=True)]"
    return SERVER.format(family=family, healthy=healthy, on_term="signal.SIG_IGN" if stubborn else "leave")


ASKS = """
import os, sys, time, urllib.request, urllib.error
def ask(path="", limit=30):
    end = time.monotonic() + limit
    while True:
        try:
            return urllib.request.urlopen(os.environ["REWARD_URL"].split(",")[0] + path, timeout=5).read().decode()
        except OSError:
            if time.monotonic() > end:
                sys.exit("error: the reward service is gone")
            time.sleep(0.1)
print("pids", os.getpid(), flush=True)
print("answered by", ask(), flush=True)
"""
WAITS = ASKS + "time.sleep(600)"


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def pids(machine: Machine, run: str, role: str) -> list[int]:
    """The processes that this role had last, and all before."""
    machine.saw(run, "pids", role)
    return [int(word) for line in machine.lines(run, role) if line.startswith("pids") for word in line.split()[1:]]


def everybody(machine: Machine, run: str, *roles: str) -> list[int]:
    return [pid for role in roles for pid in pids(machine, run, role)]


def all_gone(machine: Machine, run: str, *roles: str) -> None:
    found = everybody(machine, run, *roles)
    eventually(lambda: not any(map(lives, found)), f"{found} live on")
    assert list(run_folder._processes_of(machine.folder(run) / f"{roles[0]}.log")) == []


def launched(machine: Machine, trainer: str | None, reward: str, **how: Any) -> None:
    machine.target.launch(plan_of_roles("one", trainer, {"reward": reward}, **how), attached=False)


def roles_of(machine: Machine, run: str = "one") -> dict[str, RoleStatus]:
    return {role.role: role for role in machine.target.status(run).roles}


def running(machine: Machine, run: str = "one") -> None:
    eventually(lambda: machine.target.status(run).state is State.RUNNING, f"{run} does not begin")


def test_a_service_answers_its_trainer_and_ends_with_it(machine: Machine) -> None:
    launched(machine, ASKS, server("time.monotonic() > started + 1"))
    assert machine.target.status("one").state is State.PENDING
    status = machine.ended("one")
    assert (status.state, status.exit_code, status.reason) == (State.SUCCEEDED, 0, "")
    service = pids(machine, "one", "reward")[0]
    assert machine.lines("one")[1] == f"answered by {service}"
    assert machine.lines("one", "reward")[1:] == ["cw: no longer needed; asked to stop", "leaving"]
    assert roles_of(machine)["reward"].state is State.SUCCEEDED
    all_gone(machine, "one", "trainer", "reward")


def test_the_wait_is_explained(machine: Machine) -> None:
    launched(machine, ASKS, server("False"))
    pids(machine, "one", "reward")
    eventually(lambda: "503" in machine.target.why("one").sentence, "the answer is not told")
    verdict, status = machine.target.why("one"), machine.target.status("one")
    assert verdict.sentence == "The trainer waits for the reward service: it answers 503 Service Unavailable."
    assert verdict.remedy == "Read its log: cw logs one --role reward"
    assert (status.state, status.reason) == (State.PENDING, "waiting for reward")
    assert machine.lines("one") == []
    assert roles_of(machine)["reward"].reason == "it answers 503 Service Unavailable"
    assert machine.target.cancel("one")
    assert machine.target.status("one").reason == "cancelled"
    all_gone(machine, "one", "reward")


@pytest.mark.parametrize("stubborn", [False, True])
def test_a_service_that_never_becomes_healthy(machine: Machine, stubborn: bool) -> None:
    pod = {"pod": {"terminationGracePeriodSeconds": 1}}
    launched(machine, ASKS, server("False", stubborn=stubborn), start_limit=2, **pod)
    status = machine.ended("one")
    assert (status.state, status.exit_code) == (State.FAILED, 3)
    assert status.reason == "reward not healthy within 2 s"
    assert machine.target.why("one").sentence == (
        "The reward service was not healthy within 2 s (it answers 503 Service Unavailable)."
    )
    assert roles_of(machine)["trainer"].attempts == 0
    all_gone(machine, "one", "reward")


def test_a_service_at_a_port_of_its_own_choice(machine: Machine) -> None:
    launched(machine, ASKS, "import time; time.sleep(600)", start_limit=1)
    assert machine.ended("one").exit_code == 3
    verdict = machine.target.why("one")
    assert verdict.sentence == "The reward service was not healthy within 1 s (Connection refused)."
    assert "the port that its variable PORT names" in verdict.remedy


def test_a_service_that_ends_before_it_is_healthy(machine: Machine) -> None:
    launched(machine, ASKS, "raise ValueError('no such model')")
    status = machine.ended("one")
    assert (status.state, status.exit_code) == (State.FAILED, 3)
    assert status.reason == "reward ended before it was healthy"
    assert machine.target.why("one").sentence == (
        "The reward service ended before it was healthy (exit code 1): ValueError: no such model."
    )
    assert machine.lines("one") == []


def test_a_trainer_that_fails_frees_its_services(machine: Machine) -> None:
    launched(machine, ASKS + "raise ValueError('NaN')", server())
    status = machine.ended("one")
    assert (status.state, status.exit_code, status.reason) == (State.FAILED, 1, "exit code 1")
    assert "ValueError: NaN" in machine.target.why("one").sentence
    assert "reward" not in machine.target.why("one").sentence
    assert roles_of(machine)["reward"].state is State.SUCCEEDED
    all_gone(machine, "one", "trainer", "reward")


def test_a_trainer_that_is_killed_frees_its_services(machine: Machine) -> None:
    launched(machine, WAITS, server(stubborn=True), pod={"terminationGracePeriodSeconds": 0})
    os.kill(pids(machine, "one", "trainer")[0], signal.SIGKILL)
    status = machine.ended("one")
    assert (status.exit_code, status.reason) == (137, "SIGKILL")
    all_gone(machine, "one", "trainer", "reward")


@pytest.mark.parametrize("healthy", ["True", "False"])
def test_the_time_limit_of_the_trainer_frees_its_services(machine: Machine, healthy: str) -> None:
    limit = {"spec": {"activeDeadlineSeconds": 2}}
    launched(machine, WAITS, server(healthy), trainer_changes=limit)
    status = machine.ended("one")
    assert (status.state, status.reason) == (State.FAILED, "DeadlineExceeded")
    all_gone(machine, "one", "reward")


def test_a_service_that_dies_in_the_middle_is_started_again(machine: Machine) -> None:
    program = (
        ASKS
        + """
try: urllib.request.urlopen(os.environ["REWARD_URL"] + "/die")
except OSError as error: print("away", flush=True)
print("answered by", ask(), flush=True)
"""
    )
    launched(machine, program, server())
    assert machine.ended("one").state is State.SUCCEEDED
    first, second = (line for line in machine.lines("one") if line.startswith("answered"))
    assert first != second
    assert "cw: attempt 2" in machine.lines("one", "reward")
    assert roles_of(machine)["reward"].attempts == 2
    all_gone(machine, "one", "trainer", "reward")


def test_a_trainer_that_gives_up_on_its_service_blames_it(machine: Machine) -> None:
    once = """
import os, sys
if os.path.exists("/model-checkpoints/was"): sys.exit(7)
open("/model-checkpoints/was", "w")
"""
    program = ASKS + "\nos.kill(int(ask()), 9); time.sleep(2); sys.exit('error: the reward service is gone')"
    launched(machine, program, once + server())
    status = machine.ended("one")
    assert (status.state, status.exit_code) == (State.FAILED, 1)
    verdict = machine.target.why("one")
    assert verdict.sentence == (
        "The trainer gave up: the reward service is gone, while the reward service was away (exit code 7)."
    )
    assert verdict.remedy == "Read its log: cw logs one --role reward"


def test_a_restart_replaces_the_service_and_nothing_else(machine: Machine) -> None:
    launched(machine, WAITS, server())
    before, trainer = pids(machine, "one", "reward"), pids(machine, "one", "trainer")
    machine.target.restart("one", "reward")
    machine.saw("one", "pids", "reward", times=2)
    eventually(lambda: roles_of(machine)["reward"].state is State.RUNNING, "it does not come back")
    after = [pid for pid in pids(machine, "one", "reward") if pid not in before]
    assert not any(map(lives, before))
    assert all(map(lives, [*after, *trainer]))
    assert "cw: to be started anew; asked to stop" in machine.lines("one", "reward")
    assert machine.target.status("one").state is State.RUNNING
    assert roles_of(machine)["trainer"].attempts == 1
    assert not list(machine.folder("one").glob("restart-*"))
    assert machine.target.cancel("one")
    all_gone(machine, "one", "trainer", "reward")


def test_what_cannot_be_restarted_is_said(machine: Machine) -> None:
    launched(machine, WAITS, server())
    with pytest.raises(TargetError, match="`trainer` is no service") as caught:
        machine.target.restart("one", "trainer")
    assert "cw rerun one" in caught.value.hint
    with pytest.raises(TargetError, match="`rewrd` is no service") as caught:
        machine.target.restart("one", "rewrd")
    assert caught.value.hint == "It has reward."
    with pytest.raises(TargetError) as caught:
        machine.target.scale("one", "reward", 3)
    assert "--set services.reward.replicas=3" in caught.value.hint
    machine.target.cancel("one")
    with pytest.raises(TargetError, match="has ended"):
        machine.target.restart("one", "reward")


def test_replicas_have_ports_and_logs_of_their_own(machine: Machine) -> None:
    program = """
import os, urllib.request
for url in os.environ["REWARD_URL"].split(","):
    print(urllib.request.urlopen(url).read().decode(), flush=True)
"""
    launched(machine, program, server(), spec={"replicas": 2})
    assert machine.ended("one").state is State.SUCCEEDED
    own = [str(pids(machine, "one", role)[0]) for role in ("reward", "reward-1")]
    assert machine.lines("one") == own
    assert len(roles_of(machine)["reward"].addresses) == 2
    with pytest.raises(TargetError) as caught:
        machine.lines("one", "reward-2")
    assert caught.value.hint == "It has: trainer, reward, reward-1."
    all_gone(machine, "one", "reward", "reward-1")


def test_one_replica_may_be_restarted(machine: Machine) -> None:
    launched(machine, WAITS, server(), spec={"replicas": 2})
    machine.saw("one", "answered")
    machine.target.restart("one", "reward-1")
    machine.saw("one", "pids", "reward-1", times=2)
    assert len(pids(machine, "one", "reward")) == 2
    machine.target.restart("one", "reward")
    machine.saw("one", "pids", "reward", times=2)
    machine.saw("one", "pids", "reward-1", times=3)
    machine.target.delete(["one"])


def test_services_without_a_probe_are_not_waited_for(machine: Machine) -> None:
    launched(machine, ASKS, server(), health=None)
    assert machine.ended("one").state is State.SUCCEEDED


def test_services_listen_for_this_machine_alone(machine: Machine) -> None:
    launched(machine, None, server())
    running(machine)
    (address,) = roles_of(machine)["reward"].addresses
    port = int(address.rpartition(":")[2])
    assert urlopen(f"{address}/health").status == 200
    elsewhere = socket.socket()
    with elsewhere:
        elsewhere.bind(("127.0.0.2", port))  # Refused if the service had taken every interface.
    machine.target.delete(["one"])


def test_services_alone_stay_until_they_are_cancelled(machine: Machine) -> None:
    launched(machine, None, server())
    running(machine)
    status = machine.target.status("one")
    (reward,) = status.roles
    assert reward.state is State.RUNNING
    assert machine.target.why("one").sentence == f"Its services answer: reward at {reward.addresses[0]}."
    assert "--use-services one" in machine.target.why("one").remedy
    assert machine.lines("one")[0].startswith("pids")
    assert status.output_dir is None
    assert machine.target.cancel("one") is True
    assert machine.target.status("one").reason == "cancelled"
    all_gone(machine, "one", "reward")


def test_a_trainer_uses_the_services_of_another_run(machine: Machine) -> None:
    launched(machine, None, server("time.monotonic() > started + 1"))
    trainer = plan_of_roles("two", ASKS, {"reward": ""}, services_of="one")
    assert machine.target.check(trainer) == []
    machine.target.launch(trainer, attached=False)
    assert machine.ended("two").state is State.SUCCEEDED
    (service, _) = pids(machine, "one", "reward")
    assert f"answered by {service}" in machine.lines("two")
    running(machine)
    assert machine.target.delete(["one"]) == ["run one cancelled", "run one deleted"]

    (problem,) = machine.target.check(trainer)
    assert "no run `one`" in problem.message and "--services" in problem.remedy
    with pytest.raises(TargetError, match="no run `one`"):
        machine.target.launch(plan_of_roles("three", ASKS, {"reward": ""}, services_of="one"), attached=False)


def test_services_that_have_ended_cannot_be_used(machine: Machine) -> None:
    launched(machine, None, server())
    machine.target.cancel("one")
    (problem,) = machine.target.check(plan_of_roles("two", ASKS, {"reward": ""}, services_of="one"))
    assert problem.message == "The services of the run `one` have ended."
    machine.run("plain", "print(1)")
    (problem,) = machine.target.check(plan_of_roles("two", ASKS, {"reward": ""}, services_of="plain"))
    assert problem.message == "The run `plain` has no services."


def test_another_runs_service_that_does_not_answer_is_named(machine: Machine) -> None:
    launched(machine, None, server("False"), start_limit=600)
    unit = run_folder.read_json(machine.folder("one") / "unit.json")
    unit["roles"][0]["start_limit"] = 1
    run_folder.write_json(machine.folder("one") / "unit.json", unit)
    machine.target.launch(plan_of_roles("two", ASKS, {"reward": ""}, services_of="one"), attached=False)
    status = machine.ended("two")
    assert (status.exit_code, status.reason) == (3, "reward not healthy within 1 s")
    assert machine.target.why("two").remedy == "Read its log: cw logs one --role reward"
    machine.target.delete(["one"])


def test_a_cancelled_trainer_may_ask_until_it_has_saved(machine: Machine) -> None:
    program = (
        ASKS
        + """
import signal
def save(*_):
    print("saved with", ask(), flush=True); os._exit(143)
signal.signal(signal.SIGTERM, save); print("up", flush=True); time.sleep(600)
"""
    )
    launched(machine, program, server())
    machine.saw("one", "up")
    assert machine.target.cancel("one")
    assert any(line.startswith("saved with") for line in machine.lines("one"))
    assert machine.target.status("one").reason == "cancelled"
    all_gone(machine, "one", "trainer", "reward")


def test_deleting_a_live_run_ends_every_role(machine: Machine) -> None:
    quick = {"pod": {"terminationGracePeriodSeconds": 0}}
    launched(machine, WAITS, server(stubborn=True), trainer_changes=quick, **quick)
    machine.saw("one", "answered")
    found = everybody(machine, "one", "trainer", "reward")
    machine.target.delete(["one"])
    eventually(lambda: not any(map(lives, found)), f"{found} live on")


def test_a_killed_supervisor_leaves_nothing(machine: Machine) -> None:
    launched(machine, WAITS, server(stubborn=True))
    machine.saw("one", "answered")
    found = everybody(machine, "one", "trainer", "reward")
    os.kill(int(run_folder.read_json(machine.folder("one") / "status.json")["supervisor"]), signal.SIGKILL)
    assert machine.ended("one").reason == "process lost"
    eventually(lambda: not any(map(lives, found)), f"{found} live on")
    assert {role.state for role in machine.target.status("one").roles} == {State.FAILED}


def test_ports_are_given_once(machine: Machine) -> None:
    plans = [plan_of_roles(f"run-{n}", None, {"reward": server()}, spec={"replicas": 3}) for n in range(3)]
    given: list[int] = []
    for each in plans:
        machine.target.launch(each, attached=False)
        (ports,) = run_folder.read_json(machine.folder(each.run) / "unit.json")["addresses"].values()
        given += ports
    assert len(set(given)) == 9
    machine.target.delete([each.run for each in plans])


def test_a_launch_whose_service_cannot_be_started_leaves_nothing(machine: Machine) -> None:
    good = plan_of_roles("one", ASKS, {"reward": server(), "other": server()})
    broken = good.objects[-2]
    assert broken["metadata"]["name"] == "one-other"
    broken["spec"]["template"]["spec"]["containers"][0]["command"] = ["no-such-program-here"]
    assert "no-such-program-here" in machine.target.check(good)[0].message
    with pytest.raises(TargetError, match="no-such-program-here"):
        machine.target.launch(good, attached=True)
    assert machine.target.names() == []
    assert left_of(machine) == []


def _environ(entry: Path) -> bytes:
    try:
        return (entry / "environ").read_bytes().partition(b"CW_LOG=")[2]
    except OSError:
        return b""


LAUNCHER = """
import sys
sys.path[:0] = {paths!r}
from machines import Machine, plan_of_roles
from pathlib import Path
import time
target = Machine(Path({home!r})).target
quick = {{"pod": {{"terminationGracePeriodSeconds": 0}}}}
target.launch(plan_of_roles("one", {trainer!r}, {{"reward": {reward!r}}}, **quick), attached=True)
print("launched", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("delay", [None, 0.05, 0.15, 0.25, 0.35, 0.5, 0.7, 1.0, 1.5])
def test_a_launcher_killed_at_any_moment_leaves_nothing(machine: Machine, delay: float | None) -> None:
    """At any moment: while it launches, while the service comes up, while the trainer runs."""
    here = Path(__file__).resolve()
    script = LAUNCHER.format(
        paths=[str(here.parent), str(here.parents[2])],
        home=str(machine.home),
        trainer=WAITS,
        reward=server("time.monotonic() > started + 0.3", stubborn=True),
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    with process:
        if delay is None:
            assert process.stdout and process.stdout.readline() == "launched\n"
            machine.saw("one", "answered")
        else:
            time.sleep(delay)
        process.kill()
    eventually(lambda: not left_of(machine), "processes live on")
    eventually(lambda: all(status.state.ended for status in machine.target.list()), "the run goes on")
    assert run_folder.wait_until_free(machine.folder("one"), LIMIT)


def left_of(machine: Machine) -> list[Path]:
    """Processes of any run of this machine that somebody started here."""
    machine.target.list()  # Whoever looks settles what was lost.
    mark = str(machine.home).encode()
    return [entry for entry in Path("/proc").glob("[0-9]*") if mark in _environ(entry)]


@pytest.mark.parametrize("delay", [0.0, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.2])
@pytest.mark.parametrize("end", ["cancel", "delete", "kill"])
def test_an_end_at_any_moment_leaves_nothing(machine: Machine, end: str, delay: float) -> None:
    """The service takes its time, then the trainer works for a moment, dies of its service, and so on."""
    trainer = ASKS + "time.sleep(0.3); os.kill(int(ask()), 9); ask(); time.sleep(600)"
    quick = {"pod": {"terminationGracePeriodSeconds": 1}}
    launched(machine, trainer, server("time.monotonic() > started + 0.2"), spec={"replicas": 2}, **quick)
    time.sleep(delay)
    if end == "kill":
        os.kill(int(run_folder.read_json(machine.folder("one") / "status.json")["supervisor"]), signal.SIGKILL)
        assert machine.ended("one").reason == "process lost"
    elif end == "cancel":
        assert machine.target.cancel("one")
        assert machine.target.status("one").reason == "cancelled"
    else:
        machine.target.delete(["one"])
        assert machine.target.names() == []
    eventually(lambda: not left_of(machine), "processes live on")


def test_a_gate_of_the_templates_own_is_the_supervisors_work(machine: Machine) -> None:
    gate = {"name": "wait", "command": ["sh", "-c", "until nc -zv one-reward-service 8000; do sleep 5; done"]}
    other = {"name": "prepare", "command": ["sh", "-c", "make-data"]}
    for containers, message in (([gate], None), ([gate, other], "init containers (prepare)")):
        pod = plan_of_roles("one", ASKS, {"reward": server()}).objects[-1]["spec"]["template"]["spec"]
        changed = {"pod": {"initContainers": containers, "volumes": pod["volumes"]}}
        found = machine.target.check(plan_of_roles("one", ASKS, {"reward": server()}, trainer_changes=changed))
        assert [problem.message for problem in found if message is None or message not in problem.message] == []
        assert bool(found) is (message is not None)
