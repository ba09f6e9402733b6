"""Pods that the cluster does not let the Job create."""

from __future__ import annotations

import re

from cw_cli.core.verdict import Verdict
from cw_cli.targets.kubernetes.verdicts.evidence import Evidence, newest_event

_QUOTA = re.compile(r"exceeded quota: (\S+), requested: (\S+), used: (\S+), limited: (\S+)")
_UNSPECIFIED = re.compile(r"failed quota: (\S+): must specify (.+)")
_SECURITY = re.compile(r'violates PodSecurity "([^"]+)": (.+)', re.S)
_POLICY = re.compile(r"ValidatingAdmissionPolicy '([^']+)'.* denied request: (.+)", re.S)
_WEBHOOK = re.compile(r'admission webhook "([^"]+)" denied the request: ?(.*)', re.S)
_BROKEN_WEBHOOK = re.compile(r'failed calling webhook "([^"]+)"')
_ACCOUNT = re.compile(r'serviceaccount "([^"]+)" not found')
_PRIORITY = re.compile(r"no PriorityClass with name (\S+) was found")
_RANGE = re.compile(r"is forbidden: \[?((?:maximum|minimum) .+)")


def explain_refusal(seen: Evidence) -> Verdict | None:
    """A Job with fewer pods than it wants, because each was refused."""
    live = [pod for pod in seen.pods if (pod.get("status") or {}).get("phase") in ("Pending", "Running")]
    message = newest_event(seen, "FailedCreate")
    if message is None or len(live) >= int(seen.job["spec"].get("parallelism") or 1):
        return None
    return (
        _explain_quota(seen, message)
        or _explain_policy(message)
        or _explain_missing(message)
        or Verdict(f"The cluster refuses its pod: {_cause(message)}.", "Change the config accordingly and rerun it.")
    )


def _explain_quota(seen: Evidence, message: str) -> Verdict | None:
    if found := _QUOTA.search(message):
        name, asked, used, limit = (text.rstrip(",") for text in found.groups())
        sentence = f"The quota {name} does not allow its pod: asked {asked}, used {used}, limit {limit}."
        if _amounts(asked).keys() <= {key for key, value in _amounts(asked).items() if value <= _limit(limit, key)}:
            return Verdict(sentence, "It starts by itself when other runs have ended: cw list; or ask for less.")
        return Verdict(sentence, f"It can never fit: ask for less, or for a larger quota. cw cancel {seen.run}")
    if found := _UNSPECIFIED.search(message):
        name, what = found.groups()
        sentence = f"The quota {name} wants {what.rstrip('.')} to be set for each container."
        return Verdict(sentence, "Set it: --cpu, --memory, or `resources` in the config.")
    return None


def _amounts(text: str) -> dict[str, float]:
    """`requests.cpu=2,pods=1` as numbers, in base units."""
    from cw_cli.core.resources import quantity

    pairs = (pair.partition("=") for pair in text.split(","))
    return {name: float(quantity(value)) for name, _, value in pairs}


def _limit(text: str, name: str) -> float:
    return _amounts(text).get(name, float("inf"))


def _explain_policy(message: str) -> Verdict | None:
    if found := _SECURITY.search(message):
        level, what = found.groups()
        sentence = f"The namespace enforces Pod Security {level}, which its pod violates: {what.strip().rstrip('.')}."
        return Verdict(sentence, "Set what it names under `pod:` of the config (securityContext), and rerun it.")
    if found := _POLICY.search(message):
        name, what = found.groups()
        sentence = f"The cluster's admission policy {name} refuses its pod: {_cause(what)}."
        return Verdict(sentence, "Change the config to what the policy wants, or ask who administers the cluster.")
    if found := _WEBHOOK.search(message):
        name, what = found.groups()
        sentence = f"The cluster's admission webhook {name} refuses its pod: {_cause(what) or 'it says no reason'}."
        return Verdict(sentence, "Change the config to what it wants, or ask who administers the cluster.")
    if found := _BROKEN_WEBHOOK.search(message):
        sentence = f"The cluster's admission webhook {found[1]} does not answer, so no pod can be created."
        return Verdict(sentence, "Tell who administers the cluster; the Job tries again by itself.")
    return None


def _explain_missing(message: str) -> Verdict | None:
    if found := _ACCOUNT.search(message):
        sentence = f"There is no service account {found[1]}."
        return Verdict(sentence, "Name one that exists: `pod: {serviceAccountName: NAME}`.")
    if found := _PRIORITY.search(message):
        sentence = f"The cluster has no priority class {found[1]}."
        return Verdict(sentence, "Name one that it has (kubectl get priorityclasses), or leave `priority` out.")
    if found := _RANGE.search(message):
        what = found[1].rstrip("]").rstrip(".")
        return Verdict(f"The namespace's limits refuse its pod: {what}.", "Ask for that much with --cpu or --memory.")
    return None


def _cause(message: str) -> str:
    """The message without the words around it."""
    return re.sub(r"^Error creating: ", "", message).strip().rstrip(".")
