"""The services of a run: the Deployments of its templates with everything patched in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cw_cli.core import manifests, patch
from cw_cli.core.checks import CheckedConfig
from cw_cli.core.exceptions import ConfigError
from cw_cli.core.launch_keys import LaunchKeys, ServiceKeys
from cw_cli.core.pods import main_container
from cw_cli.core.resources import resources_in
from cw_cli.core.roles import HEALTH_LIMIT, Role, Service
from cw_cli.core.spelling import meant


def check_services(checked: CheckedConfig, services: Sequence[Service]) -> None:
    """Raise `ConfigError` for each entry of `services:` that is no role of this kind of run."""
    known = [service.role for service in services]
    problems = []
    for role in checked.keys.services:
        if role not in known:
            kind = f"{checked.framework.name} {checked.training_type}"
            remedy = meant(role, known, f"it has {', '.join(known) or 'none'}")
            problems.append(checked.config.problem(("services", role), f"{kind} has no service {role}", remedy))
    if problems:
        raise ConfigError(f"{checked.given.source} speaks of services that do not exist; nothing was started", problems)


def make_service(
    service: Service, checked: CheckedConfig, labels: Mapping[str, str], trainer_image: str, gpu: int
) -> tuple[Role, list[dict[str, Any]]]:
    """The role of a service, and its objects: its Secrets, the Services that lead to it, and the Deployment last.

    `labels` are the run's and the user's; `gpu` is what the trainer takes.
    """
    keys, own = checked.keys, _own_keys(checked.keys, service.role)
    labels = patch.with_role(labels, service.role)
    defaults = checked.framework.service_resources(service.role, checked.config, gpu)
    deployment = patch.patched_service(service.deployment, labels, keys, own, trainer_image, defaults)
    role = Role(
        name=service.role,
        workload=deployment["metadata"]["name"],
        resources=resources_in(main_container(deployment), own.resources),
        replicas=deployment["spec"]["replicas"],
        health=service.health,
        start_limit=own.start_limit or HEALTH_LIMIT,
    )
    addresses = [
        patch.labelled(patch.own_selector(item, labels), labels, keys.annotations) for item in service.addresses
    ]
    secrets = [patch.labelled(item, labels, keys.annotations) for item in service.secrets]
    return role, [*secrets, *manifests.in_apply_order(addresses), deployment]


def _own_keys(keys: LaunchKeys, role: str) -> ServiceKeys:
    return keys.services.get(role) or ServiceKeys()
