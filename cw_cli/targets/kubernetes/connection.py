"""One context of a kubeconfig: requests to its API server."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from cw_cli.core.exceptions import TargetError
from cw_cli.targets.kubernetes.kubeconfig import Access, Credentials, read_access
from cw_cli.targets.kubernetes.paging import pages
from cw_cli.targets.kubernetes.refusals import ApiError, Place, refused, unreachable

MANAGER = "cw"
"""The field manager of everything that cw applies."""

CONNECT_SECONDS = 2.5
FIRST_SECONDS = 2.5
"""A server that has not answered yet gets this long for a read: nobody waits longer for one that is not there."""
READ_SECONDS = 20.0
RETRY_SECONDS = 15.0
"""After this long, a request is not sent again."""
ATTEMPTS = 4
PAGE = 500

JSON = "application/json"
METADATA_OF_ONE = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
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


TABLE = "application/json;as=Table;g=meta.k8s.io;v=v1"
ROWS_A_PAGE = 2000


class Connection:
    """Requests in one namespace of one cluster."""

    def __init__(self, access: Callable[[], Access]) -> None:
        self._read_access = access
        self.answered = False
        """Whether the server has said anything yet."""
        self._logged_in_again = False
        self._deadline: float | None = None

    @classmethod
    def open(cls, context: str | None = None, namespace: str | None = None) -> Connection:
        """Connect as kubectl would: `$KUBECONFIG` or `~/.kube/config`, else a pod's service account.

        Nothing is read or sent yet; what is wrong with the kubeconfig is told by whatever comes first.
        """
        return cls(lambda: read_access(context, namespace))

    @cached_property
    def access(self) -> Access:
        """The context that this connects to; raises `TargetError` when the kubeconfig is of no use."""
        return self._read_access()

    @property
    def context(self) -> str:
        return self.access.context

    @property
    def namespace(self) -> str:
        return self.access.namespace

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """All requests in this block together take no longer than this."""
        earlier, self._deadline = self._deadline, time.monotonic() + seconds
        try:
            yield
        finally:
            self._deadline = earlier

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

        for answer in pages(ask, self._parsed):
            yield from answer.get(rows) or []

    def _page(self, path: str, query: Mapping[str, str], accept: str) -> bytes:
        """One page of a list, as the server sends it."""
        try:
            return self._ask("GET", path, query, accept=accept)
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

    def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        *,
        content: str = JSON,
        accept: str = JSON,
        timeout: float | None = None,
    ) -> Any:
        """The JSON that the server answers.

        A busy server and a broken connection are tried again, a few times and for a short while. Raises `ApiError`.
        """
        return self._parsed(self._ask(method, path, query, body, content=content, accept=accept, timeout=timeout))

    def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        *,
        content: str = JSON,
        accept: str = JSON,
        timeout: float | None = None,
    ) -> bytes:
        timeout = timeout or READ_SECONDS
        if not self.answered:
            timeout = self._greet(method, timeout)
        patience = time.monotonic() + RETRY_SECONDS
        for attempt in range(1, ATTEMPTS + 1):
            try:
                data: bytes = self._send(method, path, query, body, content, accept, timeout).data
                return data
            except ApiError as error:
                pause = max(error.retry_after, min(0.1 * 2**attempt, 2.0))
                over = time.monotonic() + pause > min(patience, self._deadline or patience)
                # A 409 to an apply is two that met: the object is there now.
                met = error.status == 409 and content.startswith("application/apply")
                if attempt == ATTEMPTS or over or not (error.passing or met):
                    raise
                time.sleep(pause)
        raise AssertionError("unreachable")

    def _greet(self, method: str, timeout: float) -> float:
        """The time for a first request. One that changes something may take its time, once the server is known to be
        there."""
        if method == "GET":
            return min(timeout, FIRST_SECONDS)
        try:
            self.request("GET", "/version")
        except ApiError as error:
            if not error.status:
                raise
        return timeout

    def _parsed(self, data: bytes) -> Any:
        try:
            return json.loads(data) if data else {}
        except ValueError:
            message = f"{self._place} answered something that is not JSON"
            raise ApiError(message, "Does the kubeconfig name a Kubernetes API server?") from None

    def stream(self, path: str, query: Mapping[str, str], *, quiet: float | None = None) -> Iterator[bytes]:
        """The chunks of a long answer; `quiet` is how many seconds the server may say nothing, None for ever.

        Raises `ApiError` with reason `broken` when the connection ends before its time.
        """
        import urllib3

        response = self._send("GET", path, query, None, JSON, "*/*", quiet, streaming=True)
        try:
            yield from response.stream(65536)
        except urllib3.exceptions.HTTPError as error:
            raise ApiError(f"the connection to {self.context} broke: {error}", reason="broken") from None
        finally:
            response.close()

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Any,
        content: str,
        accept: str,
        timeout: float | None,
        *,
        streaming: bool = False,
    ) -> Any:
        import urllib3

        given = {key: value for key, value in (query or {}).items() if value}
        url = self.access.server + path + (f"?{urlencode(given)}" if given else "")
        headers = {"Accept": accept, "User-Agent": f"cw/{_version()}"}
        if body is not None:
            headers["Content-Type"] = content
        try:
            response = self._pool.request(
                method,
                url,
                body=None if body is None else json.dumps(body).encode(),
                headers={**headers, **self._authorization},
                preload_content=not streaming,
                redirect=False,
                retries=False,
                timeout=self._limits(timeout),
            )
        except urllib3.exceptions.HTTPError as error:
            raise unreachable(self._place, error) from None
        except ValueError as error:  # a token or an address that HTTP cannot carry
            raise ApiError(f"context {self.context} cannot be used: {error}", "Mend the kubeconfig.") from None
        self.answered = True
        if response.status == 401 and self._log_in_again():
            return self._send(method, path, query, body, content, accept, timeout, streaming=streaming)
        if response.status >= 300:
            raise refused(self._place, response)
        return response

    def _limits(self, timeout: float | None) -> Any:
        """Time to connect and time between two pieces of the answer, within the deadline."""
        import urllib3

        if self._deadline is None:
            return urllib3.Timeout(connect=CONNECT_SECONDS, read=timeout)
        left = max(self._deadline - time.monotonic(), 0.5)
        return urllib3.Timeout(connect=min(CONNECT_SECONDS, left), read=left if timeout is None else min(timeout, left))

    @cached_property
    def _credentials(self) -> Credentials:
        return self.access.credentials()

    @property
    def _authorization(self) -> dict[str, str]:
        header = self._credentials.authorization
        return {"Authorization": header} if header else {}

    @cached_property
    def _pool(self) -> Any:
        """Connections to the API server, through a proxy where the kubeconfig or the environment names one."""
        import urllib3

        cluster = self.access.cluster
        how: dict[str, Any] = {"maxsize": 8}
        if self.access.server.startswith("https:"):
            how["ssl_context"] = self.access.tls(self._credentials)
            if name := cluster.get("tls-server-name"):
                how |= {"server_hostname": name, "assert_hostname": name}
            if cluster.get("insecure-skip-tls-verify"):
                how |= {"cert_reqs": "CERT_NONE", "assert_hostname": False}
                urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        proxy = cluster.get("proxy-url") or _proxy(self.access.server)
        return urllib3.ProxyManager(proxy, **how) if proxy else urllib3.PoolManager(**how)

    def _log_in_again(self) -> bool:
        """Once more, where credentials come from a program or a file that may have newer ones by now."""
        if self._logged_in_again or not {"exec", "tokenFile"} & self.access.user.keys():
            return False
        self._logged_in_again = True
        for name in ("_credentials", "_pool"):
            self.__dict__.pop(name, None)
        return True

    @property
    def _place(self) -> Place:
        return Place(self.context, self.access.server, self.namespace)


def _proxy(server: str) -> str | None:
    """The environment's proxy for this address, as kubectl takes it."""
    scheme = urlsplit(server).scheme
    if not any(os.environ.get(name) for name in (f"{scheme}_proxy", f"{scheme.upper()}_PROXY")):
        return None
    from urllib.request import getproxies, proxy_bypass

    return None if proxy_bypass(urlsplit(server).netloc) else getproxies().get(scheme)


def _version() -> str:
    import cw_cli

    return cw_cli.__version__
