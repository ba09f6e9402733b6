"""The objects of a namespace: looked up, listed page by page, applied, deleted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from cw_cli.core.exceptions import TargetError
from cw_cli.targets.kubernetes.kubeconfig import read_access
from cw_cli.targets.kubernetes.paging import pages
from cw_cli.targets.kubernetes.refusals import ApiError
from cw_cli.targets.kubernetes.transport import JSON, Transport

MANAGER = "cw"
"""The field manager of everything that cw applies."""

PAGE = 500
ROWS_A_PAGE = 2000

METADATA_OF_ONE = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
TABLE = "application/json;as=Table;g=meta.k8s.io;v=v1"
METADATA = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"

# Where objects of a kind live: group and version, plural.
_PLACES = {
    "ConfigMap": ("api/v1", "configmaps"),
    "Service": ("api/v1", "services"),
    "Pod": ("api/v1", "pods"),
    "Secret": ("api/v1", "secrets"),
    "Event": ("api/v1", "events"),
    "PersistentVolumeClaim": ("api/v1", "persistentvolumeclaims"),
    "ResourceQuota": ("api/v1", "resourcequotas"),
    "LimitRange": ("api/v1", "limitranges"),
    "Job": ("apis/batch/v1", "jobs"),
    "Deployment": ("apis/apps/v1", "deployments"),
    "NetworkPolicy": ("apis/networking.k8s.io/v1", "networkpolicies"),
}


class Connection(Transport):
    """The objects in one namespace of one cluster."""

    @classmethod
    def open(cls, context: str | None = None, namespace: str | None = None) -> Connection:
        """Connect as kubectl would: `$KUBECONFIG` or `~/.kube/config`, else a pod's service account.

        Nothing is read or sent yet; what is wrong with the kubeconfig is told by whatever comes first.
        """
        return cls(lambda: read_access(context, namespace))

    def path(self, kind: str, name: str | None = None, part: str | None = None) -> str:
        """The path of a kind's collection in the namespace, of one object, or of a part of it such as `log`."""
        if kind not in _PLACES:
            raise TargetError(f"cw does not create objects of kind {kind}", f"It knows {', '.join(_PLACES)}.")
        group, plural = _PLACES[kind]
        pieces = [group, "namespaces", quote(self.namespace), plural]
        pieces += [quote(name)] if name else []
        pieces += [part] if part else []
        return "/" + "/".join(pieces)

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        """One object, or None when there is none."""
        try:
            found: dict[str, Any] = self.request("GET", self.path(kind, name))
            return found
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def list(
        self, kind: str, *, labels: str = "", fields: str = "", metadata: bool = False, page: int = PAGE
    ) -> Iterator[dict[str, Any]]:
        """The objects of a kind, read page by page; `metadata` asks for nothing else of them."""
        accept = METADATA if metadata else JSON
        yield from self.items(self.path(kind), labels=labels, fields=fields, accept=accept, page=page)

    def items(
        self,
        path: str,
        *,
        labels: str = "",
        fields: str = "",
        accept: str = JSON,
        page: int = PAGE,
        rows: str = "items",
        more: Mapping[str, str] | None = None,
    ) -> Iterator[dict[str, Any]]:
        """The items of a collection at `path`; a `Table` has `rows` instead."""
        query = {"limit": str(page), "labelSelector": labels, "fieldSelector": fields, **(more or {})}

        def ask(token: str) -> bytes:
            return self._page(path, {**query, "continue": token}, accept)

        for answer in pages(ask, self.parsed):
            yield from answer.get(rows) or []

    def _page(self, path: str, query: Mapping[str, str], accept: str) -> bytes:
        """One page of a list, as the server sends it."""
        try:
            return self.ask("GET", path, query, accept=accept)
        except ApiError as error:
            # The server forgot the state in which the list began: it offers to go on in today's.
            if error.status != 410 or not error.resume or error.resume == query.get("continue"):
                raise
            return self._page(path, {**query, "continue": error.resume}, accept)

    def table(self, kind: str, *, labels: str = "", fields: str = "") -> Iterator[Sequence[Any]]:
        """The cells that `kubectl get -o wide` shows of each object: a fortieth of the bytes."""
        found = self.items(
            self.path(kind),
            labels=labels,
            fields=fields,
            accept=TABLE,
            page=ROWS_A_PAGE,
            rows="rows",
            more={"includeObject": "None"},
        )
        return (row["cells"] for row in found)

    def require_namespace(self) -> None:
        """Raise `ApiError` when the namespace is known not to exist: a list of what it holds is merely empty."""
        try:
            self.request("GET", f"/api/v1/namespaces/{quote(self.namespace)}", accept=METADATA_OF_ONE)
        except ApiError as error:
            if error.status != 403:  # most users may not look at namespaces
                raise

    def apply(self, item: Mapping[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        """Server-side apply; may be repeated without harm."""
        query = {"fieldManager": MANAGER, "force": "true", **({"dryRun": "All"} if dry_run else {})}
        path = self.path(item["kind"], item["metadata"]["name"])
        result: dict[str, Any] = self.request("PATCH", path, query, item, content="application/apply-patch+yaml")
        return result

    def create(self, item: Mapping[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        """Create; raises `ApiError` with status 409 when the name is taken, by this very call perhaps: an answer that
        got lost is asked for again."""
        query = {"fieldManager": MANAGER, **({"dryRun": "All"} if dry_run else {})}
        result: dict[str, Any] = self.request("POST", self.path(item["kind"]), query, item)
        return result

    def merge(self, kind: str, name: str, patch: Mapping[str, Any]) -> dict[str, Any]:
        """JSON merge patch."""
        content = "application/merge-patch+json"
        result: dict[str, Any] = self.request(
            "PATCH", self.path(kind, name), {"fieldManager": MANAGER}, patch, content=content
        )
        return result

    def delete(self, kind: str, name: str, *, only: Mapping[str, str] | None = None) -> bool:
        """Delete with everything that the object owns; False when there was none.

        `only` names the `uid` or `resourceVersion` that the object must have, else it stays and `ApiError` has 409.
        """
        body = {"propagationPolicy": "Background", **({"preconditions": dict(only)} if only else {})}
        try:
            self.request("DELETE", self.path(kind, name), body=body)
            return True
        except ApiError as error:
            if error.status == 404 and error.reason != "NoNamespace":
                return False
            raise
