"""When a service is at the bottom of a run's state: the verdict that names it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cw_cli.core.verdict import Facts, Verdict, explain, find_exception, last_error_line
from cw_cli.targets.local.folder import process_name
from cw_cli.targets.local.logs import observe_log
from cw_cli.targets.local.store import StoredRun


def explain_services(run: StoredRun, status: Mapping[str, Any], trainer: Facts) -> Verdict | None:
    """The verdict on a run whose services explain its state; None when they do not. `trainer` is what is known of
    the rest."""
    blame, detail = status.get("blame"), status.get("detail") or ""
    match status.get("state"):
        case "Pending" if status.get("reason"):
            because = f": {detail}" if detail else ""
            role = _slow_role(run, status)
            alone, waited = f"The {role} service does not answer yet", f"The trainer waits for the {role} service"
            return Verdict(f"{alone if _is_services(run) else waited}{because}.", _log_hint(run, role))
        case "Running":
            return _explain_running(run, status, trainer)
        case "Failed" if blame and status["reason"].startswith(f"{blame} "):
            what = status["reason"].removeprefix(f"{blame} ")
            end = f" ({detail})" if detail else ""
            words = _last_words(run, status, blame)
            return Verdict(f"The {blame} service {_was(what)}{end}{words}.", _log_hint(run, blame, detail))
        case "Failed" if blame:
            own = explain(trainer).sentence.rstrip(".")
            away = f" ({detail})" if detail else ""
            return Verdict(f"{own}, while the {blame} service was away{away}.", _log_hint(run, blame))
    return None


def _explain_running(run: StoredRun, status: Mapping[str, Any], trainer: Facts) -> Verdict | None:
    down = [role for role in _services(status) if role["state"] == "Pending"]
    if down:
        role, trouble = down[0]["role"], down[0]["trouble"] or "it does not answer yet"
        own = explain(trainer).sentence.rstrip(".")
        return Verdict(f"{own}, but the {role} service is being started again: {trouble}.", _log_hint(run, role))
    if _is_services(run):
        places = ", ".join(f"{process_name(role)} at {role['address']}" for role in run.unit.get("roles", ()))
        return Verdict(f"Its services answer: {places}.", f"Use them with --use-services {run.name}")
    return None


def _is_services(run: StoredRun) -> bool:
    """Whether it has no trainer."""
    roles = run.unit.get("roles", ())
    return bool(roles) and all(role.get("service") for role in roles)


def _was(what: str) -> str:
    return what if what.startswith(("ended", "cannot")) else f"was {what}"


def _services(status: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [role for role in status.get("roles", ()) if "trouble" in role]


def _slow_role(run: StoredRun, status: Mapping[str, Any]) -> str:
    """The first role that does not answer yet."""
    slow = [role["role"] for role in _services(status) if role["state"] == "Pending"]
    return str([*slow, *(role["role"] for role in run.unit.get("awaited", ())), "trainer"][0])


def _last_words(run: StoredRun, status: Mapping[str, Any], role: str) -> str:
    """The error that the service's log ends with, if there is one."""
    mine = [process_name(spec) for spec in _services(status) if spec["role"] == role and spec["reason"]]
    lines: Sequence[str] = observe_log(run.log(mine[0]))[1] if mine else ()
    raised = find_exception(lines)
    told = last_error_line(lines) or (raised.line if raised else "")
    return f": {told.rstrip('.')}" if told else ""


def _log_hint(run: StoredRun, role: str, detail: str = "") -> str:
    log = f"cw logs {run.unit.get('services_of') or run.name} --role {role}"
    if detail == "Connection refused":
        return f"It has to listen on the port that its variable PORT names; its log: {log}"
    return f"Read its log: {log}"
