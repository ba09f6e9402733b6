"""Volume claims that keep a pod from its node."""

from __future__ import annotations

import re

from cw_cli.core.verdict import Verdict
from cw_cli.targets.kubernetes.verdicts.evidence import Evidence

_MISSING = re.compile(r'persistentvolumeclaim "([^"]+)" not found')


def explain_claims(seen: Evidence, message: str) -> Verdict | None:
    """A claim that does not exist, or that has no volume behind it. `message` is the scheduler's."""
    found = _MISSING.search(message)
    missing = [found[1]] if found else [name for name, claim in seen.claims.items() if claim is None]
    if missing:
        sentence = f"There is no volume claim {missing[0]} in the namespace."
        return Verdict(sentence, "Create it, and the run starts by itself; or name one that exists under `volumes`.")
    if "unbound immediate PersistentVolumeClaims" not in message and "volume" not in message:
        return None
    for name, claim in seen.claims.items():
        phase = ((claim or {}).get("status") or {}).get("phase")
        if claim is not None and phase == "Lost":
            return Verdict(f"The volume behind the claim {name} is gone.", "Use another claim; its data is lost.")
        if claim is not None and phase == "Pending":
            kind = claim["spec"].get("storageClassName")
            size = ((claim["spec"].get("resources") or {}).get("requests") or {}).get("storage", "?")
            of = f"of storage class {kind}" if kind else "without a storage class"
            sentence = f"The volume claim {name} ({size}, {of}) has no volume yet."
            return Verdict(sentence, f"See what it waits for: kubectl describe pvc {name}")
    return None
