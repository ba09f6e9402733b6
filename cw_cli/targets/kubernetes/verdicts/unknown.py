"""What cw has no verdict for: it says so and shows the cluster's last words."""

from __future__ import annotations

from cw_cli.core.verdict import Verdict
from cw_cli.targets.kubernetes.pods import waiting_reason
from cw_cli.targets.kubernetes.verdicts.evidence import Evidence

SHOWN_EVENTS = 3


def explain_unknown(seen: Evidence) -> Verdict:
    """A pending run for which no known cause was found."""
    words = last_words(seen)
    if seen.pod is None and not seen.events:
        return Verdict("Its Job was created a moment ago and has no pod yet.", f"Ask again: cw why {seen.run}")
    if seen.reason == "Retrying":
        sentence = "The attempt before failed; Kubernetes waits a while before the next one."
        return Verdict(sentence, f"Read why it failed: cw logs {seen.run} --tail 50")
    if not any(event.get("type") == "Warning" for event in seen.events):
        doing = waiting_reason(seen.pod) if seen.pod else ""
        what = f" ({doing})" if doing else ""
        return Verdict(f"It is being started{what}; nothing is wrong so far.", f"Wait for it: cw wait {seen.run}")
    return Verdict(f"It has not started, and cw does not know why. The last events: {words}", "Ask with these events.")


def last_words(seen: Evidence) -> str:
    """The newest events, the last one last."""
    newest = [event for event in seen.events if event.get("type") == "Warning"] or list(seen.events)
    said = dict.fromkeys(f"{event.get('reason')}: {event.get('message')}" for event in newest)
    return " | ".join(list(said)[-SHOWN_EVENTS:])
