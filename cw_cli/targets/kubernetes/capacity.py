"""What nodes have, who holds it, and whether pods fit: now, and ever."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from typing import Any, NamedTuple

from cw_cli.core.names import RUN, USER
from cw_cli.core.resources import GPU_LABELS, GPU_RESOURCE, quantity
from cw_cli.targets.kubernetes.connection import Connection
from cw_cli.targets.kubernetes.refusals import ApiError

Amounts = Mapping[str, Fraction]
"""By resource name: cores, bytes, pieces."""

_COUNTED = ("cpu", "memory", GPU_RESOURCE)
_ROOM_FOR_NOTHING = 100
"""Pods on a node that ask for nothing: about what a kubelet takes."""
_LIVE = "status.phase!=Succeeded,status.phase!=Failed"


class Node(NamedTuple):
    """A node and all that pods may take of it."""

    name: str
    gpu_type: str
    """As the node announces it; empty where it does not."""
    allocatable: Amounts
    ready: bool
    cordoned: bool
    taints: tuple[Mapping[str, str], ...]
    labels: Mapping[str, str]

    @property
    def gpus(self) -> int:
        return int(self.allocatable.get(GPU_RESOURCE, 0))

    @property
    def state(self) -> str:
        return ("Ready" if self.ready else "NotReady") + (",Cordoned" if self.cordoned else "")


class Holder(NamedTuple):
    """A live pod on a node; `run` and `user` are empty where the pod is not of a run of cw."""

    node: str
    namespace: str
    pod: str
    run: str
    user: str
    requests: Amounts

    @property
    def gpus(self) -> int:
        return int(self.requests.get(GPU_RESOURCE, 0))


class Capacity(NamedTuple):
    """Nodes and the pods on them. `complete` is False when pods of other namespaces could not be seen."""

    nodes: tuple[Node, ...]
    holders: tuple[Holder, ...]
    complete: bool

    def used(self) -> dict[str, dict[str, Fraction]]:
        """What the pods of each node take together, by resource; a lower bound unless `complete`."""
        result: dict[str, dict[str, Fraction]] = {node.name: {} for node in self.nodes}
        for holder in self.holders:
            if holder.node in result:
                _add(result[holder.node], holder.requests)
        return result


class Fit(NamedTuple):
    """How many pods of a kind have room now, and how many would have on the empty cluster."""

    wanted: int
    now: int
    ever: int
    why: str
    """What keeps them off the nodes, as in `2 nodes have too little nvidia.com/gpu`; empty when all fit."""


def read_capacity(connection: Connection) -> Capacity | None:
    """Nodes and live pods; None when nodes may not be seen."""
    try:
        nodes = tuple(_node(item) for item in connection.items("/api/v1/nodes"))
    except ApiError as error:
        if error.status != 403:
            raise
        return None
    try:
        pods, complete = list(connection.items("/api/v1/pods", fields=_LIVE)), True
    except ApiError as error:
        if error.status != 403:
            raise
        pods, complete = _own_pods(connection), False
    return Capacity(nodes, tuple(_holders(pods)), complete)


def own_holders(connection: Connection) -> tuple[Holder, ...]:
    """The live pods of this namespace, which may be seen where nodes may not."""
    return tuple(_holders(_own_pods(connection)))


def _own_pods(connection: Connection) -> list[dict[str, Any]]:
    try:
        return list(connection.list("Pod", fields=_LIVE))
    except ApiError as error:
        if error.status != 403:
            raise
        return []


def _node(item: Mapping[str, Any]) -> Node:
    labels, spec, status = item["metadata"].get("labels") or {}, item.get("spec") or {}, item.get("status") or {}
    ready = any(
        condition["type"] == "Ready" and condition["status"] == "True" for condition in status.get("conditions") or []
    )
    return Node(
        name=item["metadata"]["name"],
        gpu_type=next((labels[label] for label in GPU_LABELS if label in labels), ""),
        allocatable={name: quantity(text) for name, text in (status.get("allocatable") or {}).items()},
        ready=ready,
        cordoned=bool(spec.get("unschedulable")),
        taints=tuple(spec.get("taints") or ()),
        labels=labels,
    )


def _holders(pods: Iterable[Mapping[str, Any]]) -> Iterator[Holder]:
    for pod in pods:
        metadata, node = pod["metadata"], (pod.get("spec") or {}).get("nodeName")
        if node:
            labels = metadata.get("labels") or {}
            yield Holder(
                node=node,
                namespace=metadata["namespace"],
                pod=metadata["name"],
                run=labels.get(RUN, ""),
                user=labels.get(USER, ""),
                requests=pod_requests(pod["spec"]),
            )


def pod_requests(spec: Mapping[str, Any]) -> dict[str, Fraction]:
    """What a pod takes of its node: all containers together, or the largest init container if that takes more."""
    result: dict[str, Fraction] = {}
    for container in spec.get("containers") or []:
        _add(result, _container_requests(container))
    for container in spec.get("initContainers") or []:
        for name, amount in _container_requests(container).items():
            result[name] = max(result.get(name, Fraction(0)), amount)
    return result


def _add(sums: dict[str, Fraction], amounts: Amounts) -> None:
    for name, amount in amounts.items():
        sums[name] = sums.get(name, Fraction(0)) + amount


def _container_requests(container: Mapping[str, Any]) -> dict[str, Fraction]:
    """Requests; a limit counts where there is none."""
    resources = container.get("resources") or {}
    both = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    return {name: quantity(text) for name, text in both.items()}


def fit(capacity: Capacity, spec: Mapping[str, Any], wanted: int) -> Fit:
    """Whether `wanted` pods with this spec have room; an estimate by the scheduler's main rules."""
    requests = {name: amount for name, amount in pod_requests(spec).items() if name in _COUNTED and amount}
    used = capacity.used()
    now = ever = 0
    obstacles: Counter[str] = Counter()
    for node in capacity.nodes:
        obstacle = _obstacle(node, spec)
        if obstacle is None:
            ever += _room(node.allocatable, {}, requests)
            free = _room(node.allocatable, used[node.name], requests) if node.ready and not node.cordoned else 0
            now += free
            obstacle = None if free else _shortage(node, used[node.name], requests)
        if obstacle is not None:
            obstacles[obstacle] += 1
    why = ", ".join(f"{count} node{'s' if count > 1 else ''} {what}" for what, count in obstacles.most_common())
    return Fit(wanted, now, ever, why if now < wanted else "")


def _room(allocatable: Amounts, used: Amounts, requests: Amounts) -> int:
    """How many pods that request this much fit beside what is used."""
    rooms = [
        (allocatable.get(name, Fraction(0)) - used.get(name, Fraction(0))) // each for name, each in requests.items()
    ]
    return max(0, min(map(int, rooms), default=_ROOM_FOR_NOTHING))


def _shortage(node: Node, used: Amounts, requests: Amounts) -> str:
    if not node.ready:
        return "not ready"
    if node.cordoned:
        return "cordoned"
    for name, each in requests.items():
        if node.allocatable.get(name, Fraction(0)) < each:
            return f"with less {name} in all than a pod takes"
    short = [name for name, each in requests.items() if node.allocatable[name] - used.get(name, Fraction(0)) < each]
    return f"with too little {' and '.join(short)} free"


def _obstacle(node: Node, spec: Mapping[str, Any]) -> str | None:
    """What keeps the pod off this node for good."""
    for taint in node.taints:
        hard = taint.get("effect") in ("NoSchedule", "NoExecute") and taint["key"] != "node.kubernetes.io/unschedulable"
        if hard and not any(_tolerates(item, taint) for item in spec.get("tolerations") or []):
            return f"with the taint {taint['key']}, which the run does not tolerate"
    selector = spec.get("nodeSelector") or {}
    if any(node.labels.get(key) != value for key, value in selector.items()):
        return "without the labels of node_selector"
    affinity = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    )
    if affinity and not any(_term_matches(term, node) for term in affinity["nodeSelectorTerms"]):
        return f"of another GPU type ({node.gpu_type})" if node.gpu_type else "of another kind than the run asks for"
    return None


def _tolerates(toleration: Mapping[str, Any], taint: Mapping[str, str]) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if not toleration.get("key"):
        return bool(toleration.get("operator") == "Exists")
    if toleration["key"] != taint["key"]:
        return False
    return toleration.get("operator") == "Exists" or toleration.get("value", "") == taint.get("value", "")


def _term_matches(term: Mapping[str, Any], node: Node) -> bool:
    rules = [(rule, node.labels) for rule in term.get("matchExpressions") or []]
    rules += [(rule, {"metadata.name": node.name}) for rule in term.get("matchFields") or []]
    return bool(rules) and all(_rule_matches(rule, labels) for rule, labels in rules)


def _rule_matches(rule: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    value, given = labels.get(rule["key"]), rule.get("values") or []
    match rule["operator"]:
        case "In":
            return value in given
        case "NotIn":
            return value not in given
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt":
            return value is not None and int(value) > int(given[0])
        case "Lt":
            return value is not None and int(value) < int(given[0])
    return False
