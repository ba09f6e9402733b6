"""The command line `cw` with a small Python program for a trainer, so that a run needs no training libraries.

`runs.py RUN STEPS PAUSE CODE WORDS...` is `cw WORDS...`; what it launches is called RUN, and its trainer takes so many
steps of so many seconds and ends with that exit code.
"""

from __future__ import annotations

import sys
from typing import Any

from cw_cli import api
from cw_cli.cli.main import main
from cw_cli.core.plan import Plan

TRAINER = """
import json, os, sys, time
def tell(**data): print("::cw:: " + json.dumps(data), flush=True)
steps, pause, code = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
print("reading data", flush=True)
tell(event="start", total=steps, resumed_from=None, step=0)
for step in range(1, steps + 1):
    tell(step=step, total=steps, loss=4.0 / step, lr=1e-3, tokens_per_second=1234.5, eta_s=pause * (steps - step))
    time.sleep(pause)
print("a warning of the trainer", file=sys.stderr, flush=True)
if code:
    tell(event="failed", error="the data ran out")
    sys.exit(code)
tell(event="done", first_loss=4.0, last_loss=4.0 / steps, model="/models/x", plot="/models/x/loss.png",
     metrics="/models/x/metrics.jsonl", steps=steps, seconds=1.0)
"""
"""Tells what a trainer tells. Arguments: steps, seconds for each, exit code."""


def with_program(plan: Plan, run: str, *words: str) -> Plan:
    """The plan with the program above in its container, for a run of this name."""
    objects = [_renamed(item, plan.run, run) for item in plan.objects]
    (job,) = [item for item in objects if item["kind"] == "Job"]
    pod = job["spec"]["template"]["spec"]
    pod["containers"][0]["command"] = ["python3", "-c", TRAINER, *words]
    pod["terminationGracePeriodSeconds"] = 5
    (role,) = plan.roles
    roles = (role._replace(workload=run),)
    return plan._replace(run=run, roles=roles, objects=tuple(objects), record={**plan.record, "run": run}, modules=())


def _renamed(value: Any, old: str, new: str) -> Any:
    if isinstance(value, dict):
        return {key: _renamed(item, old, new) for key, item in value.items()}
    if isinstance(value, list):
        return [_renamed(item, old, new) for item in value]
    return value.replace(old, new) if isinstance(value, str) else value


if __name__ == "__main__":
    run, steps, pause, code, *words = sys.argv[1:]
    make_plan = api.plan
    api.plan = lambda *args, **how: with_program(make_plan(*args, **how), run, steps, pause, code)
    sys.argv = ["cw", *words]
    main()
