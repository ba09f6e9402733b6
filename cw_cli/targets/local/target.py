"""This machine as a place for runs: the verbs of `Target`, said with run folders and processes."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cw_cli.core.exceptions import RunNotFoundError, TargetError
from cw_cli.core.names import matching_runs
from cw_cli.core.problems import Problem, errors
from cw_cli.core.progress import Observed
from cw_cli.core.status import RunStatus
from cw_cli.core.verdict import Verdict, explain
from cw_cli.targets.local import folder as run_folder
from cw_cli.targets.local.checks import assign_gpus, check_units, local_output, writers
from cw_cli.targets.local.logs import observe_log, read_lines
from cw_cli.targets.local.mounts import Places
from cw_cli.targets.local.observe import facts_of, status_of
from cw_cli.targets.local.start import detach, start_run
from cw_cli.targets.local.store import Store, StoredRun
from cw_cli.targets.local.unit import Unit, read_units

if TYPE_CHECKING:  # Plans are made of templates; looking after runs needs none.
    from cw_cli.core.plan import Plan

_PATIENCE = 30.0
"""Seconds beyond the grace time that an ended run may take to be gone."""


class LocalTarget:
    """Runs on this machine, for the user whose environment is given."""

    kind = "local"

    def __init__(self, environment: Mapping[str, str] | None = None, cwd: str | None = None) -> None:
        self.environment = dict(os.environ if environment is None else environment)
        self.cwd = cwd or os.getcwd()
        self.store = Store(self.environment)
        self._leashes: dict[str, int] = {}
        """Descriptors that keep the attached runs of this process alive."""

    def check(self, plan: Plan) -> list[Problem]:
        """What this machine would say to the plan, without changing anything."""
        units, problems = self._units(plan)
        return [*problems, *check_units(plan, units, self.store, self.environment)]

    def launch(self, plan: Plan, *, attached: bool) -> None:
        """Start the run; nothing is left of it when that fails."""
        units, problems = self._units(plan)
        _refuse(problems)
        try:
            with self.store.launch_lock():
                _refuse(writers(plan, units, self.store))
                assigned = assign_gpus(plan, units, self.store, self.environment)
                leash = start_run(self.store, plan, assigned, _identity(plan, units), self.environment)
        except OSError as error:
            raise TargetError(
                f"The run could not be set up on this machine: {error}.",
                f"cw writes below {self.store.root} (XDG_STATE_HOME) and {self.store.volumes} (XDG_DATA_HOME).",
            ) from error
        if attached:
            self._leashes[plan.run] = leash
        else:
            detach(leash)

    def _units(self, plan: Plan) -> tuple[list[Unit], list[Problem]]:
        places = Places(mounts=str(self.store.folder(plan.run) / "mounts"), volumes=str(self.store.volumes))
        return read_units(plan.objects, run=plan.run, places=places, caller=self.environment, cwd=self.cwd)

    def find(self, text: str) -> list[str]:
        """The runs that `text` names."""
        return matching_runs(text, self.names())

    def names(self) -> list[str]:
        """Names of the runs on this machine, newest first."""
        return self.store.names()

    def list(self) -> list[RunStatus]:
        """Every run, newest first."""
        found = []
        for name in self.names():
            with contextlib.suppress(RunNotFoundError):  # Deleted while we were looking.
                found.append(self.status(name))
        return found

    def status(self, run: str) -> RunStatus:
        """One run, observed now."""
        stored = self.store.find(run)
        status = stored.status()
        observed, _ = _observed(stored)
        return status_of(stored, status, observed)

    def record(self, run: str) -> Mapping[str, Any]:
        """The record that the plan left."""
        return run_folder.read_json(self.store.find(run).folder / run_folder.RECORD)

    def why(self, run: str) -> Verdict:
        """Why the run is in its state and what to do about it."""
        stored = self.store.find(run)
        status = stored.status()
        observed, lines = _observed(stored)
        return explain(facts_of(stored, status, observed, lines))

    def logs(self, run: str, *, role: str | None, follow: bool, tail: int | None) -> Iterator[str]:
        """Lines of the run's log without their line ends; with `follow` until the run has ended."""
        stored = self.store.find(run)
        if role is not None and role not in stored.roles:
            raise TargetError(f"The run `{run}` has no role `{role}`.", f"It has: {', '.join(stored.roles)}.")
        path = stored.log(role or stored.roles[0])
        return read_lines(path, tail=tail, ended=(lambda: _is_over(stored)) if follow else None)

    def cancel(self, run: str) -> bool:
        """Stop the run, keep its record and logs; False when it had ended already."""
        stored = self.store.find(run)
        if _is_over(stored):
            return False
        if stored.is_elsewhere:
            raise TargetError(f"The run `{run}` is on another machine, {stored.unit['host']}.", "Cancel it there.")
        supervisor = stored.status().get("supervisor")
        # The lock proves that the process of this number is still the supervisor.
        if supervisor and run_folder.is_held(stored.folder):
            with contextlib.suppress(ProcessLookupError):
                os.kill(supervisor, signal.SIGTERM)
        grace = max((role["grace"] for role in stored.unit["roles"]), default=0.0)
        if not run_folder.wait_until_free(stored.folder, grace + _PATIENCE):
            raise TargetError(
                f"The run `{run}` was asked to stop, but is still there after {grace + _PATIENCE:.0f} seconds.",
                f"`cw logs {run}` shows what it does; its supervisor is process {supervisor}.",
            )
        self._drop_leash(run)
        return bool(stored.status().get("reason") == "cancelled")

    def delete(self, runs: Sequence[str]) -> Sequence[str]:
        """Stop the runs and forget them; returns a line for each thing that was deleted."""
        lines = []
        for stored in [self.store.find(run) for run in runs]:
            if self.cancel(stored.name):
                lines.append(f"run {stored.name} cancelled")
            run_folder.wait_until_free(stored.folder, _PATIENCE)
            self.store.delete(stored)
            self._drop_leash(stored.name)
            output = stored.unit.get("output_dir")
            kept = f"; its output stays in {output}" if output and os.path.exists(output) else ""
            lines.append(f"run {stored.name} deleted{kept}")
        return lines

    def _drop_leash(self, run: str) -> None:
        if run in self._leashes:
            os.close(self._leashes.pop(run))


def _refuse(problems: Sequence[Problem]) -> None:
    for problem in errors(problems):
        raise TargetError(problem.message, problem.remedy)


def _identity(plan: Plan, units: Sequence[Unit]) -> dict[str, Any]:
    return {
        "run": plan.run,
        "framework": plan.framework,
        "training_type": plan.training_type,
        "user": plan.user,
        "created": datetime.now(UTC).isoformat(),
        "output_dir": local_output(plan, units),
    }


def _observed(stored: StoredRun) -> tuple[Observed, list[str]]:
    return observe_log(stored.log(stored.roles[0] if stored.roles else "trainer"))


def _is_over(stored: StoredRun) -> bool:
    """Whether the run has ended or is not there any more."""
    return not stored.folder.exists() or stored.status().get("state") in run_folder.ENDED
