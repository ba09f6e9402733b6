"""What a namespace lets a run take: its quotas, and its limit ranges for single containers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from cw_cli.core.resources import quantity
from cw_cli.targets.kubernetes.capacity import pod_requests
from cw_cli.targets.kubernetes.connection import Connection
from cw_cli.targets.kubernetes.findings import Finding, ok, problem, skipped, warning
from cw_cli.targets.kubernetes.refusals import ApiError

if TYPE_CHECKING:
    from cw_cli.targets.kubernetes.needs import Workload


def quotas(connection: Connection, workloads: Sequence[Workload]) -> Iterator[Finding]:
    try:
        found = list(connection.list("ResourceQuota"))
    except ApiError as error:
        if error.status != 403:
            raise
        yield skipped("quota", "you may not look at the namespace's quota")
        return
    asked = _asked(workloads)
    findings = [item for quota in found for item in _quota(quota, asked)]
    yield from findings or [ok("quota", "the run fits what is left of it" if found else "the namespace has none")]


def _asked(workloads: Sequence[Workload]) -> dict[str, Fraction]:
    """What the plan takes of a quota, under the names that quotas use."""
    asked: dict[str, Fraction] = {"count/jobs.batch": Fraction(1), "pods": Fraction(0)}
    for workload in workloads:
        asked["pods"] += workload.pods
        for name, amount in pod_requests(workload.spec).items():
            for key in (f"requests.{name}", *([name] if name in ("cpu", "memory") else [])):
                asked[key] = asked.get(key, Fraction(0)) + amount * workload.pods
        for container in workload.spec["containers"]:
            for name, text in ((container.get("resources") or {}).get("limits") or {}).items():
                key = f"limits.{name}"
                asked[key] = asked.get(key, Fraction(0)) + quantity(text) * workload.pods
    return asked


def _quota(quota: Mapping[str, Any], asked: Mapping[str, Fraction]) -> Iterator[Finding]:
    if quota["spec"].get("scopes") or quota["spec"].get("scopeSelector"):
        return  # counts some pods only: the dry run and the pods themselves will tell
    name, status = quota["metadata"]["name"], quota.get("status") or {}
    for resource, hard in (status.get("hard") or quota["spec"].get("hard") or {}).items():
        used, wanted = (status.get("used") or {}).get(resource, "0"), asked.get(resource, Fraction(0))
        must = resource.removeprefix("requests.").removeprefix("limits.") in ("cpu", "memory")
        if must and not wanted:
            remedy = "Say --cpu and --memory, so that both are set."
            yield problem("quota", f"the quota {name} wants every pod to say its {resource}", remedy)
        elif wanted > quantity(hard):
            remedy = "Ask for less, or have the quota raised."
            yield problem("quota", f"the run takes {_plain(wanted)} {resource}, the quota {name} allows {hard}", remedy)
        elif wanted > quantity(hard) - quantity(used):
            sentence = f"the run takes {_plain(wanted)} {resource}; of the {hard} in the quota {name}, {used} are used"
            yield warning("quota", sentence, "It waits until other runs end. cw list shows them.")


def _plain(amount: Fraction) -> str:
    return f"{float(amount):g}" if amount < 10**6 else f"{float(amount / 2**30):.4g}Gi"


def limits(connection: Connection, workloads: Sequence[Workload]) -> Iterator[Finding]:
    """Ceilings for one container, and floors."""
    try:
        ranges = list(connection.list("LimitRange"))
    except ApiError as error:
        if error.status != 403:
            raise
        yield skipped("limits", "you may not look at the namespace's limit ranges")
        return
    rules = [rule for item in ranges for rule in item["spec"].get("limits") or [] if rule.get("type") == "Container"]
    findings = [
        finding
        for workload in workloads
        for container in workload.spec["containers"]
        for rule in rules
        for finding in _limit(container, rule)
    ]
    yield from findings or [ok("limits", "the run keeps to them" if rules else "the namespace has none for containers")]


def _limit(container: Mapping[str, Any], rule: Mapping[str, Any]) -> Iterator[Finding]:
    resources = container.get("resources") or {}
    for word, kind, wrong in (("max", "limits", "at most"), ("min", "requests", "at least")):
        for name, bound in (rule.get(word) or {}).items():
            given = (resources.get(kind) or {}).get(name)
            over = given is not None and (
                quantity(given) > quantity(bound) if word == "max" else quantity(given) < quantity(bound)
            )
            if over:
                sentence = (
                    f"the container {container['name']} takes {given} {name}, the namespace allows {wrong} {bound}"
                )
                yield problem("limits", sentence, "Ask for what it allows, or have the limit range changed.")
