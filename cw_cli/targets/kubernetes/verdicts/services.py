"""Trainers that wait for a service, or waited in vain: which role is to blame, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cw_cli.core.names import MANAGED_BY, ROLE, RUN, selector
from cw_cli.core.status import State
from cw_cli.core.verdict import Verdict, find_exception
from cw_cli.targets.kubernetes.capacity import read_capacity
from cw_cli.targets.kubernetes.connection import Connection
from cw_cli.targets.kubernetes.logs import tail_of
from cw_cli.targets.kubernetes.observe import newest_first
from cw_cli.targets.kubernetes.pods import condition, has_log
from cw_cli.targets.kubernetes.services import deployments_of, role_status
from cw_cli.targets.kubernetes.verdicts.containers import explain_waiting
from cw_cli.targets.kubernetes.verdicts.evidence import Evidence, when
from cw_cli.targets.kubernetes.verdicts.refusals import explain_refusal
from cw_cli.targets.kubernetes.verdicts.scheduling import explain_placement

GATE = "wait-for-services"
_LAST_LINES = 100


def explain_services(connection: Connection, seen: Evidence) -> Verdict | None:
    """The verdict on a trainer that is behind its gate, or that a service's death may have ended."""
    if seen.pod is None or (gate := _gate(seen.pod)) is None:
        return None
    state = gate.get("state") or {}
    if "running" in state:
        return _explain_wait(connection, seen)
    ended = state.get("terminated") or {}
    if not ended.get("exitCode"):
        return None
    told = [line for line in _gate_log(connection, seen.pod) if line.startswith("error: ")]
    cause = told[-1].removeprefix("error: ") if told else f"its gate ended with exit code {ended['exitCode']}"
    words = _last_warning(connection, seen.run)
    tail = f" Its pod's last event: {words}" if words else ""
    remedy = f"A longer `services.ROLE.start_limit` waits longer. Start it again: cw rerun {seen.run}"
    return Verdict(f"The trainer never began: {cause}.{tail}", remedy)


def _gate(pod: Mapping[str, Any]) -> Mapping[str, Any] | None:
    statuses = (pod.get("status") or {}).get("initContainerStatuses") or []
    return next((item for item in statuses if item["name"] == GATE), None)


def _gate_log(connection: Connection, pod: Mapping[str, Any]) -> list[str]:
    return tail_of(connection, pod["metadata"]["name"], _LAST_LINES, container=GATE)


def _explain_wait(connection: Connection, seen: Evidence) -> Verdict:
    waiting = [item for item in deployments_of(connection, seen.run) if role_status(item).state is not State.RUNNING]
    for deployment in waiting:
        role = deployment["metadata"]["labels"][ROLE]
        verdict = _explain_role(connection, seen, deployment, role)
        return Verdict(f"The trainer waits for the {role} service. {verdict.sentence}", verdict.remedy)
    return Verdict("The services answer, and the trainer is about to begin.", f"Wait for it: cw wait {seen.run}")


def _explain_role(connection: Connection, seen: Evidence, deployment: Mapping[str, Any], role: str) -> Verdict:
    """Why a service does not answer yet, asked as of a trainer's pod."""
    service = _evidence(connection, seen, deployment, role)
    for explain in (explain_refusal, explain_placement, explain_waiting):
        if verdict := explain(service):
            raised = find_exception(service.log)
            if raised and explain is explain_waiting:
                sentence = f"It breaks at {raised.place or 'its start'}: {raised.line}."
                return Verdict(sentence, f"Read what it says: cw logs {seen.run} --role {role} --tail 50")
            return verdict
    return Verdict("It is starting: loading a model takes its time.", f"Watch it: cw logs {seen.run} --role {role} -f")


def _evidence(connection: Connection, seen: Evidence, deployment: Mapping[str, Any], role: str) -> Evidence:
    labels = selector({MANAGED_BY: "cw", RUN: seen.run, ROLE: role})
    pods = newest_first(list(connection.list("Pod", labels=labels)))
    pod = next((item for item in pods if not condition(item, "Ready")), pods[0] if pods else None)
    name = deployment["metadata"]["name"]
    return Evidence(
        run=seen.run,
        job={**deployment, "spec": {**deployment["spec"], "parallelism": deployment["spec"].get("replicas")}},
        pods=pods,
        pod=pod,
        events=sorted(_events(connection, f"{name}-"), key=when),
        log=tuple(tail_of(connection, pod["metadata"]["name"], _LAST_LINES)) if pod and has_log(pod) else (),
        capacity=read_capacity(connection) if pod and condition(pod, "PodScheduled", "False") else None,
    )


def _events(connection: Connection, prefix: str) -> Iterator[dict[str, Any]]:
    """Events of objects whose names begin so: a Deployment's pods and the sets that make them."""
    for event in connection.list("Event", fields="type=Warning"):
        if str(event["involvedObject"].get("name", "")).startswith(prefix):
            yield event


def _last_warning(connection: Connection, run: str) -> str:
    """The last thing that went wrong with a pod of the run's services, which may be gone by now."""
    told = sorted(_events(connection, f"{run}-"), key=when)
    words = [str(event.get("message")) for event in told if event["involvedObject"].get("kind") == "Pod"]
    return words[-1].strip() if words else ""
