"""Why a run is in its state, from facts that any target can see: the two sentences that `cw why` prints."""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from typing import NamedTuple

from cw_cli.core.status import Outcome, Progress, State


class Verdict(NamedTuple):
    """Why a run is in its state, in one sentence, and what to do about it in another."""

    sentence: str
    remedy: str = ""


class Facts(NamedTuple):
    """What a target saw of a run, as far as a verdict needs it. What a fact does not apply to leaves empty."""

    run: str
    state: State
    reason: str = ""
    """As in `RunStatus`; `cancelled`, `DeadlineExceeded` and `process lost` have a verdict of their own."""
    detail: str = ""
    exit_code: int | None = None
    signal: int | None = None
    progress: Progress | None = None
    outcome: Outcome | None = None
    preempted: bool = False
    error: str | None = None
    """What the trainer itself gave as the reason for giving up."""
    log: tuple[str, ...] = ()
    """The trainer's last lines."""


def explain(facts: Facts) -> Verdict:
    """The verdict on a run from what any target can see. A target with facts of its own asks this one last."""
    match facts.state:
        case State.SUCCEEDED:
            return _explain_success(facts)
        case State.FAILED:
            return _explain_end(facts) or _explain_log(facts) or _explain_signal(facts) or _explain_exit(facts)
        case State.RUNNING:
            return Verdict(f"Running{_how_far(facts.progress)}.", f"Watch it: cw logs {facts.run} -f")
        case State.PENDING:
            return Verdict("It is being started.", f"Wait for it: cw wait {facts.run}")
        case State.UNKNOWN:
            return Verdict("Nothing is known about its state.", f"Look at what it wrote: cw logs {facts.run}")


def _explain_success(facts: Facts) -> Verdict:
    outcome = facts.outcome or Outcome()
    losses = ""
    if outcome.headline is not None and outcome.headline[2] is not None:
        word, first, last = outcome.headline
        losses = f", {word} {last:.4g}" if first is None else f", {word} from {first:.4g} to {last:.4g}"
    steps = f" after {outcome.steps} steps" if outcome.steps is not None else ""
    return Verdict(f"Finished{steps}{losses}.", f"The model is in {outcome.model}" if outcome.model else "")


def _explain_end(facts: Facts) -> Verdict | None:
    """Ends that came from outside the trainer."""
    far, again = _how_far(facts.progress), f"Start it again: cw rerun {facts.run}"
    match facts.reason:
        case "cancelled":
            because = f": {facts.detail}" if facts.detail else ""
            remedy = f"`--detach` lets a run go on without its terminal. {again}" if facts.detail else again
            return Verdict(f"Cancelled{far}{because}.", remedy)
        case "DeadlineExceeded":
            return Verdict(f"Stopped{far}: its time limit was over.", "Set a longer `timeout` and rerun it.")
        case "process lost" if not _disk_was_full(facts):
            return Verdict(
                f"Its processes were gone{far} without a word: the machine restarted, or somebody killed them.",
                again,
            )
    return None


def _explain_log(facts: Facts) -> Verdict | None:
    """Causes that the trainer's last lines name."""
    if _disk_was_full(facts):
        return Verdict(
            f"The disk was full{_how_far(facts.progress)}.",
            "Free some space, set another `output_dir`, or keep fewer checkpoints with `save_total_limit`.",
        )
    raised = find_exception(facts.log)
    text = "\n".join(facts.log)
    if re.search(r"(CUDA|HIP) out of memory|torch\.(cuda\.)?OutOfMemoryError", text):
        return Verdict(
            f"The GPU ran out of memory{_how_far(facts.progress)}.",
            "Lower `per_device_train_batch_size` or `max_length`, or set `gradient_checkpointing: true`.",
        )
    if raised and (module := re.match(r"(?:ModuleNotFound|Import)Error: No module named '([^']+)'", raised.line)):
        return Verdict(
            f"The Python module `{module[1]}` is missing where the run starts.",
            "Install it there (on this machine: pip install 'cw-cli[train]'), or use an image that has it.",
        )
    told = facts.error or last_error_line(facts.log)
    if told:
        return Verdict(f"The trainer gave up{_how_far(facts.progress)}: {_sentence(told)}", _read_log(facts))
    if raised:
        place = f" at {raised.place}" if raised.place else ""
        sentence = f"The trainer broke{_how_far(facts.progress)}{place}: {_sentence(raised.line)}"
        return Verdict(sentence, _read_log(facts))
    return None


def _explain_signal(facts: Facts) -> Verdict | None:
    number = facts.signal or _signal_in(facts)
    if number is None:
        return None
    far = _how_far(facts.progress)
    match number:
        case 9:
            return Verdict(
                f"The trainer was killed{far} (SIGKILL); most often that is the machine running out of memory.",
                "Ask for more memory, or lower the batch size and the number of data workers.",
            )
        case 15 if facts.preempted:
            return Verdict(f"The trainer was asked to stop{far} (SIGTERM) and saved a checkpoint.", _again(facts))
        case 15:
            return Verdict(f"The trainer was asked to stop{far} (SIGTERM), but not by cw.", _again(facts))
        case 11 | 7 | 4 | 6 | 8:
            return Verdict(
                f"The trainer crashed in native code{far} ({_signal_name(number)}).",
                f"Look for a library that does not fit the driver or another library: cw logs {facts.run}",
            )
    return Verdict(f"The trainer was ended{far} by {_signal_name(number)}.", _read_log(facts))


def _explain_exit(facts: Facts) -> Verdict:
    """When the log does not tell why."""
    far = _how_far(facts.progress)
    if facts.exit_code is None:
        return Verdict(f"Failed{far}: {_sentence(facts.reason or 'no reason is known')}", _read_log(facts))
    return Verdict(f"The trainer ended{far} with exit code {facts.exit_code}.", _read_log(facts))


class Raised(NamedTuple):
    """A Python exception in a log: its last line, and the file and line that raised it."""

    line: str
    place: str = ""


_RANK = re.compile(r"^\[(?:rank|default)\d+\]:\s?")
_TRACEBACK = "Traceback (most recent call last):"
_EXCEPTION = re.compile(r"[A-Za-z_][\w.]*(?:: .*)?$")
_FRAME = re.compile(r'\s+File "(.+)", line (\d+)')


def find_exception(lines: Sequence[str]) -> Raised | None:
    """The last Python exception that `lines` show, but for torchrun's own, which only says that there was one."""
    found: Raised | None = None
    place: str | None = None
    for line in (_RANK.sub("", line) for line in lines):
        if line.strip() == _TRACEBACK:
            place = ""
        elif place is None:
            continue
        elif frame := _FRAME.match(line):
            place = f"{frame[1]}:{frame[2]}"
        elif line and not line[0].isspace():
            if _EXCEPTION.match(line) and "ChildFailedError" not in line:
                found = Raised(line.strip(), place)
            place = None
    return found


def _disk_was_full(facts: Facts) -> bool:
    return any("No space left on device" in line for line in facts.log[-50:])


def last_error_line(lines: Sequence[str]) -> str | None:
    """What the last line that begins with `error: ` says."""
    told = [line for line in (_RANK.sub("", line) for line in lines) if line.lower().startswith("error: ")]
    return told[-1][len("error: ") :].strip() if told else None


def _signal_in(facts: Facts) -> int | None:
    """A signal told by a shell's exit code, or by torchrun about its worker."""
    for line in reversed(facts.log):
        if worker := re.search(r"exitcode\s*: -(\d+)", line):
            return int(worker[1])
    code = facts.exit_code or 0
    return code - 128 if 128 < code < 160 else None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _how_far(progress: Progress | None) -> str:
    if progress is None or progress.step == 0:
        return " before the first step" if progress else ""
    return f" at step {progress.step}" + (f" of {progress.total}" if progress.total else "")


def _sentence(text: str) -> str:
    text = text.strip()
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _read_log(facts: Facts) -> str:
    return f"Read the lines before it: cw logs {facts.run} --tail 50"


def _again(facts: Facts) -> str:
    return f"Start it again: cw rerun {facts.run}"
