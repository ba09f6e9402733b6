"""What this machine says to a plan before it starts: GPUs, programs, modules, disk, and runs in the way."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cw_cli.core.problems import Problem
from cw_cli.targets.local.gpus import Gpu, choose, machine_gpus, shortage
from cw_cli.targets.local.start import Assigned
from cw_cli.targets.local.store import Store
from cw_cli.targets.local.unit import Unit

if TYPE_CHECKING:  # Plans are made of templates; looking after runs needs none.
    from cw_cli.core.plan import Plan

_LITTLE_DISK = 1 << 30


def check_units(plan: Plan, units: Sequence[Unit], store: Store, environment: Mapping[str, str]) -> list[Problem]:
    """Every reason why `units` would not run here now."""
    return [
        *(problem for unit in units for problem in _missing_programs(unit, environment)),
        *_missing_modules(plan, units),
        *_gpu_problems(plan, units, store, environment),
        *writers(plan, units, store),
        *_disk_problems(local_output(plan, units)),
    ]


def assign_gpus(plan: Plan, units: Sequence[Unit], store: Store, environment: Mapping[str, str]) -> list[Assigned]:
    """Each unit with GPUs of its own; only under the launch lock do they stay free until the run has them."""
    wanted = sum(unit.gpus for unit in units)
    given: list[Gpu] = []
    if wanted:
        given = choose(wanted, machine_gpus(environment), store.taken_gpus(), _gpu_type(plan))
    assigned = []
    for unit in units:
        assigned.append(Assigned(unit, given[: unit.gpus]))
        given = given[unit.gpus :]
    return assigned


def local_output(plan: Plan, units: Sequence[Unit]) -> str:
    """Where the run's output lies on this machine."""
    for unit in units:
        local = unit.mounts.localize(plan.output_dir)
        if local != plan.output_dir:
            return local
    return plan.output_dir


def _gpu_problems(plan: Plan, units: Sequence[Unit], store: Store, environment: Mapping[str, str]) -> list[Problem]:
    wanted = sum(unit.gpus for unit in units)
    # Asking the driver takes its time, so only who wants a GPU asks.
    problem = shortage(wanted, machine_gpus(environment), store.taken_gpus(), _gpu_type(plan)) if wanted else None
    return [problem] if problem else []


def _gpu_type(plan: Plan) -> str | None:
    return next((role.resources.gpu_type for role in plan.roles if role.resources.gpu_type), None)


def writers(plan: Plan, units: Sequence[Unit], store: Store) -> list[Problem]:
    """Live runs that write where this one would."""
    output = local_output(plan, units)
    return [
        Problem(
            f"The run `{other.name}` is writing to {output} at this moment.",
            f"Set another `output_dir`, or stop it: cw cancel {other.name}",
        )
        for other in store.live()
        if other.name != plan.run and other.unit.get("output_dir") == output
    ]


def _disk_problems(output: str) -> list[Problem]:
    nearest = next(part for part in (Path(output).absolute(), *Path(output).absolute().parents) if part.exists())
    left = shutil.disk_usage(nearest).free
    if left >= _LITTLE_DISK:
        return []
    message = f"Only {left // 2**20} MiB are free where the run writes ({output})."
    return [Problem(message, "Free some space, or set another `output_dir`.", severity="warning")]


def _missing_programs(unit: Unit, environment: Mapping[str, str]) -> list[Problem]:
    """What the unit's command needs and this machine does not have."""
    if not unit.argv:
        return []
    program = unit.argv[0]
    if shutil.which(program, path=unit.env.get("PATH", environment.get("PATH"))):
        return []
    return [Problem(f"The run starts `{program}`, which is not on this machine.", "Install it, or use the cluster.")]


def _missing_modules(plan: Plan, units: Sequence[Unit]) -> list[Problem]:
    launched = ["torch"] if any("torch.distributed.run" in unit.argv for unit in units) else []
    missing = [name for name in dict.fromkeys([*launched, *plan.modules]) if importlib.util.find_spec(name) is None]
    if not missing or not any(unit.argv[:1] == (sys.executable,) for unit in units):
        return []
    return [
        Problem(
            f"Training on this machine needs {' and '.join(missing)}, which this Python ({sys.executable}) lacks.",
            "Install what is missing: pip install " + " ".join(_distributions(missing)),
        )
    ]


def _distributions(modules: Sequence[str]) -> list[str]:
    """What to install for these modules; cw knows which versions of its own recipes' needs go together."""
    ours = {"torch", "transformers", "trl", "datasets", "accelerate", "peft"}
    extra = ["'cw-cli[train]'"] if ours & set(modules) else []
    return [*extra, *(name for name in modules if name not in ours)]
