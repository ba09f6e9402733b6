"""How a cluster is reached: what a kubeconfig says, read as kubectl reads it, or a pod's own service account.

The official client's loader is asked only for sign-ins of old (`auth-provider`): it takes a fifth of a second to
import, and it goes on without credentials when a login program fails.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from cw_cli.core.exceptions import TargetError

LOGIN_SECONDS = 120.0
"""How long a login program may take where a person can answer it."""
UNATTENDED_SECONDS = 30.0

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")

Entry = Mapping[str, Any]
"""A mapping of a kubeconfig, with paths made absolute."""

# Fields that hold a path, relative to the file that they stand in.
_PATHS = ("certificate-authority", "client-certificate", "client-key", "tokenFile")


class Access(NamedTuple):
    """One context: where its API server is and how to speak to it."""

    context: str
    namespace: str
    server: str
    cluster: Entry
    user: Entry

    def credentials(self) -> Credentials:
        """What the server will accept; runs a login program if the kubeconfig names one. Raises `TargetError`."""
        if self.user.get("exec"):
            return _login(self.user["exec"], self)
        if self.user.get("auth-provider"):
            return _old_login(self.context)
        pair = _pem(self.user, "client-certificate"), _pem(self.user, "client-key")
        certificate = (pair[0], pair[1]) if pair[0] and pair[1] else None
        if path := self.user.get("tokenFile"):
            return Credentials(f"Bearer {_read(path).strip()}", certificate)
        if token := self.user.get("token"):
            return Credentials(f"Bearer {token}", certificate)
        if "username" in self.user and "password" in self.user:
            plain = f"{self.user['username']}:{self.user['password']}".encode()
            return Credentials(f"Basic {base64.b64encode(plain).decode()}", certificate)
        return Credentials(None, certificate)

    def tls(self, credentials: Credentials) -> ssl.SSLContext:
        """What verifies the server, and shows who the user is."""
        try:
            authority = _pem(self.cluster, "certificate-authority")
            context = ssl.create_default_context(cadata=authority)
            # kubectl takes authorities that Python 3.13 finds too sloppy.
            context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
            if self.cluster.get("insecure-skip-tls-verify"):
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            if credentials.certificate:
                _load_pair(context, *credentials.certificate)
        except ssl.SSLError as error:
            message = f"the certificates of context {self.context} cannot be read: {error.reason or error}"
            raise TargetError(message, "Get a new kubeconfig.") from None
        return context


class Credentials(NamedTuple):
    """What tells the server who asks: an `Authorization` header, a certificate with its key, or neither."""

    authorization: str | None
    certificate: tuple[str, str] | None = None


def read_access(context: str | None = None, namespace: str | None = None) -> Access:
    """The context that is asked for, else the kubeconfig's current one; inside a pod without a kubeconfig, its own.

    Raises `TargetError` when there is none, when it is broken, or has no such context.
    """
    files = [path for path in _files() if path.is_file()]
    if not files and context is None and os.environ.get("KUBERNETES_SERVICE_HOST") and SERVICE_ACCOUNT.is_dir():
        return _in_cluster(namespace)
    if not files:
        raise TargetError("there is no kubeconfig", "Set $KUBECONFIG, or put one at ~/.kube/config.")
    merged = _merged(files)
    shown = ", ".join(map(str, files))
    names = ", ".join(merged["contexts"]) or "none"
    wanted = context or merged["current-context"]
    if not wanted:
        raise TargetError(f"{shown} has no current context", f"Write --context; it has {names}.")
    if wanted not in merged["contexts"]:
        raise TargetError(f"the kubeconfig has no context {wanted}", f"It has {names}.")
    chosen = merged["contexts"][wanted]
    cluster = merged["clusters"].get(chosen.get("cluster"))
    if cluster is None or not isinstance(cluster.get("server"), str):
        raise TargetError(f"context {wanted} names a cluster that {shown} does not describe", "Mend the kubeconfig.")
    user = merged["users"].get(chosen.get("user"), {})
    space = namespace or chosen.get("namespace") or "default"
    return Access(wanted, space, cluster["server"].rstrip("/"), cluster, user)


def _files() -> list[Path]:
    if variable := os.environ.get("KUBECONFIG"):
        return [Path(part) for part in variable.split(os.pathsep) if part]
    return [Path.home() / ".kube" / "config"]


def _merged(files: Iterable[Path]) -> dict[str, Any]:
    """All files as one: the first that says something about a name has the word."""
    merged: dict[str, Any] = {"current-context": None, "contexts": {}, "clusters": {}, "users": {}}
    for path in files:
        content = _parsed(path)
        merged["current-context"] = merged["current-context"] or content.get("current-context")
        for kind, inner in (("contexts", "context"), ("clusters", "cluster"), ("users", "user")):
            for name, entry in _named(path, content, kind, inner):
                merged[kind].setdefault(name, _absolute(entry, path.parent))
    return merged


def _named(path: Path, content: Entry, kind: str, inner: str) -> Iterator[tuple[str, Entry]]:
    entries = content.get(kind) or []
    for item in entries if isinstance(entries, list) else [entries]:
        entry = (item.get(inner) or {}) if isinstance(item, dict) else None
        if not isinstance(entry, dict) or "name" not in item:
            message = f"the kubeconfig {path} cannot be used: {kind} is not a list of entries with names"
            raise TargetError(message, "Mend the file.")
        yield str(item["name"]), entry


def _parsed(path: Path) -> dict[str, Any]:
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        content = yaml.load(_read(path), Loader=loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise TargetError(f"{place}: this kubeconfig is not YAML", "Mend the file, or get a new one.") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise TargetError(f"{path} is not a kubeconfig", "Set $KUBECONFIG to one.")
    return content


def _absolute(entry: Entry, folder: Path) -> dict[str, Any]:
    paths = {key: str(folder.absolute() / entry[key]) for key in _PATHS if entry.get(key)}
    result = {**entry, **paths}
    login = entry.get("exec")
    if isinstance(login, dict) and os.sep in str(login.get("command", "")):
        result["exec"] = {**login, "command": str(folder.absolute() / login["command"])}
    return result


def _in_cluster(namespace: str | None) -> Access:
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    host = f"[{host}]" if ":" in host else host
    cluster = {"certificate-authority": str(SERVICE_ACCOUNT / "ca.crt")}
    space = namespace or _read(SERVICE_ACCOUNT / "namespace").strip()
    return Access("in-cluster", space, f"https://{host}:{port}", cluster, {"tokenFile": str(SERVICE_ACCOUNT / "token")})


def _pem(entry: Entry, key: str) -> str | None:
    """A certificate or key that an entry holds as base64 or names as a file."""
    if data := entry.get(f"{key}-data"):
        try:
            return base64.b64decode(data, validate=False).decode()
        except (binascii.Error, UnicodeDecodeError, TypeError):
            raise TargetError(f"{key}-data in the kubeconfig is not base64", "Get a new kubeconfig.") from None
    return _read(entry[key]) if entry.get(key) else None


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise TargetError(f"{path}, which the kubeconfig needs, cannot be read: {reason}", "Check the path.") from None


def _load_pair(context: ssl.SSLContext, certificate: str, key: str) -> None:
    """OpenSSL takes both from a file only: one that nobody else can read and that is gone at once."""
    with tempfile.NamedTemporaryFile("w", prefix="cw-", suffix=".pem") as file:
        file.write(f"{certificate}\n{key}")
        file.flush()
        context.load_cert_chain(file.name)


def _login(login: Entry, access: Access) -> Credentials:
    """Run the kubeconfig's login program (client.authentication.k8s.io)."""
    command = str(login.get("command") or "")
    if shutil.which(command) is None:
        hint = str(login.get("installHint") or "Install it, or use a context that needs none.").strip()
        raise TargetError(f"context {access.context} logs in with {command}, which is not installed", hint)
    attended = sys.stdin.isatty() and sys.stderr.isatty() and login.get("interactiveMode") != "Never"
    spec: dict[str, Any] = {"interactive": attended}
    if login.get("provideClusterInfo"):
        spec["cluster"] = _cluster_info(access)
    request = {"apiVersion": login.get("apiVersion"), "kind": "ExecCredential", "spec": spec}
    own = {item["name"]: item["value"] for item in login.get("env") or []}
    failed = f"{command}, with which context {access.context} logs in,"
    try:
        done = subprocess.run(
            [command, *(login.get("args") or [])],
            env={**os.environ, **own, "KUBERNETES_EXEC_INFO": json.dumps(request)},
            stdin=None if attended else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=None if attended else subprocess.PIPE,
            text=True,
            timeout=LOGIN_SECONDS if attended else UNATTENDED_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise TargetError(f"{failed} did not end within {error.timeout:.0f} s", "Log in by hand first.") from None
    except OSError as error:
        raise TargetError(f"{failed} cannot be started: {error.strerror}", "Check the program.") from None
    if done.returncode != 0:
        words = (done.stderr or "").strip().splitlines()
        said = f": {words[-1][:300]}" if words else ""
        raise TargetError(f"{failed} ended with exit code {done.returncode}{said}", "Log in by hand, then try again.")
    return _credential(done.stdout, failed)


def _cluster_info(access: Access) -> dict[str, Any]:
    info: dict[str, Any] = {"server": access.server}
    if authority := _pem(access.cluster, "certificate-authority"):
        info["certificate-authority-data"] = base64.b64encode(authority.encode()).decode()
    for key in ("insecure-skip-tls-verify", "tls-server-name", "proxy-url"):
        if access.cluster.get(key):
            info[key] = access.cluster[key]
    for extension in access.cluster.get("extensions") or []:
        if extension.get("name") == "client.authentication.k8s.io/exec":
            info["config"] = extension.get("extension")
    return info


def _credential(text: str, failed: str) -> Credentials:
    try:
        answer = json.loads(text)
    except ValueError:
        answer = None
    status = answer.get("status") if isinstance(answer, dict) else None
    status = status if isinstance(status, dict) else {}
    token, certificate, key = (status.get(name) for name in ("token", "clientCertificateData", "clientKeyData"))
    if not token and not (certificate and key):
        raise TargetError(f"{failed} printed no credentials", "Log in by hand, then try again.")
    return Credentials(f"Bearer {token}" if token else None, (certificate, key) if certificate and key else None)


def _old_login(context: str) -> Credentials:
    """A sign-in through `auth-provider`, which kubectl has left to login programs: the official client knows some."""
    from kubernetes import config
    from kubernetes.client import Configuration
    from kubernetes.config.config_exception import ConfigException

    settings: Any = Configuration()
    try:
        config.load_kube_config(context=context, client_configuration=settings)
    except ConfigException as error:
        raise TargetError(f"context {context} cannot log in: {error}", "Get a new kubeconfig.") from None
    header = next((item["value"] for item in settings.auth_settings().values()), None)
    return Credentials(header)
