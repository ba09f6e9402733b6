"""The roles of a run, and the services among them: Deployments of the templates, which answer the trainer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from cw_cli.core.manifests import belongs_to, leads_to
from cw_cli.core.names import ROLE
from cw_cli.core.resources import Resources

Manifest = Mapping[str, Any]

TRAINER = "trainer"
GUARD = "guard"

HEALTH_LIMIT = 1800
"""Seconds that a trainer waits for a service to answer: large models take long to load."""


class Role(NamedTuple):
    """One set of identical processes of a run: the workload object that starts it, and what it takes."""

    name: str
    workload: str
    """Name of the Job or Deployment."""
    resources: Resources
    """Per node of the trainer, per replica of a service."""
    replicas: int = 1
    health: str | None = None
    """The URL that answers once a service can work; None for the trainer and for services that have none."""
    start_limit: int = HEALTH_LIMIT
    """Seconds that the trainer waits for that."""

    @property
    def total_gpus(self) -> int:
        return self.resources.total_gpus * self.replicas


class Service(NamedTuple):
    """A Deployment of the templates, the Services that lead to it, and where it says that it can work."""

    role: str
    deployment: dict[str, Any]
    addresses: tuple[dict[str, Any], ...]
    """Its Service objects."""
    health: str | None
    secrets: tuple[dict[str, Any], ...] = ()
    """Secrets of its own, which those that ask it are given too."""


def services_of(objects: Iterable[dict[str, Any]], run: str) -> list[Service]:
    """The services among the objects of `run`, in the templates' order.

    A role is named by the label `cw.dev/role` of its Deployment, else by what the Deployment's name adds to the run's.
    """
    objects = list(objects)
    found = []
    for item in objects:
        if item["kind"] != "Deployment":
            continue
        name = item["metadata"]["name"]
        role = (item["metadata"].get("labels") or {}).get(ROLE) or name.removeprefix(f"{run}-")
        addresses = tuple(other for other in objects if other["kind"] == "Service" and leads_to(other, item))
        secrets = tuple(other for other in objects if other["kind"] == "Secret" and belongs_to(other, item))
        found.append(Service(str(role), item, addresses, _health(item, addresses), secrets))
    return found


def _health(deployment: Manifest, addresses: Iterable[Manifest]) -> str | None:
    """The URL of the readiness probe, as other pods reach it: over HTTP, or the bare port where it asks for that."""
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    probe = container.get("readinessProbe") or {}
    check = probe.get("httpGet") or probe.get("tcpSocket")
    if not check:
        return None
    named = {port.get("name"): port["containerPort"] for port in container.get("ports") or []}
    port = named.get(check["port"], check["port"])
    for service in addresses:
        for entry in service["spec"].get("ports") or []:
            target = entry.get("targetPort", entry["port"])
            if named.get(target, target) == port:
                where = f"{service['metadata']['name']}:{entry['port']}"
                if "httpGet" not in probe:
                    return f"tcp://{where}"
                return f"{check.get('scheme', 'HTTP').lower()}://{where}{check.get('path', '/')}"
    return None


def of_services(services: Iterable[Service]) -> Iterator[dict[str, Any]]:
    """The objects that belong to these services."""
    for service in services:
        yield service.deployment
        yield from (*service.addresses, *service.secrets)
