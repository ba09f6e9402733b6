"""The cluster that a command means, for the verbs that only a cluster can answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cw_cli.core.exceptions import TargetError, UsageError

if TYPE_CHECKING:
    from cw_cli.targets.kubernetes.target import KubernetesTarget


def open_cluster(context: str | None, namespace: str | None) -> KubernetesTarget:
    """The cluster and namespace of the flags, else of the settings, else of the kubeconfig; nothing is sent yet."""
    from cw_cli.api import targets
    from cw_cli.targets.choice import Where
    from cw_cli.targets.kubernetes.target import KubernetesTarget

    for target in targets(Where(context, namespace)):
        if isinstance(target, KubernetesTarget):
            return target
    raise TargetError("there is no cluster: no kubeconfig was found", "Set KUBECONFIG, or put one at ~/.kube/config.")


def find_cluster_run(
    run: str, context: str | None, namespace: str | None, refusal: str
) -> tuple[KubernetesTarget, str]:
    """A run on a cluster; one of this machine is refused with `refusal` as the remedy."""
    from cw_cli.api import find_run
    from cw_cli.targets.choice import Where
    from cw_cli.targets.kubernetes.target import KubernetesTarget

    target, name = find_run(run, Where(context, namespace))
    if not isinstance(target, KubernetesTarget):
        raise UsageError(f"{name} runs on this machine, not on a cluster", refusal)
    return target, name
