"""From a unit to a live run: the run folder is written, the supervisor started, and all of it undone on any error."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cw_cli.core.exceptions import TargetError
from cw_cli.targets.local import folder as run_folder
from cw_cli.targets.local.gpus import Gpu, environment_for
from cw_cli.targets.local.store import Store, host
from cw_cli.targets.local.unit import Unit

if TYPE_CHECKING:  # Plans are made of templates; looking after runs needs none.
    from cw_cli.core.plan import Plan

_DETACH = b"d"
_SUPERVISOR = (
    # Isolated: nothing in the user's folder or PYTHONPATH may take the place of a module of the supervisor's.
    "import sys; sys.path.insert(0, sys.argv[1]); from cw_cli.targets.local.supervisor import main; main(sys.argv[2:])"
)
_PACKAGE_ROOT = str(Path(__file__).resolve().parents[3])


@dataclass(frozen=True, slots=True)
class Assigned:
    """A unit and the GPUs that it gets."""

    unit: Unit
    gpus: Sequence[Gpu]


def start_run(
    store: Store, plan: Plan, assigned: Sequence[Assigned], identity: Mapping[str, Any], caller: Mapping[str, str]
) -> int:
    """Start the run; returns the leash, a descriptor whose closing cancels the run unless `detach` took it."""
    folder = store.folder(plan.run)
    if folder.exists():
        raise TargetError(
            f"There is already a run `{plan.run}` on this machine.",
            f"Choose another name, or `cw delete {plan.run}` first.",
        )
    with contextlib.ExitStack() as undo:
        draft = folder.with_name(f".{plan.run}.partial")
        shutil.rmtree(draft, ignore_errors=True)  # Of a launch that was killed: the launch lock is ours now.
        undo.callback(shutil.rmtree, draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        # Held from before the folder can be seen, so that nobody takes the run for a lost one.
        lock = run_folder.hold(draft)
        undo_lock = undo.enter_context(contextlib.ExitStack())
        undo_lock.callback(os.close, lock)
        _write(draft, folder, plan, assigned, identity)
        _make_volumes(assigned, store.volumes, undo)
        os.rename(draft, folder)
        undo.callback(_abandon, folder, undo_lock)
        leash = _start_supervisor(folder, lock, undo_lock, undo, caller)
        undo.pop_all()
    return leash


def detach(leash: int) -> None:
    """Let the run go on without its launcher."""
    with contextlib.suppress(BrokenPipeError):  # A run that has ended already.
        os.write(leash, _DETACH)
    os.close(leash)


def _write(draft: Path, folder: Path, plan: Plan, assigned: Sequence[Assigned], identity: Mapping[str, Any]) -> None:
    """Everything that the run folder starts with; `folder` is what `draft` will be called."""
    for each in assigned:
        for path in map(Path, each.unit.mounts.folders):
            if path.is_relative_to(folder):
                (draft / path.relative_to(folder)).mkdir(parents=True, exist_ok=True)
        for file in each.unit.mounts.files:
            path = draft / Path(file.path).relative_to(folder)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.content)
            path.chmod(file.mode)
        run_folder.log_path(draft, each.unit.name).touch()
    roles = [_role(each) for each in assigned]
    run_folder.write_json(draft / run_folder.RECORD, plan.record)
    run_folder.write_json(draft / run_folder.OBJECTS, plan.objects)
    run_folder.write_json(draft / run_folder.STATUS, {"state": "Pending", "roles": []})
    run_folder.write_json(draft / run_folder.UNIT, {**identity, "host": host(), "roles": roles})


def _role(assigned: Assigned) -> dict[str, Any]:
    """What the supervisor needs to know; no value of a Secret is in it, those are inherited."""
    unit = assigned.unit
    service = unit.service
    return {
        "role": unit.role,
        "replica": unit.replica,
        "service": service is not None,
        "address": service.address if service else None,
        "health": service.health if service else None,
        "start_limit": service.start_limit if service else None,
        "argv": unit.argv,
        "env": {**unit.env, **environment_for(assigned.gpus)},
        "cwd": unit.cwd,
        "retries": unit.retries,
        "time_limit": unit.time_limit,
        "grace": unit.grace,
        "gpu_ids": [gpu.uuid for gpu in assigned.gpus],
    }


def _make_volumes(assigned: Sequence[Assigned], volumes: Path, undo: contextlib.ExitStack) -> None:
    """The folders of claims, which outlive the run; those that are new go again when the launch fails."""
    paths = (Path(path) for each in assigned for path in each.unit.mounts.folders)
    for path in (path for path in paths if path.is_relative_to(volumes)):
        missing = [part for part in (path, *path.parents) if not part.exists()]
        for part in reversed(missing):
            part.mkdir(exist_ok=True)
            undo.callback(_remove_if_empty, part)


def _remove_if_empty(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.rmdir()


def _start_supervisor(
    folder: Path, lock: int, undo_lock: contextlib.ExitStack, undo: contextlib.ExitStack, caller: Mapping[str, str]
) -> int:
    """Start the supervisor and hear from it that it has begun."""
    leash_end, leash = os.pipe()
    undo.callback(os.close, leash)
    answer, answer_end = os.pipe()
    passed = (lock, answer_end, leash_end)
    with open(answer, "rb") as reader, (folder / run_folder.SUPERVISOR_LOG).open("wb") as log:
        try:
            code = subprocess.run(
                [sys.executable, "-I", "-c", _SUPERVISOR, _PACKAGE_ROOT, str(folder), *map(str, passed)],
                pass_fds=passed,
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(caller),
                cwd="/",
            ).returncode
        finally:
            undo_lock.close()
            os.close(answer_end)
            os.close(leash_end)
        said = reader.read().decode(errors="replace")
    if said != "ok":
        # Only the last line: the rest is a traceback that says nothing to the user.
        last = (folder / run_folder.SUPERVISOR_LOG).read_text(errors="replace").strip().rpartition("\n")[2]
        raise TargetError(said or f"The run's supervisor did not start (exit code {code}). {last}".strip())
    return leash


def _abandon(folder: Path, undo_lock: contextlib.ExitStack) -> None:
    """Take back a run folder; its supervisor, whose leash is closed by now, ends first."""
    undo_lock.close()
    run_folder.wait_until_free(folder, limit=60.0)
    shutil.rmtree(folder, ignore_errors=True)
