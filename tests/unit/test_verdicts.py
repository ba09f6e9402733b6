"""Verdicts from literal objects, for what a test cluster does not do on demand."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from cw_cli.core.status import State
from cw_cli.targets.kubernetes.capacity import Capacity, Holder, Node
from cw_cli.targets.kubernetes.observe import job_state, run_status
from cw_cli.targets.kubernetes.pod_log import Line, _Place
from cw_cli.targets.kubernetes.pods import telling_pod, waiting_reason
from cw_cli.targets.kubernetes.verdicts import explain_evidence, explain_record
from cw_cli.targets.kubernetes.verdicts.evidence import Evidence

GPU = "nvidia.com/gpu"
NO_NODE = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."


def a_job(
    *conditions: tuple[str, str], suspend: bool = False, annotations: Any = None, **status: Any
) -> dict[str, Any]:
    held = [{"type": kind, "status": "True", "reason": reason, "lastTransitionTime": T} for kind, reason in conditions]
    return {
        "metadata": {"name": "run", "labels": {"cw.dev/run": "run"}, "annotations": annotations or {}},
        "spec": {"suspend": suspend, "parallelism": 1, "backoffLimit": 0, "template": {"spec": {"containers": [{}]}}},
        "status": {"conditions": held, **status},
    }


T = "2026-01-01T00:00:00Z"
FAILED = a_job(("Failed", "BackoffLimitExceeded"), failed=1)


def a_pod(
    *conditions: dict[str, str], phase: str = "Pending", name: str = "run-1", code: int | None = None, **parts: Any
) -> dict[str, Any]:
    spec = {
        "containers": [{"name": "trainer", "resources": {"limits": parts.pop("limits", {})}}],
        **parts.pop("spec", {}),
    }
    ended = {"exitCode": code, "finishedAt": parts.pop("finished", T), "reason": parts.pop("why", "Error")}
    states = [{"name": "trainer", "state": {"terminated": ended}}] if code is not None else []
    return {
        "metadata": {"name": name, "creationTimestamp": T, "annotations": parts.pop("annotations", {})},
        "spec": spec,
        "status": {"phase": phase, "conditions": list(conditions), "containerStatuses": states, **parts},
    }


def unplaced(message: str, **parts: Any) -> dict[str, Any]:
    return a_pod({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}, **parts)


def a_node(name: str, gpus: int, *taints: dict[str, str], **labels: str) -> Node:
    return Node(name, labels.get("nvidia.com/gpu.product", ""), {GPU: Fraction(gpus)}, True, False, taints, labels)


def held(node: str, gpus: int) -> Holder:
    return Holder(node, "other", "pod", "", "", {GPU: Fraction(gpus)})


def say(job: dict[str, Any], *pods: dict[str, Any], **more: Any) -> str:
    """Both sentences of the verdict."""
    return " ".join(explain_evidence(Evidence("run", job, pods, telling_pod(pods), **more)))


def an_event(reason: str, message: str) -> dict[str, Any]:
    return {"reason": reason, "message": message, "type": "Warning", "metadata": {}, "lastTimestamp": T}


def test_free_gpus_are_counted_on_the_nodes_that_the_run_may_use() -> None:
    reserved = a_node("c", 8, {"key": "team", "value": "x", "effect": "NoSchedule"})
    capacity = Capacity((a_node("a", 8), a_node("b", 8), reserved), (held("a", 6), held("b", 7)), True)
    said = say(a_job(), unplaced(NO_NODE, limits={GPU: "4"}), capacity=capacity)
    assert "asks for 4 on one node, and free are 2 of 8 on a, 1 of 8 on b." in said
    assert "at most 2 to start now" in said
    never = say(a_job(), unplaced(NO_NODE, limits={GPU: "16"}), capacity=capacity)
    assert never.startswith("It can never fit: it asks for 16 GPUs on one node")
    assert "--nodes" in never


def test_where_nodes_may_not_be_seen_the_schedulers_words_do() -> None:
    said = say(a_job(), unplaced(NO_NODE, limits={GPU: "4"}))
    assert "it asks for 4 on one node, and no node has that many free" in said
    assert "may not look at this cluster's nodes" in said
    taint = "0/1 nodes are available: 1 node(s) had untolerated taint {team: x}."
    assert "the taint team=x, which it does not tolerate" in say(a_job(), unplaced(taint))
    assert "finds no node for it: something new." in say(a_job(), unplaced("something new."))


def test_a_gpu_type_that_no_node_has_is_told_with_those_there_are() -> None:
    nodes = (a_node("a", 8, **{"nvidia.com/gpu.product": "NVIDIA-L4"}),)
    expression = {"key": "nvidia.com/gpu.product", "operator": "In", "values": ["NVIDIA-H100-80GB-HBM3"]}
    terms = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}
    said = say(a_job(), unplaced(NO_NODE, spec={"affinity": affinity}), capacity=Capacity(nodes, (), True))
    assert said.startswith("No node has H100 GPUs: this cluster has NVIDIA-L4.")


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("node.kubernetes.io/unreachable", "No node that it could go to is ready: a"),
        ("node.kubernetes.io/unschedulable", "closed to new pods: a"),
    ],
)
def test_nodes_that_are_away_are_not_called_tainted(key: str, words: str) -> None:
    capacity = Capacity((a_node("a", 8, {"key": key, "effect": "NoSchedule"}),), (), True)
    assert words in say(a_job(), unplaced(NO_NODE), capacity=capacity)


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("PreemptionByScheduler", "a run of higher priority took its place"),
        ("DeletionByTaintManager", "the node was lost"),
        ("EvictionByEvictionAPI", "somebody evicted it"),
    ],
)
def test_disruptions_come_before_the_exit_code(reason: str, words: str) -> None:
    disrupted = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": ""}
    assert words in say(FAILED, a_pod(disrupted, phase="Failed", code=143))


def test_an_eviction_says_what_ran_short() -> None:
    pod = a_pod(phase="Failed", reason="Evicted", message="The node was low on resource: ephemeral-storage. ")
    assert "Its node evicted it: The node was low on resource: ephemeral-storage." in say(FAILED, pod)


def test_a_preempted_pod_that_is_gone_is_known_from_its_event() -> None:
    event = an_event("Preempted", "Preempted by pod abc on node a")
    assert "A run of higher priority took its place" in say(FAILED, events=[event])


def test_an_out_of_memory_kill_without_a_limit_blames_the_node() -> None:
    said = say(FAILED, a_pod(phase="Failed", code=137, why="OOMKilled"))
    assert said.startswith("The trainer took the node's last memory and was killed.")


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (
            'Error creating: pods "x" is exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2',
            "The quota q does not allow its pod: asked pods=1, used pods=2, limit pods=2. It starts by itself",
        ),
        ('Error creating: pods "x" is forbidden: failed quota: q: must specify limits.cpu for: t', "wants limits.cpu"),
        (
            'Error creating: admission webhook "w.example.com" denied the request: no team label.',
            "The cluster's admission webhook w.example.com refuses its pod: no team label.",
        ),
        ('Internal error occurred: failed calling webhook "w": no endpoints', "webhook w does not answer"),
        ("Error creating: no PriorityClass with name high was found", "no priority class high"),
        (
            'Error creating: pods "x" is forbidden: maximum memory usage per Container is 1Gi, but limit is 2Gi',
            "The namespace's limits refuse its pod: maximum memory usage per Container is 1Gi, but limit is 2Gi.",
        ),
        ("Error creating: something new", "The cluster refuses its pod: something new."),
    ],
)
def test_what_the_cluster_refuses_is_told_in_its_words(message: str, words: str) -> None:
    assert words in say(a_job(), events=[an_event("FailedCreate", message)])


def test_what_is_not_known_is_said_with_the_last_events() -> None:
    said = say(a_job(), a_pod(), events=[an_event("Odd", "the moon is full")])
    assert said.startswith("It has not started, and cw does not know why. The last events: Odd: the moon is full")


def test_a_pod_that_is_merely_starting_is_not_in_trouble() -> None:
    assert "nothing is wrong so far" in say(a_job(), a_pod(), events=[{**an_event("Pulled", "ok"), "type": "Normal"}])


def test_a_job_whose_end_is_decided_runs_until_its_last_pod_has_ended() -> None:
    assert job_state(a_job(("FailureTarget", "DeadlineExceeded"))) == (State.RUNNING, "stopping")
    both = a_job(("FailureTarget", "DeadlineExceeded"), ("Failed", "DeadlineExceeded"))
    assert job_state(both) == (State.FAILED, "DeadlineExceeded")


def test_the_node_that_failed_first_tells() -> None:
    index = "batch.kubernetes.io/job-completion-index"
    first = a_pod(phase="Failed", name="run-0", code=143, finished="2026-01-01T00:00:09Z", annotations={index: "0"})
    second = a_pod(phase="Failed", name="run-1", code=3, finished="2026-01-01T00:00:02Z", annotations={index: "1"})
    assert telling_pod([first, second]) is second
    assert run_status(FAILED, None, [first, second]).exit_code == 3


def test_a_pending_pod_says_why_in_a_word() -> None:
    assert waiting_reason(unplaced(NO_NODE)) == "Unschedulable"
    waits = [{"name": "trainer", "state": {"waiting": {"reason": "ImagePullBackOff"}}}]
    assert waiting_reason({**a_pod(), "status": {"phase": "Pending", "containerStatuses": waits}}) == "ImagePullBackOff"
    assert waiting_reason(a_pod(phase="Running")) == ""


def test_a_record_alone_tells_a_broken_launch_from_one_that_is_over() -> None:
    assert "was interrupted" in explain_record("run", {"metadata": {"name": "run"}}).sentence
    launched = {"metadata": {"name": "run", "annotations": {"cw.dev/launched": "true"}}}
    assert "its time to live was over" in explain_record("run", launched).sentence


def test_a_log_that_is_read_again_goes_on_where_it_broke() -> None:
    whole = [
        Line(f"2026-01-01T00:00:0{second}.{part:09}+02:00", f"{second}.{part}")
        for second in (1, 2)
        for part in (1, 2, 3)
    ]
    place = _Place()
    assert list(place.new(iter(whole[:5]))) == whole[:5]
    assert place.query() == {"sinceTime": "2026-01-01T00:00:02+02:00"}
    assert list(place.new(iter(whole[3:]))) == whole[5:]
    # Rotated away meanwhile: what comes is new although fewer lines than before came again.
    later = [Line("2026-01-01T00:00:02.5+02:00", "a"), Line("2026-01-01T00:00:02.6+02:00", "b")]
    assert list(place.new(iter(later))) == later


def test_lines_of_one_instant_are_all_kept() -> None:
    same = [Line("2026-01-01T00:00:01.000000001Z", text) for text in "abc"]
    place = _Place()
    assert list(place.new(iter(same[:2]))) == same[:2]
    assert list(place.new(iter(same))) == same[2:]
