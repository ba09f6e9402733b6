"""One context of a kubeconfig: requests to its API server, and every HTTP error as a sentence."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from cw_cli.core.exceptions import TargetError

MANAGER = "cw"
"""The field manager of everything that cw applies."""

CONNECT_SECONDS = 4.0
READ_SECONDS = 30.0
RETRIED = (429, 500, 502, 503, 504)
ATTEMPTS = 4
PAGE = 500

JSON = "application/json"
METADATA = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"

_IN_CLUSTER_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")

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


class ApiError(TargetError):
    """What the API server answered instead of doing it. `status` is the HTTP code, 0 when there was no answer."""

    def __init__(self, message: str, hint: str = "", *, status: int = 0, reason: str = "") -> None:
        super().__init__(message, hint)
        self.status = status
        self.reason = reason


class Connection:
    """Requests in one namespace of one cluster."""

    def __init__(self, client: Any, context: str, namespace: str) -> None:
        self.client = client
        self.context = context
        self.namespace = namespace
        self.server: str = client.configuration.host

    @classmethod
    def open(cls, context: str | None = None, namespace: str | None = None) -> Connection:
        """Connect as kubectl would: `$KUBECONFIG` or `~/.kube/config`, else a pod's service account.

        Nothing is sent yet. Raises `TargetError` when the kubeconfig is missing, broken, or has no such context.
        """
        from kubernetes import config
        from kubernetes.client import ApiClient, Configuration
        from kubernetes.config.config_exception import ConfigException

        settings: Any = Configuration()
        settings.retries = False  # ours know which requests may be repeated
        try:
            contexts, active = config.list_kube_config_contexts()
            chosen = next((item for item in contexts if item["name"] == context), None) if context else active
            if chosen is None:
                names = ", ".join(item["name"] for item in contexts) or "none"
                raise TargetError(f"the kubeconfig has no context {context}", f"It has {names}.")
            config.load_kube_config(context=chosen["name"], client_configuration=settings)
            space = namespace or chosen["context"].get("namespace") or "default"
            return cls(ApiClient(settings), chosen["name"], space)
        except ConfigException as error:
            if context is None and os.environ.get("KUBERNETES_SERVICE_HOST") and _IN_CLUSTER_NAMESPACE.exists():
                config.load_incluster_config(client_configuration=settings)
                return cls(ApiClient(settings), "in-cluster", namespace or _IN_CLUSTER_NAMESPACE.read_text().strip())
            raise TargetError(
                f"the kubeconfig cannot be used: {error}", "Check $KUBECONFIG or ~/.kube/config."
            ) from None

    def path(self, kind: str, name: str | None = None, part: str | None = None) -> str:
        """The path of a kind's collection in the namespace, of one object, or of a part of it such as `log`."""
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
        self, kind: str, *, labels: str = "", fields: str = "", metadata: bool = False
    ) -> Iterator[dict[str, Any]]:
        """The objects of a kind, read page by page; `metadata` asks for nothing else of them."""
        yield from self.pages(self.path(kind), labels=labels, fields=fields, accept=METADATA if metadata else JSON)

    def pages(self, path: str, *, labels: str = "", fields: str = "", accept: str = JSON) -> Iterator[dict[str, Any]]:
        """The items of a collection at `path`."""
        query = {"limit": str(PAGE), "labelSelector": labels, "fieldSelector": fields}
        while True:
            page = self.request("GET", path, query, accept=accept)
            yield from page.get("items") or []
            query["continue"] = page["metadata"].get("continue") or ""
            if not query["continue"]:
                return

    def apply(self, item: Mapping[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        """Server-side apply; may be repeated without harm."""
        query = {"fieldManager": MANAGER, "force": "true", **({"dryRun": "All"} if dry_run else {})}
        path = self.path(item["kind"], item["metadata"]["name"])
        result: dict[str, Any] = self.request("PATCH", path, query, item, content="application/apply-patch+yaml")
        return result

    def create(self, item: Mapping[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        """Create; raises `ApiError` with status 409 when the name is taken."""
        query = {"fieldManager": MANAGER, **({"dryRun": "All"} if dry_run else {})}
        result: dict[str, Any] = self.request("POST", self.path(item["kind"]), query, item, attempts=1)
        return result

    def merge(self, kind: str, name: str, patch: Mapping[str, Any]) -> dict[str, Any]:
        """JSON merge patch."""
        content = "application/merge-patch+json"
        result: dict[str, Any] = self.request(
            "PATCH", self.path(kind, name), {"fieldManager": MANAGER}, patch, content=content
        )
        return result

    def delete(self, kind: str, name: str, *, grace: int | None = None) -> bool:
        """Delete with everything that the object owns; False when there was none."""
        body: dict[str, Any] = {"propagationPolicy": "Background"}
        if grace is not None:
            body["gracePeriodSeconds"] = grace
        try:
            self.request("DELETE", self.path(kind, name), body=body)
            return True
        except ApiError as error:
            if error.status == 404:
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
        attempts: int = ATTEMPTS,
        timeout: float = READ_SECONDS,
    ) -> Any:
        """The JSON that the server answers.

        A busy server and a lost connection are tried again, `attempts` times in all. Raises `ApiError`.
        """
        for attempt in range(1, attempts + 1):
            try:
                response = self._send(method, path, query, body, content, accept, timeout)
                return json.loads(response.data) if response.data else {}
            except ApiError as error:
                again = error.status in RETRIED or (error.status == 0 and error.reason == "broken")
                if attempt == attempts or not again:
                    raise
                time.sleep(min(0.2 * 2**attempt, 2.0))
        raise AssertionError("unreachable")

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

        headers = {"Accept": accept, "User-Agent": f"cw/{_version()}"}
        for setting in self.client.configuration.auth_settings().values():
            headers[setting["key"]] = setting["value"]
        if body is not None:
            headers["Content-Type"] = content
        given = {key: value for key, value in (query or {}).items() if value}
        url = self.server + path + (f"?{urlencode(given)}" if given else "")
        try:
            response = self.client.rest_client.pool_manager.request(
                method,
                url,
                body=None if body is None else json.dumps(body).encode(),
                headers=headers,
                preload_content=not streaming,
                retries=False,
                timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=timeout),
            )
        except urllib3.exceptions.HTTPError as error:
            raise self._unreachable(error) from None
        if response.status >= 300:
            raise self._refused(method, path, response)
        return response

    def _unreachable(self, error: Exception) -> ApiError:
        import urllib3

        where = f"the cluster of context {self.context} ({self.server})"
        if isinstance(error, urllib3.exceptions.SSLError):
            return ApiError(f"{where} has a certificate that cannot be verified", "Is the kubeconfig out of date?")
        if isinstance(error, urllib3.exceptions.NewConnectionError | urllib3.exceptions.ConnectTimeoutError):
            hint = "Is the cluster up, and is this network (or a VPN) connected to it?"
            return ApiError(f"{where} cannot be reached", hint, reason="unreachable")
        if isinstance(error, urllib3.exceptions.ReadTimeoutError):
            return ApiError(f"{where} does not answer", "Try again in a moment.", reason="timeout")
        return ApiError(f"the connection to {where} broke: {error}", "Try again in a moment.", reason="broken")

    def _refused(self, method: str, path: str, response: Any) -> ApiError:
        """The server's own words, under what they mean."""
        data = response.data if response.data is not None else response.read()
        try:
            status = json.loads(data)
        except ValueError:
            status = {}
        message = status.get("message") if isinstance(status, dict) else None
        message = str(message or data[:200].decode("utf-8", "replace") or response.reason)
        code = response.status
        reason = str(status.get("reason", "")) if isinstance(status, dict) else ""
        if code == 401:
            text = f"the cluster of context {self.context} does not accept your credentials"
            return ApiError(text, "They may have expired: log in again.", status=code, reason=reason)
        if code == 403 and "exceeded quota" not in message and "violates PodSecurity" not in message:
            hint = f"Ask the cluster's administrator; cw rbac prints all that cw needs in namespace {self.namespace}."
            return ApiError(f"not allowed: {message}", hint, status=code, reason=reason)
        if code in RETRIED:
            return ApiError(f"the API server is busy or broken: {message}", "Try again.", status=code, reason=reason)
        return ApiError(message, status=code, reason=reason)


def _version() -> str:
    import cw_cli

    return cw_cli.__version__
