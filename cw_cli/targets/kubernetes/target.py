"""A cluster's namespace as a place for runs: the verbs of `Target`, said with Jobs, pods and ConfigMaps."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cw_cli.core.exceptions import RunNotFoundError
from cw_cli.core.names import (
    MANAGED_BY,
    RECIPES,
    RECORD,
    ROLE,
    RUN,
    dns_label,
    matching_runs,
    object_name,
    selector,
)
from cw_cli.core.problems import Problem
from cw_cli.core.progress import observe
from cw_cli.core.roles import GUARD
from cw_cli.core.status import RunStatus
from cw_cli.core.verdict import Verdict
from cw_cli.targets.kubernetes import launch as launching
from cw_cli.targets.kubernetes.connection import Connection
from cw_cli.targets.kubernetes.details import with_details
from cw_cli.targets.kubernetes.listing import list_runs, run_names
from cw_cli.targets.kubernetes.logs import read_logs, tail_of
from cw_cli.targets.kubernetes.observe import CANCELLED, jobless_status, newest_first, run_status
from cw_cli.targets.kubernetes.pods import has_log, telling_pod
from cw_cli.targets.kubernetes.refusals import ApiError
from cw_cli.targets.kubernetes.services import deployments_of, restart, scale, services_alone, with_services

if TYPE_CHECKING:
    from cw_cli.core.plan import Plan


class KubernetesTarget:
    """Runs in one namespace of one cluster."""

    kind = "kubernetes"

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    @classmethod
    def open(cls, context: str | None, namespace: str | None) -> KubernetesTarget:
        return cls(Connection.open(context, namespace))

    def check(self, plan: Plan) -> list[Problem]:
        """What the cluster would say to the plan, without changing anything."""
        from cw_cli.targets.kubernetes.checks import check_plan

        return check_plan(self.connection, plan)

    def rehearse(self, plan: Plan) -> list[Problem]:
        """What the API server says to the very objects of the plan, in a dry run of its own."""
        from cw_cli.targets.kubernetes.needs import dry_run

        self.connection.require_namespace()
        return [
            Problem(finding.sentence, finding.remedy, severity="warning" if finding.level == "warning" else "error")
            for finding in dry_run(self.connection, plan)
            if finding.level != "ok"
        ]

    def launch(self, plan: Plan, *, attached: bool) -> None:
        """Create the run. It never depends on the process that launched it, attached or not."""
        launching.launch(self.connection, plan)

    def find(self, text: str) -> list[str]:
        """The runs that `text` names. A full name is asked for at once; anything else takes a look at all."""
        if text == dns_label(text) and self._find_record(text):
            return [text]
        names = list(run_names(self.connection))
        if not names:
            self.connection.require_namespace()
        return matching_runs(text, names)

    def list(self) -> list[RunStatus]:
        """Every run, newest first: those with a Job, and those of which the record is left."""
        runs = list_runs(self.connection)
        if not runs:
            self.connection.require_namespace()
        return with_details(self.connection, runs)

    def status(self, run: str) -> RunStatus:
        """One run, observed now."""
        job = self.connection.get("Job", run)
        deployments = deployments_of(self.connection, run)
        if job is None:
            record = self._record(run)
            return services_alone(run, deployments) if deployments else jobless_status(record, _launched(record))
        pods = self.pods(run)
        told = telling_pod(pods)
        log = tail_of(self.connection, told["metadata"]["name"]) if told and has_log(told) else []
        return with_services(run_status(job, observe(log), pods), deployments)

    def record(self, run: str) -> Mapping[str, Any]:
        """The record that the plan left."""
        data = self._record(run).get("data") or {}
        return {**json.loads(data.get("record.json", "{}")), "given": data.get("given.yaml", "")}

    def why(self, run: str) -> Verdict:
        """Why the run is in its state and what to do about it."""
        from cw_cli.targets.kubernetes.verdicts import explain_run

        return explain_run(self.connection, run, self.connection.get("Job", run), lambda: self._record(run))

    def logs(self, run: str, *, role: str | None, follow: bool, tail: int | None) -> Iterator[str]:
        """Lines of the run's log, attempt after attempt; with `follow` until the run has ended. Without a role the
        trainer's, or those of services that have none."""
        job = self.connection.get("Job", run)
        if job is None:
            self._record(run)
        elif role is None:
            role = "trainer"
        return read_logs(self.connection, run, role=role, follow=follow, tail=tail)

    def cancel(self, run: str) -> bool:
        """Stop the run and free its services, keep its record, and its logs if it had begun; False when it had ended
        already."""
        job = self.connection.get("Job", run)
        if job is None:
            self._record(run)
            return self._end_services(run)
        if run_status(job).state.ended:
            return self._end_services(run)
        running = [pod for pod in self.pods(run) if (pod.get("status") or {}).get("phase") == "Running"]
        spec: dict[str, Any]
        if running:
            # The Job has failed when the last of these pods has: a Job that fails earlier deletes the others' logs.
            spec = {"backoffLimit": int((job.get("status") or {}).get("failed") or 0) + len(running) - 1}
        else:
            # Should a queue wake it after all, its time is over at once.
            spec = {"suspend": True, "activeDeadlineSeconds": 1}
        self.connection.merge("Job", run, {"metadata": {"annotations": {CANCELLED: "true"}}, "spec": spec})
        for pod in running:
            # A pod that is deleted takes its log along; one whose time is over stays, and its trainer gets SIGTERM.
            self.connection.merge("Pod", pod["metadata"]["name"], {"spec": {"activeDeadlineSeconds": 1}})
        self._end_services(run)
        return True

    def _end_services(self, run: str) -> bool:
        """Delete what holds GPUs beside the trainer; False when there is nothing."""
        deployments = deployments_of(self.connection, run)
        for item in deployments:
            self.connection.delete("Deployment", item["metadata"]["name"], only={"uid": item["metadata"]["uid"]})
        if deployments:
            self.connection.delete("Job", object_name(run, GUARD))
        return bool(deployments)

    def restart(self, run: str, role: str) -> None:
        """Replace the processes of a service; raises `TargetError` for what is none."""
        self._known(run)
        restart(self.connection, run, role)

    def scale(self, run: str, role: str, replicas: int) -> None:
        """Change how many replicas a service has; raises `TargetError` for what is none."""
        self._known(run)
        scale(self.connection, run, role, replicas)

    def delete(self, runs: Sequence[str]) -> Sequence[str]:
        """Stop the runs and forget them; returns a line for each thing that was deleted."""
        deleted: list[str] = []
        recipes: set[str] = set()
        for run in runs:
            self._known(run)
            found = [
                (kind, item)
                for kind in ("Job", "Deployment", "Service", "NetworkPolicy", "ConfigMap")
                for item in self._own(kind, run)
            ]
            # The record goes last: until then the run can be seen, and deleted again.
            for kind, item in sorted(found, key=lambda pair: RECORD in pair[1]["metadata"]["labels"]):
                recipes.add(item["metadata"]["labels"].get(RECIPES, ""))
                if self.connection.delete(kind, item["metadata"]["name"], only={"uid": item["metadata"]["uid"]}):
                    deleted.append(f"{kind.lower()}/{item['metadata']['name']}")
        return [*deleted, *launching.sweep(self.connection, recipes - {""})]

    def _own(self, kind: str, run: str) -> Sequence[Mapping[str, Any]]:
        """The run's objects of a kind; none of a kind at which we may not look."""
        try:
            return [*self.connection.list(kind, labels=selector({MANAGED_BY: "cw", RUN: run}), metadata=True)]
        except ApiError as error:
            if error.status != 403 or kind not in launching.OPTIONAL:
                raise
            return []

    def pods(self, run: str) -> Sequence[Mapping[str, Any]]:
        """The pods of the run's trainer, newest first."""
        return newest_first(list(self.connection.list("Pod", labels=selector({RUN: run, ROLE: "trainer"}))))

    def _known(self, run: str) -> None:
        if self.connection.get("Job", run) is None:
            self._record(run)

    def _record(self, run: str) -> dict[str, Any]:
        record = self._find_record(run)
        if record is None:
            raise RunNotFoundError(f"no run is called {run} in namespace {self.connection.namespace}", "See cw list.")
        return record

    def _find_record(self, run: str) -> dict[str, Any] | None:
        """The run's record; a ConfigMap of that name that is not cw's is none."""
        found = self.connection.get("ConfigMap", object_name(run, "config"))
        return found if found and RECORD in (found["metadata"].get("labels") or {}) else None


def _launched(record: Mapping[str, Any]) -> bool:
    return launching.LAUNCHED in (record["metadata"].get("annotations") or {})
