"""Pods for which the scheduler finds no node."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

from cw_cli.core.resources import GPU_LABELS, GPU_PRODUCTS, GPU_RESOURCE
from cw_cli.core.verdict import Verdict
from cw_cli.targets.kubernetes.capacity import Capacity, Node, _term_matches, _tolerates, pod_requests
from cw_cli.targets.kubernetes.pods import condition
from cw_cli.targets.kubernetes.verdicts.claims import explain_claims
from cw_cli.targets.kubernetes.verdicts.evidence import Evidence, Item

_TAINT = re.compile(r"untolerated taint(?:\(s\))? ?\{([^}]+)\}")
_INSUFFICIENT = re.compile(r"Insufficient ([^\s,.]+(?:[./][^\s,.]+)*)")
_SHOWN_NODES = 5
BLIND = "cw may not look at this cluster's nodes, so it cannot tell how many are free."


def explain_placement(seen: Evidence) -> Verdict | None:
    """Why no node takes the pod: its claims, its selector, taints, and then what is free."""
    unplaced = condition(seen.pod, "PodScheduled", "False") if seen.pod else None
    if seen.pod is None or unplaced is None:
        return None
    message = str(unplaced.get("message", ""))
    if claims := explain_claims(seen, message):
        return claims
    if seen.capacity is None:
        return _explain_words(seen.pod, message)
    return _explain_nodes(seen.run, seen.pod, seen.capacity) or _unplaceable(message)


def _explain_nodes(run: str, pod: Item, capacity: Capacity) -> Verdict | None:
    """From the nodes themselves."""
    if not capacity.nodes:
        return Verdict("The cluster has no node.", "Wait until its autoscaler adds one, or ask who administers it.")
    allowed = [node for node in capacity.nodes if selected(node, pod)]
    if not allowed:
        return _explain_selector(pod, capacity.nodes)
    open_nodes = [node for node in allowed if not repelling_taints(node, pod)]
    if not open_nodes:
        return _explain_taints(allowed, pod)
    requests = pod_requests(pod["spec"])
    for resource in sorted(requests, key=lambda name: name != GPU_RESOURCE):
        rooms = _rooms(open_nodes, capacity, resource)
        if max(room.free for room in rooms) < requests[resource]:
            return _explain_room(run, resource, requests[resource], rooms)
    return None


class Room(NamedTuple):
    """How much of one resource a node has in all, and how much nobody has asked for."""

    node: str
    total: Fraction
    free: Fraction


def _rooms(nodes: Sequence[Node], capacity: Capacity, resource: str) -> list[Room]:
    used, none = capacity.used(), Fraction(0)
    totals = [(node.name, node.allocatable.get(resource, none)) for node in nodes]
    return [Room(name, total, max(total - used[name].get(resource, none), none)) for name, total in totals]


def selected(node: Node, pod: Item) -> bool:
    """Whether the pod's node selector and required node affinity allow the node."""
    spec = pod["spec"]
    if any(node.labels.get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
        return False
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    return required is None or any(_term_matches(term, node) for term in required["nodeSelectorTerms"])


def repelling_taints(node: Node, pod: Item) -> list[Mapping[str, str]]:
    """The node's taints that keep the pod away."""
    tolerations = pod["spec"].get("tolerations") or []
    hard = [taint for taint in node.taints if taint.get("effect") in ("NoSchedule", "NoExecute")]
    return [taint for taint in hard if not any(_tolerates(toleration, taint) for toleration in tolerations)]


def _explain_selector(pod: Item, nodes: Sequence[Node]) -> Verdict:
    """No node has the labels that the pod asks for."""
    labels = [node.labels for node in nodes]
    for key, value in (pod["spec"].get("nodeSelector") or {}).items():
        if not any(held.get(key) == value for held in labels):
            there = sorted({held[key] for held in labels if key in held})
            have = f"there are {key}={', '.join(there)}" if there else f"no node has a label {key}"
            return Verdict(f"No node is labelled {key}={value}: {have}.", "Correct `node_selector` and rerun it.")
    if wanted := _wanted_gpu(pod):
        there = sorted({node.gpu_type for node in nodes if node.gpu_type})
        have = f"this cluster has {', '.join(there)}" if there else "no node says which GPUs it has"
        remedy = f"Ask for one of those: --gpu {there[0]}:N." if there else "Leave the type out: --gpu N."
        return Verdict(f"No node has {wanted} GPUs: {have}.", remedy)
    return Verdict(
        "No node satisfies all of its node selector and affinity at once.", "Loosen `node_selector` and rerun it."
    )


def _wanted_gpu(pod: Item) -> str | None:
    """The GPU type that the pod's affinity asks for, as people call it."""
    affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    terms = (affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}).get("nodeSelectorTerms") or []
    expressions = [item for term in terms for item in term.get("matchExpressions") or [] if item["key"] in GPU_LABELS]
    if not expressions:
        return None
    products = set(expressions[0].get("values") or [])
    known = (name for name, labels in GPU_PRODUCTS.items() if products <= set(labels))
    return next(known, ", ".join(sorted(products)))


def _explain_taints(nodes: Sequence[Node], pod: Item) -> Verdict:
    """Every node that the pod could go to keeps it away."""
    taints = [taint for node in nodes for taint in repelling_taints(node, pod)]
    keys = {taint["key"] for taint in taints}
    names = _some([node.name for node in nodes])
    if keys <= {"node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"}:
        return Verdict(f"No node that it could go to is ready: {names}.", "Wait, or ask who administers the cluster.")
    if keys == {"node.kubernetes.io/unschedulable"}:
        sentence = f"Every node that it could go to is closed to new pods: {names}."
        return Verdict(sentence, "Somebody drained them; wait until they are opened again.")
    # A node that is lost or closed may have been reserved before; only that can be tolerated.
    taint = next((taint for taint in taints if not taint["key"].startswith("node.kubernetes.io/")), taints[0])
    value = f"={taint['value']}" if taint.get("value") else ""
    words = f"{taint['key']}{value}:{taint['effect']}"
    sentence = f"The nodes that it could go to have the taint {words}, which it does not tolerate: {names}."
    return Verdict(sentence, f"If you may use them, set `tolerations: ['{words}']` and rerun it.")


def _explain_room(run: str, resource: str, amount: Fraction, found: Sequence[Room]) -> Verdict:
    """Not enough of a resource on any one node, now or ever."""
    what, most, free = _name(resource), max(room.total for room in found), max(room.free for room in found)
    if most < amount:
        ever = "no node has any" if not most else f"no node that it could go to has more than {_shown(resource, most)}"
        spread = " or spread them with --nodes" if resource == GPU_RESOURCE and most else ""
        flag = {GPU_RESOURCE: "--gpu", "cpu": "--cpu", "memory": "--memory"}.get(resource)
        return Verdict(
            f"It can never fit: it asks for {_shown(resource, amount)} {what} on one node, and {ever}.",
            f"Ask for at most {_shown(resource, most)}{f' ({flag})' if flag else ''}{spread}: cw rerun {run}",
        )
    by_room = sorted(found, key=lambda room: (-room.free, room.node))
    frees = [f"{_shown(resource, room.free)} of {_shown(resource, room.total)} on {room.node}" for room in by_room]
    there = _some(frees)
    less = f", or ask for at most {_shown(resource, free)} to start now" if free else ""
    return Verdict(
        f"It waits for {what}: it asks for {_shown(resource, amount)} on one node, and free are {there}.",
        f"It fits once others give theirs back, and starts by itself then{less}.",
    )


def _explain_words(pod: Item, message: str) -> Verdict:
    """From the scheduler's own words, where nodes cannot be seen."""
    missing = _INSUFFICIENT.findall(message)
    if missing:
        resource = GPU_RESOURCE if GPU_RESOURCE in missing else missing[0]
        amount = _shown(resource, pod_requests(pod["spec"]).get(resource, Fraction(0)))
        asks = f"it asks for {amount} on one node, and no node has that many free"
        return Verdict(
            f"It waits for {_name(resource)}: {asks}. {BLIND}",
            "It starts by itself if that ever becomes free; ask for less to start sooner.",
        )
    if found := _TAINT.search(message):
        key, _, value = found[1].partition(": ")
        words = f"{key}={value}" if value else key
        remedy = f"If you may use such nodes, set `tolerations: ['{words}']` and rerun it."
        return Verdict(f"A node has the taint {words}, which it does not tolerate. {BLIND}", remedy)
    if "node affinity/selector" in message:
        wanted = _wanted_gpu(pod)
        what = f"has {wanted} GPUs" if wanted else "has the labels of its `node_selector`"
        return Verdict(f"No node {what}.", "Correct `gpu` or `node_selector` and rerun it.")
    return _unplaceable(message)


def _unplaceable(message: str) -> Verdict:
    words = message.rstrip(".") or "it gives no reason"
    return Verdict(f"The scheduler finds no node for it: {words}.", "Ask for less or for other nodes, or wait.")


def _name(resource: str) -> str:
    return {GPU_RESOURCE: "GPUs", "cpu": "cores", "memory": "of memory"}.get(resource, resource)


def _shown(resource: str, amount: Fraction) -> str:
    if resource in ("memory", "ephemeral-storage"):
        return f"{float(amount) / 2**30:.4g}Gi"
    return f"{float(amount):g}"


def _some(words: Sequence[str]) -> str:
    more = f" and {len(words) - _SHOWN_NODES} more" if len(words) > _SHOWN_NODES else ""
    return ", ".join(words[:_SHOWN_NODES]) + more
