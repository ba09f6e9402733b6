"""What this machine says to a plan before it starts: GPUs, programs, modules, disk, and runs in the way."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cw_cli.core.exceptions import TargetError
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
    missing = [problem for unit in units for problem in _missing_programs(unit, environment)]
    return [
        *dict.fromkeys(missing),
        *_missing_modules(plan, units),
        *_gpu_problems(plan, units, store, environment),
        *writers(plan, units, store),
        *_disk_problems(local_output(plan, units)),
    ]


def assign_gpus(plan: Plan, units: Sequence[Unit], store: Store, environment: Mapping[str, str]) -> list[Assigned]:
    """Each unit with GPUs of its own; only under the launch lock do they stay free until the run has them."""
    if not any(unit.gpus for unit in units):
        return [Assigned(unit, ()) for unit in units]
    gpus, taken = machine_gpus(environment), store.taken_gpus()
    for problem in _shortages(plan, units, gpus, taken):
        raise TargetError(problem.message, problem.remedy)
    given: dict[str, list[Gpu]] = {}
    # Who asks for a type chooses first.
    for unit in sorted(units, key=lambda unit: _gpu_type(plan, unit) is None):
        given[unit.name] = choose(unit.gpus, gpus, taken, _gpu_type(plan, unit))
        taken |= {gpu.uuid: plan.run for gpu in given[unit.name]}
    return [Assigned(unit, given[unit.name]) for unit in units]


def local_output(plan: Plan, units: Sequence[Unit]) -> str:
    """Where the run's output lies on this machine, if it writes any."""
    for unit in units:
        local = unit.mounts.localize(plan.output_dir)
        if local != plan.output_dir:
            return local
    return plan.output_dir


def _gpu_problems(plan: Plan, units: Sequence[Unit], store: Store, environment: Mapping[str, str]) -> list[Problem]:
    # Asking the driver takes its time, so only who wants a GPU asks.
    if not any(unit.gpus for unit in units):
        return []
    return _shortages(plan, units, machine_gpus(environment), store.taken_gpus())


def _shortages(plan: Plan, units: Sequence[Unit], gpus: Sequence[Gpu], taken: Mapping[str, str]) -> list[Problem]:
    """The first lack of GPUs: of a type that some ask for, or of any for all together."""
    types = list(dict.fromkeys(_gpu_type(plan, unit) for unit in units if unit.gpus))
    for kind in types if len(types) == 1 else [*filter(None, types), None]:
        asking = [unit for unit in units if kind is None or _gpu_type(plan, unit) == kind]
        if problem := shortage(sum(unit.gpus for unit in asking), gpus, taken, kind):
            return [problem._replace(remedy=_fewer_gpus(units)) if len(units) > 1 else problem]
    return []


def _fewer_gpus(units: Sequence[Unit]) -> str:
    """As in `They are 1 for the trainer, 2 for the reward; ask for less …`."""
    wanted: dict[str, int] = {}
    for unit in units:
        wanted[unit.role] = wanted.get(unit.role, 0) + unit.gpus
    service = next((unit.role for unit in units if unit.service and unit.gpus), None)
    ways = [*(["--gpu"] if any(unit.gpus and not unit.service for unit in units) else ())]
    ways += [f"--set services.{service}.gpu=0"] if service else []
    shares = ", ".join(f"{count} for the {role}" for role, count in wanted.items() if count)
    return f"They are {shares}; ask for less with {' or '.join(ways)}, or use the cluster."


def _gpu_type(plan: Plan, unit: Unit) -> str | None:
    return next((role.resources.gpu_type for role in plan.roles if role.name == unit.role), None)


def writers(plan: Plan, units: Sequence[Unit], store: Store) -> list[Problem]:
    """Live runs that write where this one would."""
    if all(unit.service for unit in units):
        return []
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
