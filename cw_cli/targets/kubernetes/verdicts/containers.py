"""Pods that have a node and whose containers do not start."""

from __future__ import annotations

import re
from collections.abc import Iterator

from cw_cli.core.verdict import Verdict
from cw_cli.targets.kubernetes.pods import Pod, waiting
from cw_cli.targets.kubernetes.verdicts.evidence import Evidence, newest_event

_PULLING = ("ErrImagePull", "ImagePullBackOff")
_SECRET = re.compile(r'secrets? "([^"]+)" not found')
_CONFIG_MAP = re.compile(r'configmaps? "([^"]+)" not found')
_KEY = re.compile(r"couldn't find key (\S+) in (Secret|ConfigMap) (?:\S+/)?(\S+)")
_MOUNTED_KEY = re.compile(r"references non-existent (config|secret) key: (\S+)")
_FORBIDDEN = re.compile(r"\b40[13]\b|unauthorized|forbidden|authorization failed|access denied|no basic auth", re.I)
_NOT_FOUND = re.compile(r"not found|manifest unknown|\b404\b|does not exist", re.I)
_UNREACHABLE = re.compile(r"dial tcp|no such host|i/o timeout|connection refused|TLS handshake|EOF", re.I)


def explain_waiting(seen: Evidence) -> Verdict | None:
    """The first container that waits for something that does not come by itself, or for an init container."""
    if seen.pod is None:
        return None
    for name, held, _ in waiting(seen.pod):
        reason, message = str(held.get("reason", "")), str(held.get("message", ""))
        if reason in _PULLING:
            return _explain_pull(seen, _image(seen.pod, name), message)
        if reason == "InvalidImageName":
            return Verdict(f"{_image(seen.pod, name)} is not the name of an image.", "Write --image NAME:TAG.")
        if reason == "ErrImageNeverPull":
            image = _image(seen.pod, name)
            return Verdict(f"The image {image} is not on the node, and pulling is switched off.", "Load or pull it.")
        if reason in ("CreateContainerConfigError", "CreateContainerError", "RunContainerError"):
            return _explain_missing(message) or _unstartable(name, message)
        if reason == "CrashLoopBackOff":
            sentence = f"The container {name} ends again and again, and Kubernetes waits before the next try."
            return Verdict(sentence, f"Read what it says: cw logs {seen.run} --tail 50")
    return _explain_mount(seen) or _explain_init(seen)


def _explain_pull(seen: Evidence, image: str, message: str) -> Verdict:
    # While Kubernetes waits before the next try, only the event still says what went wrong.
    told = [event.get("message") or "" for event in seen.events if event.get("reason") == "Failed"]
    cause = next((text for text in reversed([*told, message]) if "pull" in text and "failed" in text.lower()), message)
    if _FORBIDDEN.search(cause.replace(image, "")):
        return Verdict(
            f"The registry does not let the cluster pull the image {image}: {_short(cause)}.",
            "Check the name, and name a pull secret of this namespace: `pod: {imagePullSecrets: [{name: SECRET}]}`.",
        )
    if _UNREACHABLE.search(cause):
        return Verdict(
            f"The node cannot reach the registry of the image {image}: {_short(cause)}.",
            f"Name an image of a registry that it can reach: cw rerun {seen.run} --image NAME",
        )
    if _NOT_FOUND.search(cause):
        remedy = f"Check name and tag, then: cw rerun {seen.run} --image NAME:TAG"
        return Verdict(f"There is no image {image} in its registry.", remedy)
    return Verdict(
        f"The image {image} cannot be pulled: {_short(cause)}.",
        f"Name another one: cw rerun {seen.run} --image NAME:TAG",
    )


def _short(cause: str) -> str:
    """The last part of a chain of errors, which is where it began."""
    parts = re.split(r": (?=failed to|unexpected|dial|Head |Get |pull access|lookup)", cause)
    return parts[-1].strip().rstrip(".").replace('"', "")


def _explain_missing(message: str) -> Verdict | None:
    """An object or key that the pod names and the namespace lacks."""
    if found := _KEY.search(message):
        key, kind, name = found.groups()
        return Verdict(f"The {kind} {name} has no key {key}.", f"Name one that it has, or add it to the {kind}.")
    if found := _MOUNTED_KEY.search(message):
        kind = "ConfigMap" if found[1] == "config" else "Secret"
        sentence = f"A {kind} that it mounts has no key {found[2]}."
        return Verdict(sentence, f"Name one that it has, or add it to the {kind}.")
    if found := _SECRET.search(message):
        name = found[1]
        remedy = f"Create it (kubectl create secret generic {name} --from-literal=KEY=VALUE), or correct `secrets`."
        return Verdict(f"There is no Secret {name} in the namespace.", f"{remedy} It starts by itself then.")
    if found := _CONFIG_MAP.search(message):
        sentence = f"There is no ConfigMap {found[1]} in the namespace."
        return Verdict(sentence, "Create it; the run starts by itself then.")
    return None


def _unstartable(name: str, message: str) -> Verdict:
    if "runAsNonRoot" in message or "non-numeric user" in message:
        sentence = "The image runs as root, and the pod may not."
        remedy = "Use an image with a user of its own, or set `pod: {securityContext: {runAsUser: 1000}}`."
        return Verdict(sentence, remedy)
    return Verdict(f"The container {name} cannot be created: {message.rstrip('.')}.", "Correct it and rerun.")


def _explain_mount(seen: Evidence) -> Verdict | None:
    message = newest_event(seen, "FailedMount", "FailedAttachVolume")
    if message is None:
        return None
    return _explain_missing(message) or Verdict(
        f"A volume cannot be mounted: {message.rstrip('.')}.",
        "Kubernetes tries again by itself; if it stays, look at the claim: kubectl describe pvc",
    )


def _explain_init(seen: Evidence) -> Verdict | None:
    """The init container that the others wait for."""
    assert seen.pod is not None
    for item in (seen.pod.get("status") or {}).get("initContainerStatuses") or []:
        state = item.get("state") or {}
        if "running" in state:
            sentence = f"The init container {item['name']} is still running; the trainer starts after it."
            pod = seen.pod["metadata"]["name"]
            return Verdict(sentence, f"See what it waits for: kubectl logs {pod} -c {item['name']}")
        if (ended := state.get("terminated")) and ended.get("exitCode"):
            sentence = f"The init container {item['name']} failed with exit code {ended['exitCode']}."
            pod = seen.pod["metadata"]["name"]
            return Verdict(sentence, f"Read what it says: kubectl logs {pod} -c {item['name']}")
    return None


def _containers(pod: Pod) -> Iterator[Pod]:
    yield from pod["spec"].get("initContainers") or []
    yield from pod["spec"]["containers"]


def _image(pod: Pod, container: str) -> str:
    return next((str(item.get("image")) for item in _containers(pod) if item["name"] == container), "")
