"""What makes a pod fit `restricted` Pod Security, and lets programs write where they expect to all the same."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from cw_cli.core.merge import identity, merged
from cw_cli.core.pods import main_container

USER_ID = 1000
HOME = "/cw/home"
WRITABLE = {"cw-home": HOME, "cw-tmp": "/tmp"}
"""Empty folders of the pod's own: volume → path."""
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


def confined(item: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the object; if it makes pods, they are as `restricted` Pod Security wants them, unless it says
    otherwise."""
    result = deepcopy(dict(item))
    template = (result.get("spec") or {}).get("template")
    if isinstance(template, dict) and isinstance(template.get("spec"), dict):
        template["spec"] = confined_pod(template["spec"], {})
    return result


def with_home(workload: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the workload whose main container can write where programs expect to, whoever it runs as, whatever its
    image, and with a root file system that is read-only."""
    result = deepcopy(dict(workload))
    pod, main = result["spec"]["template"]["spec"], main_container(result)
    taken = {mount.get("mountPath") for mount in main.get("volumeMounts") or []}
    folders = {name: path for name, path in WRITABLE.items() if path not in taken}
    mounts = [{"name": name, "mountPath": path} for name, path in folders.items()]
    main["volumeMounts"] = [*(main.get("volumeMounts") or []), *mounts]
    pod["volumes"] = [*(pod.get("volumes") or []), *({"name": name, "emptyDir": {}} for name in folders)]
    said = {entry["name"] for entry in main["env"]}
    main["env"] += [{"name": name, "value": value} for name, value in HOME_ENVIRONMENT.items() if name not in said]
    return result


def confined_pod(pod: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """`patch` on top of the pod, and below both what `restricted` Pod Security asks for."""
    result, said = deepcopy(dict(pod)), merged(pod, patch)
    result["securityContext"] = _filled(result.get("securityContext"), _pod_security(said))
    for kind in ("initContainers", "containers"):
        if identity(said.get(kind)) != "name":
            continue
        own = {container["name"]: container for container in result.get(kind) or []}
        for container in said[kind]:
            below = own.setdefault(container["name"], {"name": container["name"]})
            below["securityContext"] = _filled(
                below.get("securityContext"), _container_security(container.get("securityContext") or {})
            )
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


def container_security(said: Mapping[str, Any]) -> dict[str, Any]:
    """The security context of a container that says this much itself."""
    return _filled(said, _container_security(said))


def _container_security(said: Mapping[str, Any]) -> dict[str, Any]:
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
