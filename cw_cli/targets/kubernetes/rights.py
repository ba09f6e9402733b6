"""What cw must be allowed to do in one namespace: one table, from which come `cw rbac`, `cw doctor` and the docs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

NAME = "cw"
"""Of the Role and its binding."""


class Right(NamedTuple):
    """Some verbs on one resource, and what they are for."""

    group: str
    """API group; the core one has no name."""
    resource: str
    verbs: tuple[str, ...]
    purpose: str
    optional: bool = False
    """Whether runs work without it, and only a view or a check is poorer."""


RIGHTS = (
    Right(
        "batch",
        "jobs",
        ("get", "list", "create", "patch", "delete"),
        "the trainer of each run: launch, list, cancel, delete",
    ),
    Right(
        "",
        "configmaps",
        ("get", "list", "create", "patch", "delete"),
        "the config, record, recipes and small files of each run",
    ),
    Right("apps", "deployments", ("get", "list", "create", "patch", "delete"), "the services of a run: a reward model"),
    Right(
        "",
        "secrets",
        ("create", "patch"),
        "a token of each run's own for its reward service, where a config asks for one",
        optional=True,
    ),
    Right(
        "networking.k8s.io",
        "networkpolicies",
        ("list", "create", "patch", "delete"),
        "that only cw's own pods reach the services",
        optional=True,
    ),
    Right("", "services", ("list", "create", "patch", "delete"), "the names under which a run's pods find each other"),
    Right(
        "", "pods", ("get", "list", "patch"), "state, progress and node of a run's pods; a time limit to cancel them"
    ),
    Right("", "pods/log", ("get",), "cw logs, and the progress in cw list"),
    Right("", "events", ("list",), "cw why, and the reasons in cw list", optional=True),
    # A WebSocket is opened with GET; Kubernetes 1.35 and newer want create as well.
    Right("", "pods/exec", ("get", "create"), "cw shell and cw cp", optional=True),
    Right("", "pods/portforward", ("get", "create"), "cw port-forward", optional=True),
    Right("", "persistentvolumeclaims", ("get",), "whether a claim is there, before a launch", optional=True),
    Right("", "resourcequotas", ("list",), "cw doctor: what is left of the quota", optional=True),
    Right("", "limitranges", ("list",), "cw doctor: limits of a container", optional=True),
    Right("", "namespaces", ("get",), "cw doctor: the Pod Security level of this namespace", optional=True),
    Right("kueue.x-k8s.io", "localqueues", ("get",), "cw doctor: whether a queue is there", optional=True),
)
"""In one namespace. Secrets are referred to by name, and none is read."""

CLUSTER_RIGHTS = (
    Right("", "nodes", ("list",), "cw nodes, cw gpu, and whether a run fits", optional=True),
    Right("", "pods", ("list",), "which GPUs of a node are free, and who has the others", optional=True),
    Right("scheduling.k8s.io", "priorityclasses", ("get",), "whether a priority is there", optional=True),
    Right("storage.k8s.io", "storageclasses", ("get",), "whether an unbound claim waits for its pod", optional=True),
)
"""In the whole cluster, read only. No verb needs them; some say more with them."""


class Access(NamedTuple):
    """One verb on one resource, as the API server is asked about it."""

    group: str
    resource: str
    verb: str
    right: Right

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}"


def accesses(rights: Sequence[Right] = RIGHTS) -> Iterator[Access]:
    """Every single permission of the table."""
    for right in rights:
        for verb in right.verbs:
            yield Access(right.group, right.resource, verb, right)


def role(namespace: str) -> dict[str, Any]:
    """The Role that holds everything cw does in the namespace."""
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": NAME, "namespace": namespace},
        "rules": _rules(RIGHTS),
    }


def cluster_role() -> dict[str, Any]:
    """The ClusterRole with what lets cw see nodes; it may be left out."""
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": f"{NAME}-view-nodes"},
        "rules": _rules(CLUSTER_RIGHTS),
    }


def binding(of: dict[str, Any], subjects: Sequence[dict[str, str]]) -> dict[str, Any]:
    """What gives the role `of` to these subjects."""
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": f"{of['kind']}Binding",
        "metadata": dict(of["metadata"]),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": of["kind"], "name": of["metadata"]["name"]},
        "subjects": list(subjects),
    }


def subject(kind: str, name: str) -> dict[str, str]:
    """A User or Group as a binding names it."""
    return {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name}


def service_account(name: str, namespace: str) -> dict[str, str]:
    """A ServiceAccount as a binding names it."""
    return {"kind": "ServiceAccount", "name": name, "namespace": namespace}


def _rules(rights: Sequence[Right]) -> list[dict[str, Any]]:
    return [{"apiGroups": [right.group], "resources": [right.resource], "verbs": list(right.verbs)} for right in rights]
