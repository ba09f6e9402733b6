"""The one structured patch that every workload gets, whatever its template said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any

from cw_cli.core.exceptions import TemplateError
from cw_cli.core.launch_keys import LaunchKeys, SecretRef, Volume
from cw_cli.core.names import ROLE, dns_label
from cw_cli.core.resources import GPU_RESOURCE, Resources, gpu_affinity

WORKLOADS = ("Job", "Deployment")
DEFAULT_TTL = 7 * 24 * 3600
"""Seconds that a finished Job stays: long enough to read its logs after a weekend."""

USER_ID = 1000
HOME = "/cw/home"
WRITABLE = {"cw-home": HOME, "cw-tmp": "/tmp"}
"""Empty folders of the trainer's own: volume → path."""
HOME_ENVIRONMENT = {
    "HOME": HOME,
    # A user id that the image's passwd does not know has no name, and torch asks for one.
    "USER": "cw",
    "LOGNAME": "cw",
    "TMPDIR": "/tmp",
    # Images set these to folders of root's; what stands here wins.
    "XDG_CACHE_HOME": f"{HOME}/.cache",
    "HF_HOME": f"{HOME}/.cache/huggingface",
    "TORCHINDUCTOR_CACHE_DIR": f"{HOME}/.cache/torchinductor",
    "TRITON_CACHE_DIR": f"{HOME}/.cache/triton",
    "MPLCONFIGDIR": f"{HOME}/.cache/matplotlib",
}


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


def trainer_container(job: Mapping[str, Any]) -> dict[str, Any]:
    """The container in which the training runs: the first one."""
    container: dict[str, Any] = job["spec"]["template"]["spec"]["containers"][0]
    return container


def _pod(
    pod: dict[str, Any], job: Mapping[str, Any], keys: LaunchKeys, default_image: str, defaults: Resources
) -> dict[str, Any]:
    containers = pod.get("containers")
    if not isinstance(containers, list) or not containers or not isinstance(containers[0], dict):
        name = job["metadata"]["name"]
        raise TemplateError(f"the Job {name} has no container", "Give spec.template.spec.containers one entry.")
    pod = deepcopy(pod)
    main = pod["containers"][0]
    main["image"] = keys.image or main.get("image") or default_image
    if keys.pull:
        main["imagePullPolicy"] = "Always"
    main["resources"] = _resources(main.get("resources") or {}, keys.resources, defaults)
    main["env"] = _environment(main.get("env") or [], keys, str(job["metadata"]["labels"]["cw.dev/run"]))
    _mount(pod, main, keys.volumes)
    _unmount(pod, main, keys.dropped_volumes)
    _place(pod, keys, main["resources"])
    pod.setdefault("restartPolicy", "Never")
    pod.setdefault("automountServiceAccountToken", False)
    pod.setdefault("enableServiceLinks", False)
    return _confined(pod, keys.pod)


def confined(item: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the object; if it makes pods, they are as `restricted` Pod Security wants them, unless it says
    otherwise."""
    result = deepcopy(dict(item))
    template = (result.get("spec") or {}).get("template")
    if isinstance(template, dict) and isinstance(template.get("spec"), dict):
        template["spec"] = _confined(template["spec"], {})
    return result


def with_home(job: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the trainer's Job that can write where programs expect to, whoever it runs as, whatever its image, and
    with a root file system that is read-only."""
    result = deepcopy(dict(job))
    pod, main = result["spec"]["template"]["spec"], trainer_container(result)
    taken = {mount.get("mountPath") for mount in main.get("volumeMounts") or []}
    folders = {name: path for name, path in WRITABLE.items() if path not in taken}
    mounts = [{"name": name, "mountPath": path} for name, path in folders.items()]
    main["volumeMounts"] = [*(main.get("volumeMounts") or []), *mounts]
    pod["volumes"] = [*(pod.get("volumes") or []), *({"name": name, "emptyDir": {}} for name in folders)]
    said = {entry["name"] for entry in main["env"]}
    main["env"] += [{"name": name, "value": value} for name, value in HOME_ENVIRONMENT.items() if name not in said]
    return result


def _confined(pod: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """`patch` on top of the pod, and below both what `restricted` Pod Security asks for."""
    result, said = deepcopy(dict(pod)), merged(pod, patch)
    result["securityContext"] = _filled(result.get("securityContext"), _pod_security(said))
    for kind in ("initContainers", "containers"):
        if _identity(said.get(kind)) != "name":
            continue
        own = {container["name"]: container for container in result.get(kind) or []}
        for container in said[kind]:
            below = own.setdefault(container["name"], {"name": container["name"]})
            below["securityContext"] = _filled(below.get("securityContext"), _container_security(container))
        result[kind] = list(own.values())
    return merged(result, patch)


def _pod_security(pod: Mapping[str, Any]) -> dict[str, Any]:
    said = pod.get("securityContext") or {}
    return {
        **({} if said.get("runAsUser") == 0 else {"runAsNonRoot": True}),
        "runAsUser": USER_ID,
        "runAsGroup": USER_ID,
        # Volumes become the group's; only when they are not yet, because a large one takes minutes.
        "fsGroup": USER_ID,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _container_security(container: Mapping[str, Any]) -> dict[str, Any]:
    said = container.get("securityContext") or {}
    defaults: dict[str, Any] = {"capabilities": {"drop": ["ALL"]}}
    if not said.get("privileged") and "SYS_ADMIN" not in ((said.get("capabilities") or {}).get("add") or []):
        defaults["allowPrivilegeEscalation"] = False  # Kubernetes refuses it beside those two
    if said.get("runAsUser") == 0:
        defaults["runAsNonRoot"] = False  # what the pod says must not stop it
    return defaults


def _filled(own: Mapping[str, Any] | None, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """`own` with the defaults that it says nothing about."""
    result = dict(own or {})
    for key, value in defaults.items():
        if isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = _filled(result[key], value)
        else:
            result.setdefault(key, deepcopy(value))
    return result


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


def merged(base: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """`patch` on top of `base`: mappings are joined, lists of items that Kubernetes tells apart by a key are joined by
    that key, other lists and values are replaced, and null takes a key away."""
    result = deepcopy(dict(base))
    for key, value in patch.items():
        mine = result.get(key)
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping):
            result[key] = merged(mine if isinstance(mine, Mapping) else {}, value)
        elif isinstance(mine, list) and (identity := _identity(value)) and _identity(mine) == identity:
            result[key] = _merged_by(identity, mine, value)
        elif isinstance(value, list):
            result[key] = [merged({}, item) if isinstance(item, Mapping) else deepcopy(item) for item in value]
        else:
            result[key] = value
    return result


def _identity(value: Any) -> str | None:
    """The key that tells the items of a list apart, as in Kubernetes' own strategic merge patch."""
    if not isinstance(value, list):
        return None
    for key in ("mountPath", "name"):
        if value and all(isinstance(item, Mapping) and key in item for item in value):
            return key
    return None


def _merged_by(identity: str, base: list[Any], patch: list[Any]) -> list[dict[str, Any]]:
    result = {item[identity]: dict(item) for item in base}
    for item in patch:
        result[item[identity]] = merged(result.get(item[identity], {}), item)
    return list(result.values())


def with_role(labels: Mapping[str, str], role: str) -> dict[str, str]:
    """The run's labels and the role's."""
    return {**labels, ROLE: role}
