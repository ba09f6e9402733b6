"""A run's life with real processes: starts, ends, retries, limits, cancellations, and deaths that nobody announced."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cw_cli.core.exceptions import RunNotFoundError, TargetError
from cw_cli.core.status import State
from cw_cli.targets.local import folder as run_folder
from cw_cli.targets.local.store import Store
from cw_cli.targets.local.target import LocalTarget

from .machines import LIMIT, Machine, eventually, plan

SLEEPER = "import time; print('up', flush=True); time.sleep(600)"
STUBBORN = """
import os, signal, subprocess, sys, time
ignore = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
signal.signal(signal.SIGTERM, signal.SIG_IGN)
quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
family = [subprocess.Popen([sys.executable, "-c", ignore]),
          subprocess.Popen([sys.executable, "-c", ignore], start_new_session=True),
          subprocess.Popen([sys.executable, "-c", ignore], start_new_session=True, **quiet)]
print("pids", os.getpid(), *[each.pid for each in family], flush=True)
time.sleep(600)
"""
OBEDIENT_WITH_STUBBORN_FAMILY = STUBBORN.replace("signal.signal(signal.SIGTERM, signal.SIG_IGN)\nquiet", "quiet")


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def pids(machine: Machine, run: str) -> list[int]:
    machine.saw(run, "pids")
    line = next(line for line in machine.lines(run) if line.startswith("pids"))
    return [int(word) for word in line.split()[1:]]


def all_gone(processes: list[int]) -> None:
    eventually(lambda: not any(map(lives, processes)), f"{processes} live on")


def supervisor(machine: Machine, run: str) -> int:
    return int(run_folder.read_json(machine.folder(run) / "status.json")["supervisor"])


def test_a_run_gets_its_config_environment_and_folders(machine: Machine) -> None:
    program = """
import os
print(open("/cw/config/config.yaml").read())
print(repr(os.environ["CUDA_VISIBLE_DEVICES"]), os.getcwd(), os.environ["PLACE"])
os.makedirs("/model-checkpoints/one"); open("/model-checkpoints/one/model", "w").write("weights")
"""
    status = machine.run(
        "one",
        program,
        config="output_dir: /model-checkpoints/one",
        container={"env": [{"name": "PLACE", "value": "/model-checkpoints"}]},
    )
    assert (status.state, status.exit_code, status.reason) == (State.SUCCEEDED, 0, "")
    assert machine.lines("one") == [
        f"output_dir: {machine.volume}/one",
        f"'' {machine.home} {machine.volume}",
    ]
    assert status.output_dir == f"{machine.volume}/one"
    assert (machine.volume / "one/model").read_text() == "weights"
    assert (status.name, status.framework, status.training_type, status.user) == ("one", "trl", "sft", "ada")
    assert status.created and status.started and status.finished
    assert status.created <= status.started <= status.finished
    assert machine.target.record("one") == {"config": {"a": 1}}


def test_a_static_template_of_a_plugin_runs(machine: Machine) -> None:
    program = "print(open('/mnt/trl-config/config.yaml').read(), end='')"
    container = {
        "command": ["python"],
        "args": ["-c", program],
        "volumeMounts": [{"name": "config", "mountPath": "/mnt/trl-config"}],
    }
    assert machine.run("one", "", config="rate: 1e-5\n", container=container).state is State.SUCCEEDED
    assert machine.lines("one") == ["rate: 1e-5"]


TRAINER = """
import json, time
def tell(**data): print("::cw:: " + json.dumps(data), flush=True)
tell(event="start", total=4, resumed_from=None, step=0)
tell(step=2, total=4, loss=5.0, lr=2e-05, tokens_per_second=10.0, eta_s=1.0)
{then}
tell(event="done", steps=4, seconds=1.5, first_loss=5.0, last_loss=3.0, model="/model-checkpoints/one/final")
"""


def test_progress_outcome_and_verdict_of_a_training(machine: Machine) -> None:
    machine.target.launch(plan("one", TRAINER.format(then="time.sleep(600)")), attached=False)
    machine.saw("one", '"step": 2')
    status = machine.target.status("one")
    assert status.progress and (status.progress.step, status.progress.total, status.progress.loss) == (2, 4, 5.0)
    assert machine.target.why("one").sentence == "Running at step 2 of 4."
    machine.target.cancel("one")
    assert machine.target.why("one").sentence == "Cancelled at step 2 of 4."

    outcome = machine.run("two", TRAINER.format(then="")).outcome
    assert outcome and (outcome.steps, outcome.last_loss) == (4, 3.0)
    assert outcome.model == f"{machine.volume}/one/final"

    machine.run("three", TRAINER.format(then="raise ValueError('no column text')"))
    assert "at step 2 of 4" in machine.target.why("three").sentence
    assert "ValueError: no column text" in machine.target.why("three").sentence


def test_deleting_leaves_the_output_and_says_where(machine: Machine) -> None:
    machine.run("one", "import os; os.makedirs('/model-checkpoints/one')")
    (line,) = machine.target.delete(["one"])
    assert str(machine.volume / "one") in line
    assert (machine.volume / "one").is_dir()
    assert machine.target.names() == []
    with pytest.raises(RunNotFoundError):
        machine.target.status("one")


def test_deleting_a_live_run_ends_it_first(machine: Machine) -> None:
    machine.target.launch(plan("one", STUBBORN, pod={"terminationGracePeriodSeconds": 0}), attached=False)
    family = pids(machine, "one")
    assert machine.target.delete(["one"]) == ["run one cancelled", "run one deleted"]
    all_gone(family)


@pytest.mark.parametrize("name", ["nope", "..", "../one", "", "a/b", ".one.partial"])
def test_unknown_names(machine: Machine, name: str) -> None:
    with pytest.raises(RunNotFoundError):
        machine.target.status(name)


def test_exit_codes_and_signals(machine: Machine) -> None:
    status = machine.run("code", "raise SystemExit(7)")
    assert (status.state, status.exit_code, status.reason) == (State.FAILED, 7, "exit code 7")
    status = machine.run("killed", "import os; os.kill(os.getpid(), 9)")
    assert (status.state, status.exit_code, status.reason) == (State.FAILED, 137, "SIGKILL")
    assert "memory" in machine.target.why("killed").sentence


def test_retries_until_it_works(machine: Machine) -> None:
    program = """
import os, sys
path = "/model-checkpoints/tries"; tries = os.path.exists(path) and int(open(path).read()) or 0
open(path, "w").write(str(tries + 1)); print("try", tries, end=""); sys.exit(tries == 0)
"""
    status = machine.run("one", program, spec={"backoffLimit": 2})
    assert status.state is State.SUCCEEDED
    assert status.roles[0].attempts == 2
    assert machine.lines("one") == ["try 0", "cw: attempt 2 of 3", "try 1"]


def test_retries_end(machine: Machine) -> None:
    status = machine.run("one", "print('no'); raise SystemExit(3)", spec={"backoffLimit": 1})
    assert (status.exit_code, status.roles[0].attempts, machine.lines("one").count("no")) == (3, 2, 2)


def test_the_verdict_is_on_the_last_attempt(machine: Machine) -> None:
    program = """
import os
if not os.path.exists("/model-checkpoints/tried"):
    open("/model-checkpoints/tried", "w")
    raise ValueError("first")
os._exit(4)
"""
    machine.run("one", program, spec={"backoffLimit": 1})
    assert machine.target.why("one").sentence == "The trainer ended with exit code 4."


def test_the_time_limit_ends_a_run_that_ignores_sigterm(machine: Machine) -> None:
    status = machine.run("one", STUBBORN, spec={"activeDeadlineSeconds": 1}, pod={"terminationGracePeriodSeconds": 1})
    assert (status.state, status.reason) == (State.FAILED, "DeadlineExceeded")
    assert "time limit" in machine.target.why("one").sentence
    all_gone(pids(machine, "one"))


def test_cancel_ends_the_whole_family(machine: Machine) -> None:
    machine.target.launch(plan("one", STUBBORN, pod={"terminationGracePeriodSeconds": 0}), attached=False)
    family = pids(machine, "one")
    assert all(map(lives, family))
    assert machine.target.cancel("one") is True
    status = machine.target.status("one")
    assert (status.state, status.reason) == (State.FAILED, "cancelled")
    all_gone(family)
    assert machine.target.cancel("one") is False


def test_a_cancelled_trainer_may_save(machine: Machine) -> None:
    program = """
import signal, sys, time
def save(*_): print("saved", flush=True); sys.exit(143)
signal.signal(signal.SIGTERM, save); print("up", flush=True); time.sleep(600)
"""
    machine.target.launch(plan("one", program, spec={"backoffLimit": 3}), attached=False)
    machine.saw("one", "up")
    assert machine.target.cancel("one")
    assert machine.lines("one") == ["up", "cw: cancelled; asked to stop", "saved"]
    status = machine.target.status("one")
    assert (status.reason, status.exit_code, status.roles[0].attempts) == ("cancelled", 143, 1)


def test_cancel_between_two_attempts(machine: Machine) -> None:
    machine.target.launch(plan("one", "print('no'); raise SystemExit(1)", spec={"backoffLimit": 30}), attached=False)
    machine.saw("one", "attempt 3")
    assert machine.target.cancel("one")
    assert machine.target.status("one").reason == "cancelled"


def test_grandchildren_do_not_outlive_a_trainer_that_ends(machine: Machine) -> None:
    status = machine.run("one", STUBBORN.rpartition("time.sleep")[0])
    assert status.state is State.SUCCEEDED
    all_gone(pids(machine, "one"))


def test_a_killed_supervisor_is_noticed_and_nothing_is_left(machine: Machine) -> None:
    machine.target.launch(plan("one", STUBBORN), attached=False)
    family = pids(machine, "one")
    os.kill(supervisor(machine, "one"), signal.SIGKILL)
    eventually(lambda: machine.target.status("one").state is State.FAILED, "the loss is not noticed")
    all_gone(family)
    status = machine.target.status("one")
    assert (status.reason, status.roles[0].state) == ("process lost", State.FAILED)
    assert status.finished
    assert "gone" in machine.target.why("one").sentence
    assert machine.target.cancel("one") is False
    assert machine.target.delete(["one"]) == ["run one deleted"]


LAUNCHER = """
import json, os, sys, time
sys.path[:0] = {paths!r}
from machines import Machine, plan
from pathlib import Path
machine = Machine(Path({home!r}))
target = machine.target
target.launch(plan("one", {program!r}), attached={attached})
print("launched", flush=True)
time.sleep({wait})
"""


def launcher(machine: Machine, program: str, *, attached: bool, wait: float) -> subprocess.Popen[str]:
    here = Path(__file__).resolve()
    script = LAUNCHER.format(
        paths=[str(here.parent), str(here.parents[2])],
        home=str(machine.home),
        program=program,
        attached=attached,
        wait=wait,
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout and process.stdout.readline() == "launched\n"
    return process


def test_an_attached_run_ends_with_a_launcher_that_is_killed(machine: Machine) -> None:
    with launcher(machine, OBEDIENT_WITH_STUBBORN_FAMILY, attached=True, wait=600) as process:
        family = pids(machine, "one")
        process.kill()
        process.wait()
        status = machine.ended("one")
    assert (status.state, status.reason) == (State.FAILED, "cancelled")
    assert "--detach" in machine.target.why("one").remedy
    all_gone(family)


def test_a_detached_run_outlives_its_launcher(machine: Machine) -> None:
    with launcher(machine, SLEEPER, attached=False, wait=0) as process:
        assert process.wait(LIMIT) == 0
    machine.saw("one", "up")
    assert machine.target.status("one").state is State.RUNNING
    assert machine.target.cancel("one")


def test_an_attached_run_that_ended_well_stays_so(machine: Machine) -> None:
    with launcher(machine, "print('hi')", attached=True, wait=600) as process:
        assert machine.ended("one").state is State.SUCCEEDED
        process.kill()
    assert machine.target.status("one").state is State.SUCCEEDED


def test_a_name_is_taken_once(machine: Machine) -> None:
    outcomes: list[str] = []

    def launch() -> None:
        try:
            LocalTarget(machine.environment, cwd=str(machine.home)).launch(plan("one", SLEEPER), attached=False)
            outcomes.append("launched")
        except TargetError as error:
            outcomes.append(error.message)

    threads = [threading.Thread(target=launch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
    assert sorted(outcomes) == ["There is already a run `one` on this machine."] * 3 + ["launched"]


def test_runs_at_once_do_not_disturb_each_other(machine: Machine) -> None:
    names = [f"run-{number}" for number in range(5)]
    for name in names:
        machine.target.launch(plan(name, f"for i in range(500): print({name!r}, i)"), attached=False)
    for name in names:
        assert machine.ended(name).state is State.SUCCEEDED
        assert machine.lines(name) == [f"{name} {number}" for number in range(500)]
    assert machine.target.names() == names[::-1]
    assert [status.name for status in machine.target.list()] == names[::-1]


def test_a_second_run_into_the_same_output_is_refused(machine: Machine) -> None:
    first, second = (plan(name, SLEEPER, output_dir="/model-checkpoints/same") for name in ("one", "two"))
    machine.target.launch(first, attached=False)
    assert ["one" in problem.message for problem in machine.target.check(second)] == [True]
    machine.target.cancel("one")
    assert machine.target.check(second) == []


def everything_in(path: Path) -> list[str]:
    return sorted(str(each.relative_to(path)) for each in path.rglob("*") if each.is_file())


def test_a_failed_launch_leaves_nothing(machine: Machine) -> None:
    broken = plan("one", "", container={"command": ["no-such-program-here"]})
    assert "no-such-program-here" in machine.target.check(broken)[0].message
    with pytest.raises(TargetError, match="no-such-program-here"):
        machine.target.launch(broken, attached=True)
    assert machine.target.names() == []
    assert everything_in(machine.home) == ["state/cw/launch.lock"]
    assert not (machine.home / "data").exists()


def test_a_place_that_cannot_be_written_is_named(machine: Machine) -> None:
    (machine.home / "data").write_text("a file where a folder should be")
    with pytest.raises(TargetError, match="could not be set up") as caught:
        machine.target.launch(plan("one", SLEEPER), attached=False)
    assert str(machine.home / "data") in caught.value.hint
    assert machine.target.names() == []


def test_an_interrupted_launch_leaves_nothing(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    real = subprocess.run

    def interrupted(*arguments: object, **named: object) -> None:
        real(*arguments, **named)  # type: ignore[call-overload]
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        machine.target.launch(plan("one", SLEEPER), attached=False)
    assert everything_in(machine.home) == ["state/cw/launch.lock"]


def test_a_launch_that_was_killed_half_way_is_cleared_by_the_next(machine: Machine) -> None:
    draft = machine.folder("one").with_name(".one.partial")
    (draft / "mounts").mkdir(parents=True)
    assert machine.target.names() == []
    assert machine.run("one", "print(1)").state is State.SUCCEEDED
    assert not draft.exists()


def test_no_secret_is_written_down(machine: Machine) -> None:
    machine.environment["HF_TOKEN"] = "hf_verysecret"
    env = [{"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hf", "key": "HF_TOKEN"}}}]
    status = machine.run("one", "import os; print(len(os.environ['HF_TOKEN']))", container={"env": env})
    assert status.state is State.SUCCEEDED
    assert machine.lines("one") == ["13"]
    for path in everything_in(machine.home):
        assert b"verysecret" not in (machine.home / path).read_bytes()


def test_modules_of_the_users_folder_do_not_disturb_the_supervisor(machine: Machine) -> None:
    (machine.home / "json.py").write_text("raise SystemExit('shadowed')")
    machine.environment["PYTHONPATH"] = str(machine.home)
    status = machine.run("one", "import os; print(os.environ['PYTHONPATH'])")
    assert status.state is State.SUCCEEDED
    assert machine.lines("one") == [str(machine.home)]


def test_a_run_of_another_machine_is_left_alone(machine: Machine) -> None:
    machine.run("one", "print(1)")
    folder = machine.folder("one")
    for name, change in (("unit.json", {"host": "elsewhere"}), ("status.json", {"state": "Running"})):
        run_folder.write_json(folder / name, {**run_folder.read_json(folder / name), **change})
    assert machine.target.status("one").state is State.RUNNING
    with pytest.raises(TargetError, match="elsewhere"):
        machine.target.cancel("one")
    run_folder.write_json(folder / "status.json", {"state": "Failed"})


@pytest.mark.parametrize("broken", ["unit.json", "status.json"])
def test_a_damaged_run_can_be_listed_and_deleted(machine: Machine, broken: str) -> None:
    machine.run("one", "print(1)")
    (machine.folder("one") / broken).write_text("{")
    assert [status.name for status in machine.target.list()] == ["one"]
    machine.target.why("one")
    machine.target.delete(["one"])
    assert machine.target.names() == []


def test_folders_follow_the_xdg_standard() -> None:
    store = Store({"HOME": "/home/ada", "XDG_STATE_HOME": "relative"})
    assert store.runs == Path("/home/ada/.local/state/cw/runs")
    assert store.volumes == Path("/home/ada/.local/share/cw/volumes")


def test_the_import_is_light() -> None:
    heavy = ["typer", "rich", "jinja2", "yaml", "pydantic", "kubernetes", "torch"]
    script = f"import sys, cw_cli.targets.local.target; print([name for name in {heavy} if name in sys.modules])"
    root = str(Path(__file__).resolve().parents[2])
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert json.loads(done.stdout.replace("'", '"')) == []
