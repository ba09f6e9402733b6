"""Runs that are under way or have ended: what ended them from outside, and else what their log says."""

from __future__ import annotations

import re

from cw_cli.core.status import State
from cw_cli.core.verdict import Facts, Verdict, explain
from cw_cli.targets.kubernetes.pods import DISRUPTED, Pod, condition, exit_code, phase, terminated
from cw_cli.targets.kubernetes.verdicts.evidence import Evidence, newest_event

_DISRUPTIONS = {
    "PreemptionByScheduler": "a run of higher priority took its place",
    "DeletionByTaintManager": "its node got a taint that it does not tolerate, most often because the node was lost",
    "EvictionByEvictionAPI": "somebody evicted it, as when a node is drained",
    "DeletionByPodGC": "its node is gone",
    "TerminationByKubelet": "its node ran short of something, or was shut down",
}

_COLLECTIVE = re.compile(r"Watchdog caught collective operation timeout|ncclRemoteError|NCCL.*\btimed? ?out", re.I)


def explain_end(seen: Evidence) -> Verdict:
    """The verdict on a run that was started."""
    if seen.reason == "cancelled":
        return explain(facts_of(seen))
    if seen.state is State.SUCCEEDED:
        return explain(facts_of(seen))
    if seen.pod is not None and (verdict := _explain_pod(seen, seen.pod)):
        return verdict
    if seen.state is State.RUNNING:
        return _explain_stopping(seen) or explain(facts_of(seen))
    if seen.reason == "DeadlineExceeded":
        return explain(facts_of(seen))
    if seen.pod is None:
        return _explain_vanished(seen)
    return _with_attempts(seen, _explain_collective(seen) or explain(facts_of(seen)))


def facts_of(seen: Evidence) -> Facts:
    """What the cluster knows, as any target knows it."""
    code = exit_code(seen.pod) if seen.pod else None
    return Facts(
        run=seen.run,
        state=seen.state,
        reason=seen.reason,
        exit_code=code,
        signal=code - 128 if code is not None and 128 < code < 160 else None,
        progress=seen.observed.progress,
        outcome=seen.observed.outcome,
        preempted=seen.observed.preempted,
        error=seen.observed.error,
        log=seen.log,
    )


def _explain_pod(seen: Evidence, pod: Pod) -> Verdict | None:
    """What happened to the pod from outside the trainer."""
    return explain_lost_node(seen, pod) or _explain_disruption(seen, pod) or _explain_container(seen, pod)


def explain_lost_node(seen: Evidence, pod: Pod) -> Verdict | None:
    status, node = pod.get("status") or {}, pod["spec"].get("nodeName")
    unready = condition(pod, "Ready", "False") or condition(pod, "Ready", "Unknown") or {}
    lost = status.get("reason") == "NodeLost" or phase(pod) == "Unknown" or unready.get("reason") == "NodeStatusUnknown"
    silent = phase(pod) == "Running" and not terminated(pod) and newest_event(seen, "NodeNotReady") is not None
    if not lost and not (silent and unready):
        return None
    return Verdict(
        f"The node {node} stopped answering{_so_far(seen)}; whether the trainer still runs there is not known.",
        f"Kubernetes gives it up after some minutes; or do so now: cw cancel {seen.run}, then cw rerun {seen.run}",
    )


def _explain_disruption(seen: Evidence, pod: Pod) -> Verdict | None:
    held = condition(pod, DISRUPTED)
    status = pod.get("status") or {}
    again = f"Start it again: cw rerun {seen.run}; `retries` makes Kubernetes do that by itself."
    if status.get("reason") == "Evicted" or (held and held.get("reason") == "TerminationByKubelet"):
        words = str(status.get("message") or (held or {}).get("message") or "").strip().rstrip(".")
        return Verdict(f"Its node evicted it{_so_far(seen)}: {words or 'the node ran short of something'}.", again)
    if held is None:
        return None
    why = _DISRUPTIONS.get(str(held.get("reason")), str(held.get("message") or held.get("reason")).rstrip("."))
    return Verdict(f"It was stopped{_so_far(seen)} from outside: {why}.", again)


def _explain_container(seen: Evidence, pod: Pod) -> Verdict | None:
    """Ends that the kubelet names."""
    ended = terminated(pod)
    if ended.get("reason") == "OOMKilled":
        container = pod["spec"]["containers"][0]
        limit = ((container.get("resources") or {}).get("limits") or {}).get("memory")
        over = f"needed more memory than its limit of {limit}" if limit else "took the node's last memory"
        return Verdict(
            f"The trainer {over} and was killed{_so_far(seen)}.",
            f"Give it more: cw rerun {seen.run} --memory {_doubled(limit)}; or use fewer data workers.",
        )
    if ended.get("reason") in ("StartError", "ContainerCannotRun"):
        words = str(ended.get("message", "")).strip().rpartition("exec: ")[2].rstrip(".").replace(": unknown", "")
        return Verdict(f"The container could not start: {words}.", "Is it the right image? It must hold the command.")
    refused = str((pod.get("status") or {}).get("message") or "")
    if phase(pod) == "Failed" and not ended and refused:
        return Verdict(f"Its node refused the pod: {refused.rstrip('.')}.", f"Start it again: cw rerun {seen.run}")
    return None


def _doubled(limit: str | None) -> str:
    """Twice a memory limit, as in `64Gi`; the example where there was none."""
    from cw_cli.core.resources import quantity

    if limit is None:
        return "64Gi"
    size = 2 * quantity(limit)
    return f"{int(size / 2**30)}Gi" if size >= 2**31 else f"{int(size / 2**20)}Mi"


def _explain_stopping(seen: Evidence) -> Verdict | None:
    if seen.reason == "cancelling":
        return Verdict("It was cancelled and is saving what it has.", f"Wait for it: cw wait {seen.run}")
    if seen.reason == "stopping":
        return Verdict("It is being stopped; its last pod has not ended yet.", f"Wait for it: cw wait {seen.run}")
    return None


def _explain_collective(seen: Evidence) -> Verdict | None:
    """GPUs that waited for each other in vain."""
    if not any(_COLLECTIVE.search(line) for line in seen.log):
        return None
    return Verdict(
        f"The GPUs waited for each other until NCCL's time was over{_so_far(seen)}: one rank hung or was gone.",
        f"Look for the rank that stopped first: cw logs {seen.run}; `env: {{NCCL_DEBUG: INFO}}` says more next time.",
    )


def _explain_vanished(seen: Evidence) -> Verdict:
    """A failed Job without any pod: only events may still tell."""
    again = f"Start it again: cw rerun {seen.run}; `retries` makes Kubernetes do that by itself."
    if message := newest_event(seen, "Preempted"):
        return Verdict(f"A run of higher priority took its place: {message.rstrip('.')}.", again)
    if newest_event(seen, "TaintManagerEviction"):
        return Verdict(f"It was stopped from outside: {_DISRUPTIONS['DeletionByTaintManager']}.", again)
    sentence = "Its pod was deleted by somebody else (a person, a drain, an autoscaler), and its log with it."
    return Verdict(sentence, again)


def _with_attempts(seen: Evidence, verdict: Verdict) -> Verdict:
    """Says so when it was tried more than once."""
    failed = int((seen.job.get("status") or {}).get("failed") or 0)
    if seen.reason != "BackoffLimitExceeded" or failed < 2 or not seen.job["spec"].get("backoffLimit"):
        return verdict
    return verdict._replace(sentence=f"All {failed} attempts failed; the last one: {_lowered(verdict.sentence)}")


def _lowered(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:]


def _so_far(seen: Evidence) -> str:
    progress = seen.observed.progress
    if progress is None or not progress.step:
        return ""
    return f" at step {progress.step}" + (f" of {progress.total}" if progress.total else "")
