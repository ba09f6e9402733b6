"""What a plan needs of its namespace and cluster, one check for each kind of need; nothing is changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from cw_cli.targets.kubernetes.capacity import fit, read_capacity
from cw_cli.targets.kubernetes.connection import METADATA_OF_ONE, Connection
from cw_cli.targets.kubernetes.findings import Finding, ok, problem, skipped, warning
from cw_cli.targets.kubernetes.quotas import limits, quotas
from cw_cli.targets.kubernetes.refusals import ApiError

if TYPE_CHECKING:
    from cw_cli.core.plan import Plan

QUEUE = "kueue.x-k8s.io/queue-name"
_KUEUE = "/apis/kueue.x-k8s.io"


class Workload(NamedTuple):
    """Equal pods of the plan."""

    name: str
    pods: int
    spec: Mapping[str, Any]
    queue: str | None


def examine_needs(connection: Connection, plan: Plan) -> Iterator[Finding]:
    """Every check of the plan, each with what came of it."""
    workloads = list(_workloads(plan))
    for check in (_claims, _secrets, _priorities, _queues, quotas, limits, _room):
        yield from check(connection, workloads)
    yield from dry_run(connection, plan)


def _workloads(plan: Plan) -> Iterator[Workload]:
    for item in plan.objects:
        if item["kind"] in ("Job", "Deployment"):
            spec = item["spec"]
            pods = int(spec.get("parallelism") or spec.get("replicas") or 1)
            queue = (item["metadata"].get("labels") or {}).get(QUEUE)
            yield Workload(item["metadata"]["name"], pods, spec["template"]["spec"], queue)


def _look(connection: Connection, path: str, accept: str = "application/json") -> tuple[int, dict[str, Any]]:
    """An object and 200, or why there is none: 403 or 404."""
    try:
        return 200, connection.request("GET", path, accept=accept)
    except ApiError as error:
        if error.status not in (403, 404):
            raise
        return error.status, {}


def _claims(connection: Connection, workloads: list[Workload]) -> Iterator[Finding]:
    for name, pods in sorted(_claim_users(workloads).items()):
        status, claim = _look(connection, connection.path("PersistentVolumeClaim", name))
        if status == 403:
            yield skipped("volumes", f"you may not look at the volume claim {name}")
        elif status == 404:
            remedy = f"Name one that it has: `volumes: {{CLAIM: /model-checkpoints}}`, or `volumes: {{{name}: null}}`."
            yield problem("volumes", f"namespace {connection.namespace} has no volume claim {name}", remedy)
        else:
            yield _claim(connection, claim, pods)


def _claim_users(workloads: list[Workload]) -> dict[str, int]:
    """Each claim that is mounted, and by how many pods."""
    users: dict[str, int] = {}
    for workload in workloads:
        for volume in workload.spec.get("volumes") or []:
            if name := (volume.get("persistentVolumeClaim") or {}).get("claimName"):
                users[name] = users.get(name, 0) + workload.pods
    return users


def _claim(connection: Connection, claim: Mapping[str, Any], pods: int) -> Finding:
    name, spec = claim["metadata"]["name"], claim["spec"]
    phase = (claim.get("status") or {}).get("phase", "Pending")
    modes = spec.get("accessModes") or []
    if claim["metadata"].get("deletionTimestamp"):
        return problem("volumes", f"the volume claim {name} is being deleted", "Use another one.")
    if phase == "Lost":
        return problem("volumes", f"the volume behind the claim {name} is gone", "Ask the administrator; use another.")
    if pods > 1 and not {"ReadWriteMany", "ReadOnlyMany"} & set(modes):
        remedy = "Use a claim with ReadWriteMany, or one node."
        return warning("volumes", f"{pods} pods mount {name}, which only one node at a time can ({modes[0]})", remedy)
    if phase == "Bound":
        return ok("volumes", f"the claim {name} is bound")
    _, storage = _look(
        connection, f"/apis/storage.k8s.io/v1/storageclasses/{quote(spec.get('storageClassName') or '')}"
    )
    if storage.get("volumeBindingMode") == "WaitForFirstConsumer":
        return ok("volumes", f"the claim {name} gets its volume with the first pod")
    remedy = f"kubectl describe pvc {name} says why; if its class waits for a pod, all is well."
    return warning("volumes", f"the claim {name} is {phase.lower()}, without a volume", remedy)


def _secrets(connection: Connection, workloads: list[Workload]) -> Iterator[Finding]:
    """Secrets and their keys, by metadata alone: no value is asked for."""
    for (name, optional), keys in sorted(_secret_users(workloads).items()):
        status, secret = _look(connection, connection.path("Secret", name), METADATA_OF_ONE)
        if status == 403:
            yield skipped("secrets", f"you may not look at the Secret {name}, and need not")
        elif status == 404 and optional:
            yield ok("secrets", f"there is no Secret {name}; the run does without")
        elif status == 404:
            remedy = f"Make it: kubectl -n {connection.namespace} create secret generic {name} --from-literal=KEY=…"
            yield problem("secrets", f"there is no Secret {name}", remedy)
        else:
            yield _keys(name, keys, _known_keys(secret), optional)


def _secret_users(workloads: list[Workload]) -> dict[tuple[str, bool], set[str]]:
    """Each Secret, whether the run can do without it, and the keys it takes of it."""
    found: dict[tuple[str, bool], set[str]] = {}
    for workload in workloads:
        spec = workload.spec
        for container in [*(spec.get("initContainers") or []), *spec["containers"]]:
            for entry in container.get("env") or []:
                if reference := (entry.get("valueFrom") or {}).get("secretKeyRef"):
                    key = reference["name"], bool(reference.get("optional"))
                    found.setdefault(key, set()).add(reference["key"])
        for volume in spec.get("volumes") or []:
            if source := volume.get("secret"):
                found.setdefault((source["secretName"], bool(source.get("optional"))), set())
        for reference in spec.get("imagePullSecrets") or []:
            found.setdefault((reference["name"], False), set())
    return found


def _known_keys(secret: Mapping[str, Any]) -> set[str] | None:
    """The keys of a Secret as its managers declared them; None when nobody did."""
    keys: set[str] = set()
    for manager in secret["metadata"].get("managedFields") or []:
        data = (manager.get("fieldsV1") or {}).get("f:data") or {}
        keys |= {key.removeprefix("f:") for key in data if key.startswith("f:")}
    return keys or None


def _keys(name: str, keys: set[str], known: set[str] | None, optional: bool) -> Finding:
    missing = sorted(keys - known) if known is not None else []
    if missing and not optional:
        has = f"It has {', '.join(sorted(known or ()))}."
        return problem("secrets", f"the Secret {name} has no key {', '.join(missing)}", has)
    note = f", without {', '.join(missing)}" if missing else ""
    return ok("secrets", f"the Secret {name} is there{note}")


def _priorities(connection: Connection, workloads: list[Workload]) -> Iterator[Finding]:
    for name in sorted({workload.spec["priorityClassName"] for workload in workloads if _priority(workload)}):
        status, _ = _look(connection, f"/apis/scheduling.k8s.io/v1/priorityclasses/{quote(name)}")
        if status == 404:
            yield problem("priority", f"the cluster has no priority class {name}", "Leave `priority:` out, or ask.")
        elif status == 403:
            yield skipped("priority", f"you may not look whether there is a priority class {name}")
        else:
            yield ok("priority", f"the priority class {name} is there")


def _priority(workload: Workload) -> bool:
    return bool(workload.spec.get("priorityClassName"))


def _queues(connection: Connection, workloads: list[Workload]) -> Iterator[Finding]:
    for name in sorted({workload.queue for workload in workloads if workload.queue}):
        status, group = _look(connection, _KUEUE)
        if status == 404:
            yield problem("queue", "the cluster has no Kueue, so a run in a queue would never start", "Drop `queue:`.")
            return
        version = (group.get("preferredVersion") or {}).get("groupVersion", "kueue.x-k8s.io/v1beta1")
        space = quote(connection.namespace)
        status, _ = _look(connection, f"/apis/{version}/namespaces/{space}/localqueues/{quote(name)}")
        if status == 404:
            remedy = "kubectl get localqueues lists those that there are."
            yield problem("queue", f"namespace {connection.namespace} has no queue {name}", remedy)
        elif status == 403:
            yield skipped("queue", f"you may not look whether there is a queue {name}")
        else:
            yield ok("queue", f"the queue {name} is there")


def _room(connection: Connection, workloads: list[Workload]) -> Iterator[Finding]:
    """Whether the pods fit on the nodes: ever, and now."""
    capacity = read_capacity(connection)
    if capacity is None:
        remedy = "An administrator can allow it: cw rbac --with-nodes."
        yield skipped("room", "you may not see the nodes, so whether the run fits is not known", remedy)
        return
    for workload in workloads:
        found = fit(capacity, workload.spec, workload.pods)
        pods = "the run" if found.wanted == 1 else f"each of the {found.wanted} pods"
        guess = "" if capacity.complete else ", as far as can be seen"
        if found.ever < found.wanted:
            sentence = f"{pods} can never start: {found.why or 'the cluster has no nodes'}"
            yield problem("room", sentence, "Ask for less, or for what the nodes have: cw nodes and cw gpu show it.")
        elif found.now < found.wanted:
            sentence = f"{pods} must wait: {found.why}{guess}"
            yield warning("room", sentence, "It starts when others end; cw gpu shows who has the GPUs.")
        else:
            yield ok("room", f"there is room for it now{guess}")


def dry_run(connection: Connection, plan: Plan) -> Iterator[Finding]:
    """The very objects of the plan, as the server would take them: admission, validation and object quotas."""
    refused = 0
    for item in plan.objects:
        what = f"{item['kind']} {item['metadata']['name']}"
        try:
            connection.apply(item, dry_run=True)
        except ApiError as error:
            refused += 1
            if "dry run" in error.message or "dryRun" in error.message:
                yield warning(
                    "dry run", f"an admission webhook cannot try the {what}: {error.message}", "Launch to see."
                )
            elif error.reason == "NoNamespace":
                return  # said already
            else:
                yield problem("dry run", f"the server refuses the {what}: {error.message}", error.hint)
    if not refused:
        yield ok("dry run", f"the server takes all {len(plan.objects)} objects")
