"""What the refusals of an API server, and its silence, mean: each is a sentence with a hint."""

from __future__ import annotations

import json
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from cw_cli.core.exceptions import TargetError

RETRIED = (429, 500, 502, 503, 504)
"""HTTP codes after which the same request may succeed in a moment."""


class Place(NamedTuple):
    """Which cluster and namespace a request is for."""

    context: str
    server: str
    namespace: str

    def __str__(self) -> str:
        return f"the cluster of context {self.context} ({self.server})"


class ApiError(TargetError):
    """What the API server answered instead of doing it. `status` is the HTTP code, 0 when there was no answer."""

    def __init__(
        self,
        message: str,
        hint: str = "",
        *,
        status: int = 0,
        reason: str = "",
        retry_after: float = 0,
        resume: str = "",
    ) -> None:
        super().__init__(message, hint)
        self.status = status
        self.reason = reason
        self.retry_after = retry_after
        """Seconds that the server asks to be left alone."""
        self.resume = resume
        """Where a list that took too long may go on."""

    @property
    def passing(self) -> bool:
        """Whether the same request may succeed in a moment."""
        return self.status in RETRIED or self.reason == "broken"


def unreachable(place: Place, error: Exception) -> ApiError:
    """Why no answer came: `error` is urllib3's."""
    import ssl

    from urllib3 import exceptions

    where, cause = str(place), error.args[0] if error.args else None
    if isinstance(error, exceptions.ProxyError):
        return ApiError(f"{where} is behind a proxy that fails: {cause}", "Check proxy-url and $HTTPS_PROXY.")
    if isinstance(cause, ssl.SSLCertVerificationError):
        said = cause.verify_message or cause.reason
        message = f"{where} has a certificate that cannot be verified: {said}"
        return ApiError(message, "Is the kubeconfig out of date? Get a new one.")
    if isinstance(error, exceptions.SSLError):
        return ApiError(f"{where} refuses the encrypted connection: {cause}", "Does the kubeconfig fit the server?")
    if isinstance(error, exceptions.NameResolutionError):
        host = urlsplit(place.server).hostname
        hint = "Is this network (or a VPN) connected to it?"
        return ApiError(f"{where} cannot be reached: no address is known for {host}", hint, reason="unreachable")
    if isinstance(error, exceptions.NewConnectionError | exceptions.ConnectTimeoutError):
        hint = "Is the cluster up, and is this network (or a VPN) connected to it?"
        return ApiError(f"{where} cannot be reached", hint, reason="unreachable")
    if isinstance(error, exceptions.TimeoutError):
        return ApiError(f"{where} does not answer", "Is the cluster up? Try again in a moment.", reason="timeout")
    return ApiError(f"the connection to {where} broke: {error}", "Try again in a moment.", reason="broken")


def refused(place: Place, response: Any) -> ApiError:
    """The server's own words, under what they mean."""
    data = response.data if response.data is not None else response.read()
    try:
        status = json.loads(data)
    except ValueError:
        status = None
    status = status if isinstance(status, dict) else {}
    message = str(status.get("message") or data[:200].decode("utf-8", "replace").strip() or response.reason)
    code, reason = response.status, str(status.get("reason", ""))
    if code == 401:
        text = f"{place} does not accept your credentials"
        return ApiError(text, "They may have expired: log in again.", status=code, reason=reason)
    if code == 403 and "exceeded quota" not in message and "violates PodSecurity" not in message:
        hint = f"Ask the cluster's administrator; cw rbac prints all that cw needs in namespace {place.namespace}."
        return ApiError(f"context {place.context} may not do this: {message}", hint, status=code, reason=reason)
    if code == 404 and message.startswith(f'namespaces "{place.namespace}"'):
        text = f"{place} has no namespace {place.namespace}"
        return ApiError(text, "Write -n with one that it has, or ask for it.", status=code, reason="NoNamespace")
    if code in RETRIED:
        text = f"{place} is busy or broken (HTTP {code}): {message}"
        return ApiError(text, "Try again.", status=code, reason=reason, retry_after=_seconds(response))
    resume = str((status.get("metadata") or {}).get("continue") or "")
    return ApiError(message, status=code, reason=reason, resume=resume)


def _seconds(response: Any) -> float:
    """What `Retry-After` asks for; a date, which API servers do not send, counts as nothing."""
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isdigit() else 0.0
