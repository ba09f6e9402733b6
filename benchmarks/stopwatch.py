"""Time and peak memory of a command, measured from outside."""

from __future__ import annotations

import statistics
import subprocess
import sys
from dataclasses import dataclass, field

# A process starts with the peak memory of the one that forked it, so a small one does.
STOPWATCH = """
import os, sys, time
null = os.open(os.devnull, os.O_RDWR)
began = time.perf_counter()
pid = os.fork()
if pid == 0:
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    os.execvp(sys.argv[1], sys.argv[1:])
_, status, usage = os.wait4(pid, 0)
used = usage.ru_utime + usage.ru_stime
print(time.perf_counter() - began, used, usage.ru_maxrss, os.waitstatus_to_exitcode(status))
"""
RSS_UNIT = 1 if sys.platform == "darwin" else 1024


@dataclass
class Measured:
    """A command and what each of its runs took."""

    name: str
    seconds: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    """Processor seconds of the command itself."""
    peaks: list[int] = field(default_factory=list)
    """Bytes."""

    def run(self, command: list[str], environment: dict[str, str], folder: str) -> None:
        """Once more. Ends the program when the command fails."""
        watch = [sys.executable, "-I", "-S", "-c", STOPWATCH, *command]
        done = subprocess.run(watch, env=environment, cwd=folder, capture_output=True, text=True, check=True)
        seconds, busy, peak, code = done.stdout.split()
        if code != "0":
            raise SystemExit(f"`{' '.join(command)}` ended with exit code {code}")
        self.seconds.append(float(seconds))
        self.busy.append(float(busy))
        self.peaks.append(int(peak) * RSS_UNIT)


def show(measured: list[Measured]) -> None:
    """Medians, one line a command."""
    print(f"{'':44} {'seconds':>8} {'busy':>8} {'peak MB':>8}")
    for item in measured:
        middle = [statistics.median(values) for values in (item.seconds, item.busy, item.peaks)]
        print(f"{item.name:44} {middle[0]:8.2f} {middle[1]:8.2f} {middle[2] / 1e6:8.0f}")
