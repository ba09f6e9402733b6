"""This machine as a place for runs: the verbs of `Target`, said with run folders and processes."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cw_cli.core.exceptions import RunNotFoundError, TargetError, UsageError
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
from cw_cli.targets.local.ports import Addresses, give_ports
from cw_cli.targets.local.start import detach, start_run
from cw_cli.targets.local.store import Store, StoredRun
from cw_cli.targets.local.unit import Surroundings, Unit, read_units
from cw_cli.targets.local.why import explain_services

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
        try:
            units, problems = read_units(plan.objects, self._around(plan))
        except TargetError as error:  # Of the run whose services it shall use.
            return [Problem(error.message, error.hint)]
        return [*problems, *check_units(plan, units, self.store, self.environment)]

    def rehearse(self, plan: Plan) -> list[Problem]:
        """Nobody can be asked here."""
        raise UsageError("--dry-run=server asks a cluster, and this run is for this machine", "Write --dry-run.")

    def launch(self, plan: Plan, *, attached: bool) -> None:
        """Start the run; nothing is left of it when that fails."""
        try:
            with self.store.launch_lock():
                around = self._around(plan)
                units, problems = read_units(plan.objects, around)
                _refuse([*problems, *writers(plan, units, self.store)])
                assigned = assign_gpus(plan, units, self.store, self.environment)
                identity = {**_identity(plan, units), **self._services(plan, around.addresses)}
                leash = start_run(self.store, plan, assigned, identity, self.environment)
        except OSError as error:
            raise TargetError(
                f"The run could not be set up on this machine: {error}.",
                f"cw writes below {self.store.root} (XDG_STATE_HOME) and {self.store.volumes} (XDG_DATA_HOME).",
            ) from error
        if attached:
            self._leashes[plan.run] = leash
        else:
            detach(leash)

    def _around(self, plan: Plan) -> Surroundings:
        places = Places(mounts=str(self.store.folder(plan.run) / "mounts"), volumes=str(self.store.volumes))
        other = self._other(plan)
        addresses = (
            Addresses.from_data(other.unit["addresses"])
            if other
            else give_ports(plan.objects, self.store.taken_ports())
        )
        return Surroundings(plan.run, places, self.environment, self.cwd, addresses, plan.roles)

    def _other(self, plan: Plan) -> StoredRun | None:
        """The run whose services the plan's trainer uses, if that is another."""
        name = plan.record.get("services_of")
        return self.store.with_services(name) if name else None

    def _services(self, plan: Plan, addresses: Addresses) -> dict[str, Any]:
        """What the run's folder says of services: the ports of its own, and those that it waits for."""
        other = self._other(plan)
        if other is None:
            return {"addresses": addresses.as_data(), "awaited": []}
        keys = ("role", "health", "start_limit")
        awaited = [{key: role[key] for key in keys} for role in other.unit["roles"] if role["service"]]
        return {"addresses": {}, "services_of": other.name, "awaited": awaited}

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
        facts = facts_of(stored, status, observed, lines)
        return explain_services(stored, status, facts) or explain(facts)

    def logs(self, run: str, *, role: str | None, follow: bool, tail: int | None) -> Iterator[str]:
        """Lines of the run's log without their line ends; with `follow` until the run has ended."""
        stored = self.store.find(run)
        if role is not None and role not in stored.processes:
            raise TargetError(f"The run `{run}` has no role `{role}`.", f"It has: {', '.join(stored.processes)}.")
        path = stored.log(role or stored.processes[0])
        return read_lines(path, tail=tail, ended=(lambda: _is_over(stored)) if follow else None)

    def cancel(self, run: str) -> bool:
        """Stop the run, keep its record and logs; False when it had ended already."""
        stored = self.store.find(run)
        if _is_over(stored):
            return False
        if stored.is_elsewhere:
            raise TargetError(f"The run `{run}` is on another machine, {stored.unit['host']}.", "Cancel it there.")
        supervisor = self._signal(stored, signal.SIGTERM)
        grace = _grace(stored)
        if not run_folder.wait_until_free(stored.folder, grace + _PATIENCE):
            raise TargetError(
                f"The run `{run}` was asked to stop, but is still there after {grace + _PATIENCE:.0f} seconds.",
                f"`cw logs {run}` shows what it does; its supervisor is process {supervisor}.",
            )
        self._drop_leash(run)
        return bool(stored.status().get("reason") == "cancelled")

    def restart(self, run: str, role: str) -> None:
        """Replace the processes of a service, or one of them; the run goes on."""
        stored = self.store.find(run)
        services = [spec for spec in stored.unit.get("roles", ()) if spec.get("service")]
        names = [name for spec in services for name in (run_folder.process_name(spec), spec["role"])]
        if role not in names:
            there = f"It has {', '.join(dict.fromkeys(names))}." if names else "It has no services."
            hint = f"Start the run again: cw rerun {run}" if role in stored.roles else there
            raise TargetError(f"`{role}` is no service of the run `{run}`.", hint)
        if stored.is_elsewhere:
            raise TargetError(f"The run `{run}` is on another machine, {stored.unit['host']}.", "Restart it there.")
        if _is_over(stored):
            raise TargetError(
                f"The run `{run}` has ended, and its services with it.", f"cw rerun {run} starts it anew."
            )
        request = stored.folder / f"{run_folder.RESTART}{role}"
        request.touch()
        self._signal(stored, signal.SIGUSR1)
        if not run_folder.wait_until(lambda: not request.exists(), _PATIENCE):
            raise TargetError(f"The run `{run}` does not heed the request.", f"`cw why {run}` says how it is.")

    def scale(self, run: str, role: str, replicas: int) -> None:
        """Refused: the trainer was given the address of every replica when it started."""
        self.store.find(run)
        raise TargetError(
            f"The number of replicas of `{role}` is settled when a run starts on this machine.",
            f"Start it again with more: cw rerun {run} --set services.{role}.replicas={replicas}",
        )

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

    def _signal(self, stored: StoredRun, number: signal.Signals) -> int | None:
        """Tell the run's supervisor something; returns its process number."""
        supervisor: int | None = stored.status().get("supervisor")
        # The lock proves that the process of this number is still the supervisor.
        if supervisor and run_folder.is_held(stored.folder):
            with contextlib.suppress(ProcessLookupError):
                os.kill(supervisor, number)
        return supervisor

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
        "output_dir": None if all(unit.service for unit in units) else local_output(plan, units),
    }


def _grace(stored: StoredRun) -> float:
    """Seconds that the run may take to end: first its trainer, then its services."""
    graces: dict[bool, float] = {}
    for role in stored.unit["roles"]:
        is_service = role.get("service", False)
        graces[is_service] = max(role["grace"], graces.get(is_service, 0.0))
    return sum(graces.values())


def _observed(stored: StoredRun) -> tuple[Observed, list[str]]:
    return observe_log(stored.log(stored.processes[0] if stored.processes else "trainer"))


def _is_over(stored: StoredRun) -> bool:
    """Whether the run has ended or is not there any more."""
    return not stored.folder.exists() or stored.status().get("state") in run_folder.ENDED
