"""The one structured patch that every workload gets, whatever its template said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any

from cw_cli.core.confinement import confined_pod
from cw_cli.core.exceptions import TemplateError
from cw_cli.core.launch_keys import LaunchKeys, SecretRef, ServiceKeys, Volume
from cw_cli.core.merge import merged
from cw_cli.core.names import ROLE, RUN, dns_label
from cw_cli.core.resources import GPU_RESOURCE, Resources, gpu_affinity

DEFAULT_TTL = 7 * 24 * 3600
"""Seconds that a finished Job stays: long enough to read its logs after a weekend."""


def labelled(item: Mapping[str, Any], labels: Mapping[str, str], annotations: Mapping[str, str]) -> dict[str, Any]:
    """A copy of the object with these labels and annotations, and no namespace of the template's."""
    result = deepcopy(dict(item))
    metadata = result["metadata"]
    metadata.pop("namespace", None)
    metadata["labels"] = {**(metadata.get("labels") or {}), **labels}
    if annotations:
        metadata["annotations"] = {**(metadata.get("annotations") or {}), **annotations}
    return result


def patched_trainer(
    job: Mapping[str, Any], labels: Mapping[str, str], keys: LaunchKeys, default_image: str, defaults: Resources
) -> dict[str, Any]:
    """The trainer's Job with everything that the launch keys say.

    `labels` are the run's, the role among them. `defaults` fill in what neither the keys nor the template say.
    Raises `TemplateError` when the Job has no container.
    """
    result = labelled(job, labels, keys.annotations)
    spec = result.get("spec") or {}
    template = spec.pop("template", None) or {}
    # When one node's pod fails, the others fail with it, and each of them counts.
    together = int(spec.get("completions") or 1) if spec.get("completionMode") == "Indexed" else 1
    spec["backoffLimit"] = keys.retries * together
    # The next attempt continues from a checkpoint that the one before may still be writing.
    spec.setdefault("podReplacementPolicy", "Failed")
    spec["ttlSecondsAfterFinished"] = keys.ttl or DEFAULT_TTL
    if keys.timeout:
        spec["activeDeadlineSeconds"] = keys.timeout
    if keys.queue:
        spec["suspend"] = True
        result["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] = keys.queue
    head = labelled({"metadata": template.get("metadata") or {}}, labels, keys.annotations)
    pod = _pod(template.get("spec") or {}, result, keys, default_image, defaults)
    result["spec"] = {**spec, "template": {**head, "spec": pod}}
    return result


def patched_service(
    deployment: Mapping[str, Any],
    labels: Mapping[str, str],
    keys: LaunchKeys,
    own: ServiceKeys,
    default_image: str,
    defaults: Resources,
) -> dict[str, Any]:
    """A service's Deployment with everything that the launch keys say: its own, and of the trainer's those that say
    where pods may run and what they see.

    Raises `TemplateError` when the Deployment has no container.
    """
    result = labelled(deployment, labels, keys.annotations)
    spec = result.get("spec") or {}
    template = spec.pop("template", None) or {}
    spec["replicas"] = own.replicas or spec.get("replicas") or 1
    # GPUs for a second copy beside the first are rarely free.
    spec.setdefault("strategy", {"type": "Recreate"})
    chosen = (spec.get("selector") or {}).get("matchLabels") or {}
    spec["selector"] = {"matchLabels": {**chosen, RUN: labels[RUN], ROLE: labels[ROLE]}}
    keys = keys._replace(resources=own.resources, image=own.image, env={**keys.env, **own.env}, pod=own.pod)
    head = labelled({"metadata": template.get("metadata") or {}}, labels, keys.annotations)
    if keys.queue:
        head["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] = keys.queue
    pod = _pod(template.get("spec") or {}, result, keys, default_image, defaults)
    result["spec"] = {**spec, "template": {**head, "spec": pod}}
    return result


def own_selector(service: Mapping[str, Any], labels: Mapping[str, str]) -> dict[str, Any]:
    """A copy of the Service that selects this run's pods of this role, whatever labels others have in common."""
    result = deepcopy(dict(service))
    result["spec"]["selector"] = {**result["spec"]["selector"], RUN: labels[RUN], ROLE: labels[ROLE]}
    return result


def behind_gate(job: Mapping[str, Any], gate: Mapping[str, Any], exit_code: int) -> dict[str, Any]:
    """A copy of the Job whose pods begin with this init container; that it fails with `exit_code` ends the run."""
    result = deepcopy(dict(job))
    pod = result["spec"]["template"]["spec"]
    pod["initContainers"] = [dict(gate), *(pod.get("initContainers") or [])]
    if pod.get("restartPolicy") == "Never":  # the only one for which Kubernetes takes a policy
        policy = result["spec"].setdefault("podFailurePolicy", {})
        refused = {"containerName": gate["name"], "operator": "In", "values": [exit_code]}
        policy["rules"] = [{"action": "FailJob", "onExitCodes": refused}, *(policy.get("rules") or [])]
    return result


def _pod(
    pod: dict[str, Any], job: Mapping[str, Any], keys: LaunchKeys, default_image: str, defaults: Resources
) -> dict[str, Any]:
    containers = pod.get("containers")
    if not isinstance(containers, list) or not containers or not isinstance(containers[0], dict):
        name = job["metadata"]["name"]
        raise TemplateError(
            f"the {job['kind']} {name} has no container", "Give spec.template.spec.containers one entry."
        )
    pod = deepcopy(pod)
    main = pod["containers"][0]
    main["image"] = keys.image or main.get("image") or default_image
    if keys.pull:
        main["imagePullPolicy"] = "Always"
    main["resources"] = _resources(main.get("resources") or {}, keys.resources, defaults)
    main["env"] = _environment(main.get("env") or [], keys, str(job["metadata"]["labels"][RUN]))
    _mount(pod, main, keys.volumes)
    _unmount(pod, main, keys.dropped_volumes)
    _place(pod, keys, main["resources"])
    if job["kind"] == "Job":
        pod.setdefault("restartPolicy", "Never")
    pod.setdefault("automountServiceAccountToken", False)
    pod.setdefault("enableServiceLinks", False)
    return confined_pod(pod, keys.pod)


def _resources(template: Mapping[str, Any], asked: Resources, defaults: Resources) -> dict[str, Any]:
    """Limits and requests: what was asked for, over what the template says, over the framework's defaults."""
    mine, fallback = asked.as_kubernetes(), defaults.as_kubernetes()
    result = {}
    for kind in ("limits", "requests"):
        values = {**fallback[kind], **(template.get(kind) or {}), **mine[kind]}
        result[kind] = {name: str(value) for name, value in values.items() if name != GPU_RESOURCE or str(value) != "0"}
    return result


def _environment(template: list[dict[str, Any]], keys: LaunchKeys, run: str) -> list[dict[str, Any]]:
    entries = {entry["name"]: entry for entry in template if "name" in entry}
    entries["CW_RUN"] = {"name": "CW_RUN", "value": run}
    # Python keeps back what it prints to a pipe; a log is read while it grows.
    entries.setdefault("PYTHONUNBUFFERED", {"name": "PYTHONUNBUFFERED", "value": "1"})
    for reference in keys.secrets:
        entries[reference.variable] = _secret_entry(reference)
    for name, value in keys.env.items():
        entries[name] = {"name": name, "value": value}
    return list(entries.values())


def _secret_entry(reference: SecretRef) -> dict[str, Any]:
    source: dict[str, Any] = {"name": reference.secret, "key": reference.key}
    if reference.optional:
        source["optional"] = True
    return {"name": reference.variable, "valueFrom": {"secretKeyRef": source}}


def _mount(pod: dict[str, Any], main: dict[str, Any], volumes: Iterable[Volume]) -> None:
    """Add the volumes; one at a path that the template uses already takes its place."""
    for volume in volumes:
        mounts = [mount for mount in main.get("volumeMounts") or [] if mount.get("mountPath") != volume.path]
        main["volumeMounts"] = [*mounts, _mount_entry(volume)]
        others = [other for other in pod.get("volumes") or [] if other.get("name") != dns_label(volume.name)]
        pod["volumes"] = [*others, _volume_entry(volume)]


def _unmount(pod: dict[str, Any], main: dict[str, Any], names: Iterable[str]) -> None:
    """Take the volumes of these names out, and those that no container mounts."""
    gone = set(names)
    main["volumeMounts"] = [mount for mount in main.get("volumeMounts") or [] if mount.get("name") not in gone]
    containers = [*pod["containers"], *(pod.get("initContainers") or [])]
    used = {mount.get("name") for container in containers for mount in container.get("volumeMounts") or []}
    pod["volumes"] = [volume for volume in pod.get("volumes") or [] if volume.get("name") in used]


def _mount_entry(volume: Volume) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": dns_label(volume.name), "mountPath": volume.path}
    if volume.read_only:
        entry["readOnly"] = True
    if volume.sub_path:
        entry["subPath"] = volume.sub_path
    return entry


def _volume_entry(volume: Volume) -> dict[str, Any]:
    if volume.empty_dir is not None:
        return {"name": dns_label(volume.name), "emptyDir": {"sizeLimit": volume.empty_dir}}
    return {"name": dns_label(volume.name), "persistentVolumeClaim": {"claimName": volume.name}}


def _place(pod: dict[str, Any], keys: LaunchKeys, resources: Mapping[str, Any]) -> None:
    """Where the pod may run."""
    if keys.node_selector:
        pod["nodeSelector"] = {**(pod.get("nodeSelector") or {}), **keys.node_selector}
    tolerations = [*(pod.get("tolerations") or []), *keys.tolerations]
    if GPU_RESOURCE in resources["limits"]:
        # Clusters mark GPU nodes with this taint to keep other pods away.
        tolerations.append({"key": GPU_RESOURCE, "operator": "Exists", "effect": "NoSchedule"})
    if tolerations:
        pod["tolerations"] = tolerations
    if keys.resources.gpu_type:
        pod["affinity"] = merged(pod.get("affinity") or {}, gpu_affinity(keys.resources.gpu_type))
    if keys.priority:
        pod["priorityClassName"] = keys.priority


def with_role(labels: Mapping[str, str], role: str) -> dict[str, str]:
    """The run's labels and the role's."""
    return {**labels, ROLE: role}
