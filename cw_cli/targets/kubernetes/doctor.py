"""Whether runs can start on a cluster: who asks, what they may do, and what a plan needs. It changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from cw_cli.core.exceptions import TargetError
from cw_cli.targets.kubernetes.connection import Connection
from cw_cli.targets.kubernetes.findings import Finding, ok, problem, skipped, warning
from cw_cli.targets.kubernetes.needs import examine_needs
from cw_cli.targets.kubernetes.refusals import ApiError
from cw_cli.targets.kubernetes.rights import Access, accesses

if TYPE_CHECKING:
    from cw_cli.core.plan import Plan

SKEW_SECONDS = 60.0
"""Logins and certificates begin to fail when clocks are further apart."""
OLDEST = (1, 28)
"""The first Kubernetes that tells who one is."""


def examine(connection: Connection, plan: Plan | None) -> Iterator[Finding]:
    """Everything about the cluster, the namespace and, with a plan, about this very run; the first things first.

    A cluster that cannot be reached, does not know the user or has no such namespace ends it.
    """
    try:
        yield _version(connection)
        yield from _identity(connection)
        yield from _namespace(connection, plan)
    except TargetError as error:
        yield problem("cluster", error.message, error.hint)
        return
    yield from _permissions(connection)
    if plan is not None:
        yield from examine_needs(connection, plan)


def _version(connection: Connection) -> Finding:
    said = connection.request("GET", "/version")
    numbers = tuple(int("".join(filter(str.isdigit, said.get(part, ""))) or 0) for part in ("major", "minor"))
    sentence = f"context {connection.context}: Kubernetes {said.get('gitVersion', 'of unknown version')}"
    if numbers < OLDEST:
        return warning("cluster", sentence, f"cw is made for {OLDEST[0]}.{OLDEST[1]} and newer; older ones may do.")
    return ok("cluster", f"{sentence} at {connection.access.server}")


def _identity(connection: Connection) -> Iterator[Finding]:
    """Who the server takes us for, and how its clock differs: the answer bears the server's time."""
    kind = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    try:
        answer = connection.request("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", body=kind)
    except ApiError as error:
        if error.status not in (403, 404):
            raise
        yield skipped("identity", "this cluster does not say who you are")
        return
    yield ok("identity", f"you are {answer['status']['userInfo'].get('username', 'nobody')}")
    stamp = answer["metadata"].get("creationTimestamp")
    if stamp:
        skew = abs((datetime.now(UTC) - datetime.fromisoformat(stamp)).total_seconds())
        if skew > SKEW_SECONDS:
            sentence = f"the clocks of this machine and of the cluster are {skew:.0f} seconds apart"
            yield warning("clock", sentence, "Set this machine's clock, or ages and logins go wrong.")
        else:
            yield ok("clock", "this machine and the cluster agree about the time")


def _namespace(connection: Connection, plan: Plan | None) -> Iterator[Finding]:
    """Whether the namespace exists, and what it demands of pods."""
    name = connection.namespace
    try:
        found = connection.request("GET", f"/api/v1/namespaces/{quote(name)}")
    except ApiError as error:
        if error.status != 403:
            raise
        yield skipped("namespace", f"you may not look at namespace {name} itself")
        return
    if (found.get("status") or {}).get("phase") == "Terminating":
        yield problem("namespace", f"namespace {name} is being deleted", "Write -n with another one.")
        return
    level = (found["metadata"].get("labels") or {}).get("pod-security.kubernetes.io/enforce")
    demand = f", which demands pods to be {level}" if level else ""
    broken = _unrestricted(plan) if plan is not None and level == "restricted" else []
    if broken:
        remedy = (
            "Leave these settings to cw, or see https://kubernetes.io/docs/concepts/security/pod-security-standards/"
        )
        yield problem("namespace", f"namespace {name} is restricted, and {'; '.join(broken)}", remedy)
    else:
        yield ok("namespace", f"{name}{demand}")


def _unrestricted(plan: Plan) -> list[str]:
    """What of the plan's pods the Pod Security level `restricted` refuses; its four usual reasons."""
    broken = []
    for item in plan.objects:
        if item["kind"] not in ("Job", "Deployment"):
            continue
        pod = item["spec"]["template"]["spec"]
        common = pod.get("securityContext") or {}
        for container in [*(pod.get("initContainers") or []), *pod["containers"]]:
            own = {**common, **(container.get("securityContext") or {})}
            seccomp = (own.get("seccompProfile") or {}).get("type")
            wrong = [
                (own.get("runAsNonRoot") is not True, "may run as root"),
                (own.get("allowPrivilegeEscalation") is not False, "may gain privileges"),
                ("ALL" not in ((own.get("capabilities") or {}).get("drop") or []), "keeps capabilities"),
                (seccomp not in ("RuntimeDefault", "Localhost"), "has no seccomp profile"),
            ]
            if said := [text for bad, text in wrong if bad]:
                broken.append(f"the container {container.get('name')} {', '.join(said)}")
    return broken


def _permissions(connection: Connection) -> Iterator[Finding]:
    """Each permission of `cw rbac`; one finding for all that is there, one for each purpose that is not."""
    asked = list(accesses())
    with ThreadPoolExecutor(8) as pool:
        allowed = list(pool.map(lambda access: _may(connection, access), asked))
    missing = [access for access, yes in zip(asked, allowed, strict=True) if not yes]
    if len(missing) < len(asked):
        yield ok("permissions", f"{len(asked) - len(missing)} of the {len(asked)} that cw rbac prints")
    remedy = f"cw rbac -n {connection.namespace} prints the Role for your administrator to apply."
    for right in dict.fromkeys(access.right for access in missing):
        verbs = [access.verb for access in missing if access.right == right]
        sentence = f"you may not {' or '.join(verbs)} {right.resource}: {right.purpose}"
        yield (warning if right.optional else problem)("permissions", sentence, remedy)


def _may(connection: Connection, access: Access) -> bool:
    resource, _, part = access.resource.partition("/")
    attributes: dict[str, Any] = {
        "namespace": connection.namespace,
        "verb": access.verb,
        "group": access.group,
        "resource": resource,
        **({"subresource": part} if part else {}),
        **({"name": connection.namespace} if resource == "namespaces" else {}),
    }
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    answer = connection.request("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body=body)
    return bool(answer["status"].get("allowed"))
