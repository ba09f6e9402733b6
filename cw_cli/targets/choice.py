"""Which target a command means."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from cw_cli.core.exceptions import UsageError
from cw_cli.targets.base import Target

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")


def has_cluster() -> bool:
    """Whether anything says how to reach a cluster: `$KUBECONFIG`, `~/.kube/config`, or a pod's service account."""
    if variable := os.environ.get("KUBECONFIG"):
        return any(Path(part).is_file() for part in variable.split(os.pathsep) if part)
    return (Path.home() / ".kube" / "config").is_file() or SERVICE_ACCOUNT.is_file()


def choose(asked: str | None, settings: str | None) -> tuple[str, str | None]:
    """The kind of target, and a sentence when the choice was cw's own: asked for, else set, else what there is."""
    if asked or settings:
        return asked or settings or "", None
    if has_cluster():
        return "kubernetes", None
    return "local", "no kubeconfig was found, so the run starts on this machine"


class Where(NamedTuple):
    """The cluster and namespace that a command names; None is the kubeconfig's own choice."""

    context: str | None = None
    namespace: str | None = None


def open_target(kind: str, where: Where = Where()) -> Target:  # noqa: B008 - an immutable value
    """The target of this kind; nothing is asked of it yet."""
    if kind == "local":
        from cw_cli.targets.local.target import LocalTarget

        return LocalTarget()
    if kind == "kubernetes":
        from cw_cli.targets.kubernetes.target import KubernetesTarget

        return KubernetesTarget.open(where.context, where.namespace)
    raise UsageError(f"there is no target called {kind}", "Targets are kubernetes and local.")


def places(where: Where, defaults: Callable[[], Where]) -> Iterator[Target]:
    """Every target that can hold runs. A named cluster is the only one; else this machine comes first.

    `defaults` are asked for what `where` leaves open, once a cluster is needed.
    """
    if where == Where():
        yield open_target("local")
    if where != Where() or has_cluster():
        default = defaults()
        yield open_target("kubernetes", Where(where.context or default.context, where.namespace or default.namespace))
