"""A plan's objects into the cluster, in order, each with its undo."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from cw_cli.core.exceptions import TargetError
from cw_cli.core.names import MANAGED_BY, RECIPES, RECORD, ROLE, RUN, selector
from cw_cli.core.roles import GUARD
from cw_cli.targets.kubernetes.connection import Connection
from cw_cli.targets.kubernetes.pods import phase, waiting_reason
from cw_cli.targets.kubernetes.refusals import ApiError

if TYPE_CHECKING:
    from cw_cli.core.plan import Plan

Manifest = Mapping[str, Any]

LAUNCHED = "cw.dev/launched"
"""Annotation on the run's ConfigMap: the launch came to its end. A record without it and without a Job is a launch
that died half-way."""
LAUNCH = "cw.dev/launch"
"""Annotation on the run's ConfigMap that tells this launch from any other that wants the same name."""
USED_BY = "cw.dev/used-by"
"""Annotation on shared recipes: the run that was launched with them last."""

OPTIONAL = ("NetworkPolicy",)
"""Kinds that a namespace may refuse to its users; the run works without."""

LAUNCH_SECONDS = 60.0
GUARD_SECONDS = 60.0
"""That a guard may take to start; before it runs, nothing that holds a GPU is created."""
GUARD_POLL = 0.3
UNDO_SECONDS = 20.0


class LaunchInterruptedError(TargetError):
    """Ctrl-C in the middle of a launch."""

    exit_code = 130


def launch(connection: Connection, plan: Plan) -> None:
    """Create the run. An error or an interrupt undoes what was done; then the error goes on.

    The first object, the record, claims the run's name and owns all others: what belongs to a record that is gone,
    the cluster removes, even if it arrives late. The Job comes last: a launch that is killed anywhere holds no GPU
    unless the Job was created, and then the run is whole.
    """
    attempt = _Attempt(connection, plan)
    try:
        with connection.within(LAUNCH_SECONDS + (GUARD_SECONDS if plan.guard else 0.0)):
            attempt.create()
    except KeyboardInterrupt:
        left = attempt.undo()
        raise LaunchInterruptedError(f"interrupted; {plan.run} was not started", _remains(left, plan.run)) from None
    except TargetError as error:
        left = attempt.undo()
        hint = " ".join(filter(None, (error.hint, _remains(left, plan.run))))
        raise TargetError(f"{attempt.doing} failed: {error.message}", hint) from None


def _remains(left: list[str], run: str) -> str:
    if not left:
        return "Nothing was left behind."
    return f"Cleaning up failed too. Left behind: {', '.join(left)}. cw delete {run} removes that."


class _Attempt:
    """One launch on its way: what it may have created, and how that goes away again."""

    def __init__(self, connection: Connection, plan: Plan) -> None:
        self.connection = connection
        self.run = plan.run
        self.record, *self.others = plan.objects
        self.guard = plan.guard
        self.guard_uid: str | None = None
        """Of the guard's Job, to which the services belong, once there is one."""
        self.token = secrets.token_hex(8)
        self.claiming = False
        self.owner: str | None = None
        """The uid of the record once it is known to be ours."""
        self.created: list[Manifest] = []
        self.doing = "the launch"

    def create(self) -> None:
        """Every object, in order."""
        self.doing = f"creating {_name(self.record)}"
        self.claiming = True
        self.owner = self._claim()
        for item in self.others:
            self.doing = f"creating {_name(item)}"
            if RUN in item["metadata"]["labels"]:
                self._create_own(item)
            else:
                # The annotation changes the object, so that nobody deletes it who looked for its users before us.
                self.connection.apply(_with(item, annotations={USED_BY: self.run}))
        self.doing = f"marking {self.run} as launched"
        self.connection.merge("ConfigMap", self._record_name, {"metadata": {"annotations": {LAUNCHED: "true"}}})

    def _create_own(self, item: Manifest) -> None:
        self.created.append(item)
        try:
            made = self.connection.apply(self._owned(item))
        except ApiError as error:
            if error.status != 403 or item["kind"] not in OPTIONAL:
                raise
            self.created.remove(item)
            return
        if (item["kind"], item["metadata"]["name"]) == ("Job", self.guard):
            self.guard_uid = made["metadata"]["uid"]
            self.doing = "starting the guard, which frees the services when the trainer is gone,"
            wait_for_guard(self.connection, self.run)

    def undo(self) -> list[str]:
        """Remove what was created, the last first; one failure or one more Ctrl-C keeps no other from being tried.

        Returns the names of what may be left.
        """
        if not self.connection.answered:
            return []
        left = []
        with self.connection.within(UNDO_SECONDS):
            for item in (*reversed(self.created), self.record):
                try:
                    self._remove(item)
                except (TargetError, KeyboardInterrupt):
                    left.append(_name(item))
            try:
                sweep(self.connection, self._uses.values())
            except (TargetError, KeyboardInterrupt):
                left.extend(_name(item) for item in self.others if RUN not in item["metadata"]["labels"])
        return left

    @property
    def _record_name(self) -> str:
        return str(self.record["metadata"]["name"])

    @property
    def _uses(self) -> dict[str, str]:
        """The label that names the recipes which this run shares with others."""
        digests = [item["metadata"]["labels"].get(RECIPES) for item in self.others]
        return next(({RECIPES: digest} for digest in digests if digest), {})

    def _claim(self) -> str:
        """Create the run's ConfigMap, which must be new, and return its uid."""
        record = _with(self.record, labels=self._uses, annotations={LAUNCH: self.token})
        try:
            created = self.connection.create(record)
        except ApiError as error:
            # Taken: by an earlier try of this very request, perhaps.
            found = self._ours() if error.status == 409 else None
            if error.status == 409 and found is None:
                self.claiming = False
                message = f"there is a run called {self.run} already"
                raise TargetError(message, "Launch again: it gets another name.") from None
            if found is None:
                raise
            return found
        return str(created["metadata"]["uid"])

    def _ours(self) -> str | None:
        """The uid of the record if this launch made it."""
        found = self.connection.get("ConfigMap", self._record_name)
        if found is None or (found["metadata"].get("annotations") or {}).get(LAUNCH) != self.token:
            return None
        return str(found["metadata"]["uid"])

    def _owned(self, item: Manifest) -> Manifest:
        """The object as part of the record. A volume claim is not: it may hold the model."""
        if item["kind"] == "PersistentVolumeClaim":
            return item
        owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": self._record_name, "uid": self.owner}
        if self.guard_uid and ROLE in item["metadata"]["labels"] and item["kind"] in ("Deployment", "Service"):
            owner = {"apiVersion": "batch/v1", "kind": "Job", "name": str(self.guard), "uid": self.guard_uid}
        return _with(item, ownerReferences=[owner])

    def _remove(self, item: Manifest) -> None:
        if item["kind"] == "Secret":
            return  # It goes with the record: to delete Secrets is no right that a run needs.
        if item is not self.record:
            self.connection.delete(item["kind"], item["metadata"]["name"])
        elif self.claiming and (uid := self.owner or self._ours()):
            self.connection.delete("ConfigMap", self._record_name, only={"uid": uid})


def wait_for_guard(connection: Connection, run: str) -> None:
    """Wait until the guard of `run` works; raises `TargetError` with what keeps it from that."""
    guards = selector({RUN: run, ROLE: GUARD})
    until = time.monotonic() + GUARD_SECONDS
    while True:
        pods = list(connection.list("Pod", labels=guards))
        if any(phase(pod) == "Running" for pod in pods):
            return
        if time.monotonic() > until:
            reason = next(filter(None, map(waiting_reason, pods)), "it has no pod")
            hint = "It takes one small pod; `guard_image: IMAGE` names another image with a shell and nslookup."
            raise TargetError(f"it did not start within {GUARD_SECONDS:.0f} seconds ({reason})", hint)
        time.sleep(GUARD_POLL)


def sweep(connection: Connection, digests: Iterable[str]) -> list[str]:
    """Delete those of the shared recipes that no run uses any more; returns their names.

    Safe beside a launch. A launch first creates its record and then changes the recipes: either the record is found
    here, or the recipes are not what they were when they were looked at, or the launch creates them anew.
    """
    deleted = []
    for digest in sorted(digests):
        users = selector({MANAGED_BY: "cw", RECORD: "true", RECIPES: digest})
        shared = f"{selector({MANAGED_BY: 'cw', RECIPES: digest})},!{RUN}"
        for item in list(connection.list("ConfigMap", labels=shared, metadata=True)):
            if next(connection.list("ConfigMap", labels=users, metadata=True, page=1), None) is not None:
                break
            seen = {key: item["metadata"][key] for key in ("uid", "resourceVersion")}
            try:
                if connection.delete("ConfigMap", item["metadata"]["name"], only=seen):
                    deleted.append(f"configmap/{item['metadata']['name']}")
            except ApiError as error:
                if error.status != 409:  # a launch has just taken them into use
                    raise
    return deleted


def _name(item: Manifest) -> str:
    return f"{item['kind'].lower()}/{item['metadata']['name']}"


def _with(item: Manifest, **metadata: Any) -> Manifest:
    """The object with more metadata."""
    old = item["metadata"]
    merged = {key: {**(old.get(key) or {}), **new} if isinstance(new, dict) else new for key, new in metadata.items()}
    return {**item, "metadata": {**old, **merged}}
