"""Why a run on a cluster is in its state: evidence is gathered, then asked in an order that puts causes before
consequences."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cw_cli.core.status import State
from cw_cli.core.verdict import Verdict
from cw_cli.targets.kubernetes.connection import Connection
from cw_cli.targets.kubernetes.launch import LAUNCHED
from cw_cli.targets.kubernetes.observe import jobless_status
from cw_cli.targets.kubernetes.verdicts.containers import explain_waiting
from cw_cli.targets.kubernetes.verdicts.ends import explain_end, explain_lost_node
from cw_cli.targets.kubernetes.verdicts.evidence import Evidence, gather
from cw_cli.targets.kubernetes.verdicts.queues import explain_queue
from cw_cli.targets.kubernetes.verdicts.refusals import explain_refusal
from cw_cli.targets.kubernetes.verdicts.scheduling import explain_placement
from cw_cli.targets.kubernetes.verdicts.services import explain_services
from cw_cli.targets.kubernetes.verdicts.unknown import explain_unknown


def explain_run(
    connection: Connection, run: str, job: Mapping[str, Any] | None, record: Callable[[], Mapping[str, Any]]
) -> Verdict:
    """One sentence that says what, one that says what to do."""
    if job is None:
        return explain_record(run, record())
    seen = gather(connection, run, job)
    return (None if _decided(seen) else explain_services(connection, seen)) or explain_evidence(seen)


def _decided(seen: Evidence) -> bool:
    """Whether somebody ended the run, whatever its services did."""
    return seen.state is State.SUCCEEDED or seen.reason in ("cancelled", "DeadlineExceeded")


def explain_record(run: str, record: Mapping[str, Any]) -> Verdict:
    """A run of which only the record is left."""
    again = f"Start it again: cw rerun {run}"
    launched = LAUNCHED in (record["metadata"].get("annotations") or {})
    if jobless_status(record, launched).state is State.FAILED:
        return Verdict("Its launch was interrupted before the Job was created, so nothing ran.", again)
    sentence = "Its Job is gone: it ended and its time to live was over, or somebody deleted it; the record is left."
    return Verdict(sentence, f"What it made is where it wrote it: cw describe {run}. {again}")


def explain_evidence(seen: Evidence) -> Verdict:
    """The verdict on a run whose Job is there."""
    if seen.state is State.PENDING:
        # A pod whose node fell silent is not ready either.
        if seen.pod is not None and (verdict := explain_lost_node(seen, seen.pod)):
            return verdict
        for explain in (explain_queue, explain_refusal, explain_placement, explain_waiting):
            if verdict := explain(seen):
                return verdict
        return explain_unknown(seen)
    if seen.state is State.RUNNING and (verdict := explain_refusal(seen) or explain_placement(seen)):
        return verdict  # a part of a multi-node run that cannot start keeps the rest waiting
    return explain_end(seen)
