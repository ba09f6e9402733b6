"""The verbs on runs, on runs of this machine whose trainer is a small program."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import LIMIT, User, eventually

GOOD, BAD = "cw-trl-train-sft-good-bcdfg", "cw-trl-train-sft-bad-hjklm"


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> User:
    """Somebody with a run that succeeded and, after it, one that failed."""
    user = User(tmp_path_factory.mktemp("both"))
    assert user.finished(GOOD).code == 0
    assert user.finished(BAD, steps=2, code=3).code == 3
    return user


def test_a_followed_run_shows_its_log_its_progress_and_its_results(cw: User) -> None:
    said = cw.finished(GOOD, steps=3)
    assert said.code == 0
    assert said.out.splitlines() == ["reading data", "a warning of the trainer"]
    assert f"run      {GOOD}" in said.err
    assert "where    this machine" in said.err
    assert "step 3/3 (100%), loss 1.333, lr 0.001, 1,234 tokens/s" in said.err
    end = said.err[said.err.index("succeeded: ") :].splitlines()
    assert end[0].startswith(f"succeeded: {GOOD} in ")
    assert end[1:] == [
        "  loss     4 → 1.333",
        "  model    /models/x",
        "  plot     /models/x/loss.png",
        "  metrics  /models/x/metrics.jsonl",
        f"  next     cw describe {GOOD}",
    ]


def test_a_run_that_fails_says_why_and_ends_with_the_trainers_code(cw: User) -> None:
    said = cw.finished(BAD, steps=2, code=3)
    assert said.code == 3
    assert "failed: The trainer gave up at step 2 of 2: the data ran out." in said.err
    assert f"hint: Read the lines before it: cw logs {BAD} --tail 50" in said.err


def test_list_shows_the_newest_first(both: User) -> None:
    lines = both("list").out.splitlines()
    assert lines[0].split() == ["NAME", "STATE", "REASON", "AGE", "GPUS", "STEP", "LEFT", "LOSS"]
    assert lines[1].split()[:2] == [BAD, "Failed"]
    assert lines[2].split()[:2] == [GOOD, "Succeeded"]
    assert "3/3 100%" in lines[2]
    assert both("list", "-o", "name").out.split() == [BAD, GOOD]


@pytest.mark.parametrize(("form", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_list_as_data(both: User, form: str, read: Any) -> None:
    bad, good = read(both("list", "-o", form).out)
    assert (good["name"], good["state"], good["exit_code"]) == (GOOD, "Succeeded", 0)
    assert (good["outcome"]["first_loss"], good["outcome"]["model"]) == (4.0, "/models/x")
    assert (bad["state"], bad["exit_code"], bad["roles"][0]["role"]) == ("Failed", 3, "trainer")


def test_no_runs_are_no_data(cw: User) -> None:
    assert cw("list", "-o", "json").out == "[]\n"
    assert cw("list", "-o", "name").out == ""
    said = cw("list")
    assert (said.code, said.out) == (0, "")
    assert "there are no runs yet" in said.err


def test_describe(both: User) -> None:
    said = both("describe", GOOD)
    rows = dict(line.split(None, 1) for line in said.out.splitlines())
    assert rows["state"] == "Succeeded"
    assert rows["why"] == "Finished after 3 steps, loss from 4 to 1.333."
    assert rows["trainer"] == "Succeeded, exit code 0"
    assert rows["model"] == "/models/x"
    assert rows["config"] == str(both.home / "config.yaml")
    assert rows["user"] == "ada"
    assert rows["digest"].startswith("sha256:")
    data = json.loads(both("describe", GOOD, "-o", "json").out)
    assert data["record"]["framework"] == "trl"
    assert data["why"] == rows["why"]


def test_logs(both: User) -> None:
    assert both("logs", GOOD).out == "reading data\na warning of the trainer\n"

    raw = both("logs", GOOD, "--raw").out
    assert raw.count("::cw:: ") == 5
    assert both("logs", GOOD, "-f").out == both("logs", GOOD).out
    said = both("logs", GOOD, "--role", "reward")
    assert said.code == 1
    assert "has no role" in said.err
    assert both("logs", GOOD, "--tail", "-1").code == 2


def test_the_last_lines_are_lines_that_are_shown(both: User) -> None:
    assert both("logs", GOOD, "--tail", "1").out == "a warning of the trainer\n"


def test_why(both: User) -> None:
    said = both("why", BAD)
    assert said.out == "The trainer gave up at step 2 of 2: the data ran out.\n"
    assert said.err.startswith("hint: ")
    assert both("why", GOOD).out.startswith("Finished after 3 steps")


def test_wait_takes_over_the_exit_code(both: User) -> None:
    assert both("wait", GOOD).code == 0
    said = both("wait", BAD)
    assert (said.code, said.out) == (3, "")
    assert said.err.startswith("failed: The trainer gave up")


@pytest.mark.parametrize("name", [GOOD, "bcdfg", "cw-trl-train-sft-good"])
def test_a_run_has_short_names(both: User, name: str) -> None:
    assert both("why", name).out.startswith("Finished")


def test_a_name_that_is_nobodys_or_several_peoples(both: User) -> None:
    said = both("why", "nothing")
    assert (said.code, said.out) == (1, "")
    assert "no run is called nothing" in said.err
    said = both("why", "cw-trl")
    assert said.code == 1
    assert "may mean 2 runs" in said.err


@pytest.mark.parametrize("name", ["", "../x", "a/b", "a\nb", "*", "--", "é"])
def test_odd_names_are_no_runs(both: User, name: str) -> None:
    for verb in ("describe", "logs", "why", "cancel"):
        said = both(verb, name)
        assert said.code in (1, 2)
        assert said.err.startswith("error: ")


def test_cancelling_what_has_ended_says_so(both: User) -> None:
    said = both("cancel", GOOD)
    assert (said.code, said.out) == (0, "")
    assert "had ended already" in said.err


def test_a_record_is_enough_to_do_it_again(both: User) -> None:
    said = both("rerun", GOOD, "--dry-run", "--set", "max_steps=5", "--learning_rate", "1e-5")
    assert said.code == 0, said.err
    objects = list(yaml.safe_load_all(said.out))
    config = yaml.safe_load(objects[0]["data"]["config.yaml"])
    assert (config["max_steps"], config["learning_rate"], config["dataset_name"]) == (5, 1e-5, "owner/data")
    assert objects[-1]["metadata"]["name"] not in (GOOD, BAD)
    said = both("rerun", GOOD, "--dry-run", "--max_step", "5")
    assert said.code == 2
    assert "did you mean max_steps?" in said.err


def test_a_detached_run_goes_on_alone(cw: User) -> None:
    said = cw.finished(GOOD, steps=40, pause=0.1, flags="--detach")  # type: ignore[arg-type]
    assert (said.code, said.out) == (0, f"{GOOD}\n")
    assert f"cw logs {GOOD} -f" in said.err
    assert "Running" in cw("list").out
    eventually(lambda: "reading data" in cw("logs", GOOD).out, "the run never speaks")
    said = cw("cancel", GOOD)
    assert said.code == 0
    assert said.err.startswith("cancelled: ")
    (status,) = json.loads(cw("list", "-o", "json").out)
    assert (status["state"], status["reason"]) == ("Failed", "cancelled")
    assert cw("why", GOOD).out.startswith("Cancelled")
    assert cw("wait", GOOD).code != 0


def test_waiting_has_a_limit(cw: User) -> None:
    cw.finished(GOOD, steps=600, pause=0.1, flags="--detach")  # type: ignore[arg-type]
    said = cw("wait", GOOD, "--timeout", "1s")
    assert said.code == 1
    assert "is still running after 1s" in said.err
    assert cw("wait", GOOD, "--timeout", "soon").code == 2


def test_deleting(cw: User) -> None:
    cw.finished(GOOD)
    cw.finished(BAD, steps=600, pause=0.1, flags="--detach")  # type: ignore[arg-type]
    said = cw("delete", GOOD, BAD)
    assert said.code == 2
    assert "Add --yes" in said.err
    assert len(cw("list", "-o", "name").out.split()) == 2, "nothing was deleted"
    said = cw("delete", "--yes", GOOD, BAD)
    assert said.code == 0
    assert cw("list", "-o", "name").out == ""
    assert cw("delete", GOOD).code == 1


def follow(cw: User, **how: Any) -> subprocess.Popen[str]:
    """A followed run that has begun to train, in a process group of its own, as a shell starts it."""
    process = cw._popen(cw.launching(GOOD, steps=600, pause=0.1), start_new_session=True, **how)
    eventually(lambda: '"step": 1' in cw("logs", GOOD, "--raw").out, "the run never trains")
    return process


def processes_of(run: str) -> list[int]:
    """Processes whose environment says that they belong to the run."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"CW_RUN={run}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


@pytest.mark.usefixtures("no_signals_ignored")
def test_ctrl_c_cancels_a_followed_run(cw: User) -> None:
    process = follow(cw)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 130
    assert "cancelling: " in err
    assert "Traceback" not in err
    (status,) = json.loads(cw("list", "-o", "json").out)
    assert (status["state"], status["reason"]) == ("Failed", "cancelled")
    assert processes_of(GOOD) == []


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_a_run_ends_with_the_terminal_that_followed_it(cw: User, number: signal.Signals) -> None:
    process = follow(cw)
    os.killpg(process.pid, number)
    process.communicate(timeout=LIMIT)
    assert process.returncode != 0
    eventually(lambda: json.loads(cw("list", "-o", "json").out)[0]["state"] == "Failed", "the run lives on")
    eventually(lambda: processes_of(GOOD) == [], "its processes live on")


@pytest.mark.usefixtures("no_signals_ignored")
def test_ctrl_c_while_reading_a_log_leaves_the_run_alone(cw: User) -> None:
    cw.finished(GOOD, steps=600, pause=0.1, flags="--detach")  # type: ignore[arg-type]
    reader = cw.start("logs", GOOD, "-f")
    assert reader.stdout is not None
    assert reader.stdout.readline() == "reading data\n"
    reader.send_signal(signal.SIGINT)
    _, err = reader.communicate(timeout=LIMIT)
    assert reader.returncode != 0
    assert "Traceback" not in err
    assert json.loads(cw("list", "-o", "json").out)[0]["state"] == "Running"


@pytest.mark.parametrize("words", ["list", "schema trl sft", "init trl sft", f"logs {GOOD} --raw", f"describe {GOOD}"])
def test_a_closed_pipe_is_no_error(both: User, words: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = both.start(*words.split(), stdout=writing)
    os.close(writing)
    _, err = process.communicate(timeout=LIMIT)
    assert "Traceback" not in err
    assert "Error" not in err
    assert "error: " not in err


def test_colors_are_for_terminals_only(both: User) -> None:
    said = both("why", BAD)
    assert "\x1b" not in said.out + said.err


class Terminal:
    """A pseudo-terminal of 120 columns with a command in it, and all that it shows."""

    def __init__(self, command: list[str], cwd: Path, environment: dict[str, str]) -> None:
        import fcntl
        import struct
        import termios

        self.shown = b""
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            os.chdir(cwd)
            os.execvpe(command[0], command, environment)
        fcntl.ioctl(self.descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self.descriptor, 65536)
            except OSError:
                return
            if not data:
                return
            self.shown += data

    def text(self) -> str:
        return self.shown.decode("utf-8", "replace")

    def type(self, text: str) -> None:
        os.write(self.descriptor, text.encode())

    def close(self) -> None:
        """Close the window."""
        os.close(self.descriptor)

    def ended(self) -> int:
        _, status = os.waitpid(self.pid, 0)
        self.reader.join(timeout=5)
        return os.waitstatus_to_exitcode(status)


def terminal(user: User, command: list[str], **environment: str) -> Terminal:
    import warnings

    with warnings.catch_warnings():
        # The child only ever calls exec.
        warnings.simplefilter("ignore", DeprecationWarning)
        return Terminal(command, user.home, {**user.environment, **environment})


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def test_a_terminal_shows_a_bar_with_the_progress(cw: User) -> None:
    shown = terminal(cw, cw.launching(GOOD, steps=8, pause=0.2))
    assert shown.ended() == 0
    text = plain(shown.text())
    assert "━" in text
    assert re.search(r"step \d/8 \(\d+%\), loss [\d.]+, lr 0.001, 1,234 tokens/s", text)
    assert "left" in text
    assert "reading data" in text
    assert "::cw::" not in text
    assert "succeeded: " in text
    assert "\x1b[" in shown.text()


def test_no_color_is_respected(both: User) -> None:
    colored = terminal(both, both.command("why", BAD))
    assert colored.ended() == 0
    assert "\x1b[" in colored.text()
    for name, value in (("NO_COLOR", "1"), ("TERM", "dumb")):
        shown = terminal(both, both.command("why", BAD), **{name: value})
        assert shown.ended() == 0
        assert "\x1b[" not in shown.text()
        shown = terminal(both, both.command("list"), **{name: value})
        assert shown.ended() == 0
        assert "\x1b[3" not in shown.text(), "no color; other styles may stay"


def test_a_table_in_a_terminal_shows_whole_names(both: User) -> None:
    shown = terminal(both, both.command("list"))
    assert shown.ended() == 0
    assert GOOD in plain(shown.text())
    assert BAD in plain(shown.text())


@pytest.mark.parametrize("way", ["ctrl-c", "closed"])
def test_a_run_in_a_terminal_ends_with_ctrl_c_and_with_the_window(cw: User, way: str) -> None:
    shown = terminal(cw, cw.launching(GOOD, steps=600, pause=0.1))
    eventually(lambda: re.search(r"step \d+/600", plain(shown.text())) is not None, "the run never trains")
    if way == "ctrl-c":
        shown.type("\x03")
    else:
        shown.close()
    assert shown.ended() != 0
    eventually(lambda: json.loads(cw("list", "-o", "json").out)[0]["state"] == "Failed", "the run lives on")
    eventually(lambda: processes_of(GOOD) == [], "its processes live on")


def test_two_runs_at_once_do_not_meet(cw: User) -> None:
    first = cw.launch(GOOD, steps=20, pause=0.05)
    second = cw.launch(BAD, steps=20, pause=0.05, code=4)
    first.communicate(timeout=LIMIT)
    second.communicate(timeout=LIMIT)
    assert (first.returncode, second.returncode) == (0, 4)
    states = {item["name"]: item["state"] for item in json.loads(cw("list", "-o", "json").out)}
    assert states == {GOOD: "Succeeded", BAD: "Failed"}


def test_a_run_whose_processes_are_killed_is_noticed(cw: User) -> None:
    cw.finished(GOOD, steps=600, pause=0.1, flags="--detach")  # type: ignore[arg-type]
    (status,) = json.loads(cw("list", "-o", "json").out)
    assert status["state"] == "Running"
    supervisor = json.loads((cw.home / "state/cw/runs" / GOOD / "status.json").read_text())["supervisor"]
    os.kill(supervisor, signal.SIGKILL)
    eventually(lambda: json.loads(cw("list", "-o", "json").out)[0]["state"] == "Failed", "nobody noticed")
    assert "were gone" in cw("why", GOOD).out
    eventually(lambda: processes_of(GOOD) == [], "its processes live on")
