"""How one request reaches the API server of a context, and how long anybody waits for its answer."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any
from urllib.parse import urlencode, urlsplit

from cw_cli.targets.kubernetes.kubeconfig import Access, Credentials
from cw_cli.targets.kubernetes.refusals import ApiError, Place, refused, unreachable

CONNECT_SECONDS = 2.5
FIRST_SECONDS = 2.5
"""A server that has not answered yet gets this long for a read: nobody waits longer for one that is not there."""
READ_SECONDS = 20.0
RETRY_SECONDS = 15.0
"""After this long, a request is not sent again."""
ATTEMPTS = 4

JSON = "application/json"


class Transport:
    """Requests to one server, signed in as its context says, sent again where that helps."""

    def __init__(self, access: Callable[[], Access]) -> None:
        self._read_access = access
        self.answered = False
        """Whether the server has said anything yet."""
        self._logged_in_again = False
        self._deadline: float | None = None

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

    def request(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: Any = None, **how: Any
    ) -> Any:
        """The JSON that the server answers; `how` is that of `ask`. Raises `ApiError`."""
        return self.parsed(self.ask(method, path, query, body, **how))

    def ask(
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
        """What the server answers.

        A busy server and a broken connection are tried again, a few times and for a short while. Raises `ApiError`.
        """
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

    def parsed(self, data: bytes) -> Any:
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
