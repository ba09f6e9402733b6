"""The guard's own words and decisions: its script, with names that are there or not as a test wants them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cw_cli.core.guard import guard_objects
from cw_cli.core.launch_keys import LaunchKeys
from cw_cli.core.pods import main_container

NSLOOKUP = (
    '#!/bin/sh\nfor name in $(cat {names}); do case "$1" in $name*) echo "Name: $1"; exit 0;; esac; done\nexit 1\n'
)


class Guard:
    """The script, its clock ten times as fast, in a folder that says which names are there."""

    def __init__(self, folder: Path, **limits: int) -> None:
        self.names, self.said, self.launched = folder / "names", folder / "said", folder / "launched"
        self.knows("kubernetes")
        for program, text in {
            "nslookup": NSLOOKUP.format(names=self.names),
            "nc": "#!/bin/sh\nsleep 1\n",
            "awk": "#!/bin/sh\necho ns.svc.cluster.local\n",
            "sleep": "#!/bin/sh\nexec /bin/sleep 0.05\n",
        }.items():
            (folder / program).write_text(text)
            (folder / program).chmod(0o755)
        container = main_container(guard_objects("run", LaunchKeys(), {})[-1])
        script = container["args"][0].replace("/tmp/said", str(self.said))
        script = script.replace("/cw/launched/launched", str(self.launched)).replace("sleep 2", "sleep 0.05")
        env = {entry["name"]: entry["value"] for entry in container["env"]}
        env |= {"GRACE": "4", "UNSEEN_GRACE": "4", "LAUNCH_LIMIT": "600", "START_LIMIT": "600"}
        env |= {name: str(value) for name, value in limits.items()}
        environment = {**env, "PATH": f"{folder}:{os.environ['PATH']}"}
        self.told = (folder / "told").open("w+")
        # In a pod all processes end with the first; here, as a group.
        self.process = subprocess.Popen(["sh", "-c", script], env=environment, stdout=self.told, start_new_session=True)

    def knows(self, *names: str) -> None:
        draft = self.names.with_suffix(".new")
        draft.write_text(" ".join(names))
        draft.replace(self.names)

    def ends(self, within: float = 10) -> str:
        assert self.process.wait(within) == 0
        self.told.seek(0)
        return self.told.read().splitlines()[-1].partition(" ")[2]

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.told.close()

    def stays(self, seconds: float) -> None:
        time.sleep(seconds)
        assert self.process.poll() is None


@pytest.fixture
def guard(tmp_path: Path) -> Iterator[Callable[..., Guard]]:
    started: list[Guard] = []

    def start(**limits: int) -> Guard:
        started.append(Guard(tmp_path, **limits))
        return started[-1]

    yield start
    for item in started:
        item.close()


def test_it_ends_when_a_trainer_that_was_there_is_gone(guard: Callable[..., Guard]) -> None:
    watching = guard(GRACE=5)
    watching.knows("kubernetes", "run-trainer")
    watching.stays(0.4)
    watching.knows("kubernetes")
    watching.stays(0.3)
    assert watching.ends() == "the trainer is gone"


def test_names_that_nobody_can_look_up_end_nothing(guard: Callable[..., Guard]) -> None:
    watching = guard(GRACE=3)
    watching.knows("kubernetes", "run-trainer")
    watching.stays(0.4)
    watching.knows()
    watching.stays(0.8)
    watching.knows("kubernetes", "run-trainer")
    watching.stays(0.3)
    watching.knows("kubernetes")
    assert watching.ends() == "the trainer is gone"


def test_a_trainer_that_says_that_it_ended_is_believed_at_once(guard: Callable[..., Guard]) -> None:
    watching = guard(GRACE=600)
    watching.knows("kubernetes", "run-trainer")
    watching.stays(0.3)
    watching.said.write_text("ended\n")
    assert watching.ends() == "the trainer says that it ended"


def test_a_trainer_that_began_and_was_never_seen_is_gone(guard: Callable[..., Guard]) -> None:
    watching = guard(UNSEEN_GRACE=3)
    watching.launched.touch()
    watching.stays(0.5)
    watching.said.write_text("started\n")
    assert watching.ends() == "the trainer is gone"


def test_a_launch_without_its_mark_is_dead(guard: Callable[..., Guard]) -> None:
    assert guard(LAUNCH_LIMIT=3).ends() == "the launch did not come to its end"


def test_a_trainer_that_does_not_start_is_waited_for_up_to_the_limit(guard: Callable[..., Guard]) -> None:
    watching = guard(LAUNCH_LIMIT=2, START_LIMIT=8)
    watching.launched.touch()
    watching.stays(0.5)
    assert watching.ends() == "the trainer did not start in time"


def test_two_runs_do_not_give_up_at_the_same_moment() -> None:
    def limit(run: str) -> Any:
        entries = main_container(guard_objects(run, LaunchKeys(start_limit=1000), {})[-1])["env"]
        return next(int(entry["value"]) for entry in entries if entry["name"] == "START_LIMIT")

    limits = {limit(f"run-{number}") for number in range(20)}
    assert len(limits) > 15
    assert min(limits) >= 1000
    assert max(limits) <= 1500
