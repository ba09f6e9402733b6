"""What the command line shows of a run of several roles, and what Ctrl-C does to one."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cw_cli.core.status import State

from .machines import LIMIT, Machine, eventually, plan_of_roles
from .test_roles import WAITS, everybody, lives, running, server

FOLLOWER = """
import sys
sys.path[:0] = {paths!r}
from machines import Machine, plan_of_roles
from pathlib import Path
from cw_cli.cli.follow import follow
target = Machine(Path({home!r})).target
target.launch(plan_of_roles("one", {trainer!r}, {{"reward": {reward!r}}}), attached=True)
sys.exit(follow(target, "one", cancel=True))
"""


@pytest.fixture
def home(machine: Machine) -> Iterator[Machine]:
    """A machine on which `cw` finds no cluster and no settings."""
    machine.environment |= {"KUBECONFIG": "/no/such", "XDG_CONFIG_HOME": str(machine.home), "LOGNAME": "ada"}
    yield machine


def cw(machine: Machine, *words: str) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "cw_cli.cli.main", *words]
    done = subprocess.run(command, env=machine.environment, capture_output=True, text=True, timeout=LIMIT)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


def test_verbs_on_a_run_of_two_roles(home: Machine) -> None:
    home.target.launch(plan_of_roles("one", WAITS, {"reward": server()}), attached=False)
    home.saw("one", "answered")
    (_, reward) = home.target.status("one").roles

    _, out, _ = cw(home, "list")
    title, run, *roles = (line.split()[:3] for line in out.splitlines())
    assert (title[0], run[:2]) == ("NAME", ["one", "Running"])
    assert roles == [["trainer", "Running", "-"], ["reward", "Running", "-"]]

    _, out, _ = cw(home, "describe", "one")
    assert f"\nreward     Running, {reward.addresses[0]}\n" in out

    assert cw(home, "logs", "one", "--role", "reward")[1].startswith("pids")
    assert cw(home, "logs", "one")[1].splitlines()[1].startswith("answered")

    code, _, err = cw(home, "restart", "one", "--role", "reward")
    assert code == 0 and "cw logs one --role reward -f" in err
    home.saw("one", "pids", "reward", times=2)
    code, _, err = cw(home, "restart", "one", "--role", "trainer")
    assert code == 1 and "`trainer` is no service" in err and "cw rerun one" in err

    assert cw(home, "delete", "one", "--yes")[0] == 0
    assert cw(home, "list")[1] == ""


def test_a_run_that_ended_is_one_line(home: Machine) -> None:
    home.target.launch(plan_of_roles("one", WAITS, {"reward": "raise ValueError('no model')"}), attached=False)
    home.ended("one")
    assert len(cw(home, "list")[1].splitlines()) == 2
    code, out, _ = cw(home, "why", "one")
    assert (code, out) == (0, "The reward service ended before it was healthy (exit code 1): ValueError: no model.\n")
    assert cw(home, "wait", "one")[0] == 3


def test_waiting_for_services(home: Machine) -> None:
    home.target.launch(plan_of_roles("one", None, {"reward": server("time.monotonic() > started + 1")}), attached=False)
    code, _, err = cw(home, "wait", "one", "--for", "running")
    assert code == 0 and "reward at http://127.0.0.1:" in err
    home.target.delete(["one"])


@pytest.mark.parametrize("healthy", ["True", "False"])
def test_ctrl_c_ends_every_role(home: Machine, healthy: str) -> None:
    """While the trainer runs, and while it waits."""
    here = Path(__file__).resolve()
    paths = [str(here.parent), str(here.parents[2])]
    script = FOLLOWER.format(paths=paths, home=str(home.home), trainer=WAITS, reward=server(healthy))
    with subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True) as process:
        eventually(lambda: "one" in home.target.names(), "it is not launched")
        roles = ["reward"]
        if healthy == "True":
            running(home)
            home.saw("one", "answered")
            roles.append("trainer")
        found = everybody(home, "one", *roles)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 130
    assert "Cancelled" in err and "Traceback" not in err
    assert home.target.status("one").state is State.FAILED
    eventually(lambda: not any(map(lives, found)), f"{found} live on")
