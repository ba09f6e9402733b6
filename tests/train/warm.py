"""A Python that has imported its arguments already, and becomes a new process for each run that stdin asks for.

Importing TRL takes five seconds, of a run that trains for two. A line of JSON on stdin is a run: its module with
arguments, its environment, its folder, and the files for what it says. The answers are the process, then its exit code.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import sys

if __name__ == "__main__":
    for module in sys.argv[1:]:
        importlib.import_module(module)
    for line in sys.stdin:
        asked = json.loads(line)
        if not (child := os.fork()):
            break
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
    else:
        sys.exit()

    # From here on this is the run, and ends as every Python does.
    for file, number in ((os.devnull, 0), (asked["out"], 1), (asked["err"], 2)):
        os.dup2(os.open(file, os.O_WRONLY if number else os.O_RDONLY), number)
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.chdir(asked["folder"])
    module, *sys.argv[1:] = asked["command"]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
