"""Which target a command means."""

from __future__ import annotations

import os
from pathlib import Path

from cw_cli.core.exceptions import TargetError, UsageError
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


def open_target(kind: str) -> Target:
    """The target of this kind."""
    if kind == "local":
        from cw_cli.targets.local.target import LocalTarget

        return LocalTarget()
    if kind == "kubernetes":
        raise TargetError(
            "this version of cw prints what a cluster needs and does not talk to one yet",
            "Add --dry-run and pipe it to `kubectl apply -f -`, or add --local to run here.",
        )
    raise UsageError(f"there is no target called {kind}", "Targets are kubernetes and local.")
