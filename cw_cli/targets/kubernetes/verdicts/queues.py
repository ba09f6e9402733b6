"""Runs that a queue holds back."""

from __future__ import annotations

from cw_cli.core.verdict import Verdict
from cw_cli.targets.kubernetes.verdicts.evidence import Evidence

QUEUE = "kueue.x-k8s.io/queue-name"


def explain_queue(seen: Evidence) -> Verdict | None:
    """A suspended Job, or pods behind a scheduling gate."""
    gates = [gate["name"] for pod in seen.pods for gate in pod["spec"].get("schedulingGates") or []]
    if not seen.job["spec"].get("suspend") and not gates:
        return None
    queue = (seen.job["metadata"].get("labels") or {}).get(QUEUE)
    if queue:
        sentence = f"It waits in the queue {queue}, which has not admitted it yet."
        return Verdict(sentence, f"It starts by itself; kubectl get workloads shows the queue. Or cw cancel {seen.run}")
    if gates:
        return Verdict(f"Its pod waits behind the scheduling gate {gates[0]}.", "Whoever set the gate removes it.")
    return Verdict(
        "Its Job is suspended, and no queue is named that would start it.",
        f'Start it: kubectl patch job {seen.run} --type merge -p \'{{"spec": {{"suspend": false}}}}\'',
    )
