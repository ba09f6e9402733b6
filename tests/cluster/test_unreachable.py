"""A cluster that cannot be used is reported at once, with its context's name and what to do."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .clusters import Cluster
from .conftest import Run

SECONDS = 5.0
"""A user waits no longer than this to hear that a cluster is not there."""

LAUNCH = ("trl", "sft", "config.yaml")


@pytest.fixture
def good(cluster: Cluster, namespace: str) -> dict[str, Any]:
    """The test cluster's kubeconfig as plain data, all of it in one file."""
    text = cluster.kubectl("config", "view", "--raw", "--flatten", "--minify", "-o", "json")
    content: dict[str, Any] = json.loads(text)
    content["contexts"][0]["name"] = content["current-context"] = "lab"
    content["contexts"][0]["context"]["namespace"] = namespace
    return content


@pytest.fixture
def said(cw: Callable[..., Run], tmp_path: Path) -> Callable[..., str]:
    """What cw says, with this kubeconfig, to `cw list` and to a launch; both fail in time with exit code 1."""
    (tmp_path / "config.yaml").write_text(
        "model_name: owner/model\ndataset_name: owner/data\nvolumes: {model-checkpoints: null}\n"
    )
    path = tmp_path / "kubeconfig"

    def ask(content: dict[str, Any] | str, *flags: str) -> str:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        for command in (("list",), LAUNCH):
            for _ in range(2):  # a machine that is busy with other tests gets a second chance
                began = time.monotonic()
                done = cw(*command, *flags, env={"KUBECONFIG": str(path)})
                took = time.monotonic() - began
                if took < SECONDS:
                    break
            assert done.code == 1, (command, done)
            assert done.out == ""
            assert took < SECONDS, (command, took)
            assert "Warning" not in done.err and "urllib3" not in done.err, done.err
            errors = [line for line in done.err.splitlines() if line.startswith("error:")]
            assert len(errors) == 1 and "hint:" in done.err, done.err
        return done.err

    return ask


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        kept: list[socket.socket] = []

        def accept() -> None:
            try:
                while True:
                    kept.append(server.accept()[0])
            except OSError:
                pass

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
        for connection in kept:
            connection.close()


def at(content: dict[str, Any], server: str) -> dict[str, Any]:
    content["clusters"][0]["cluster"]["server"] = server
    return content


def as_user(content: dict[str, Any], **user: Any) -> dict[str, Any]:
    content["users"][0]["user"] = user
    return content


def test_nobody_listens(good: dict[str, Any], said: Callable[..., str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    text = said(at(good, f"https://127.0.0.1:{port}"))
    assert "context lab" in text and "cannot be reached" in text and "VPN" in text


@pytest.mark.parametrize("scheme", ["https", "http"])
def test_a_server_that_never_answers(good: dict[str, Any], said: Callable[..., str], silent: int, scheme: str) -> None:
    text = said(at(good, f"{scheme}://127.0.0.1:{silent}"))
    assert "context lab" in text and ("does not answer" in text or "cannot be reached" in text)


def test_an_address_that_leads_nowhere(good: dict[str, Any], said: Callable[..., str]) -> None:
    text = said(at(good, "https://192.0.2.1:6443"))
    assert "context lab" in text and "cannot be reached" in text


def test_a_name_that_has_no_address(good: dict[str, Any], said: Callable[..., str]) -> None:
    text = said(at(good, "https://cluster.invalid:6443"))
    assert "context lab" in text and "cannot be reached" in text


def test_a_server_that_speaks_no_tls(good: dict[str, Any], said: Callable[..., str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            for _ in range(2):
                connection, _ = server.accept()
                with connection:
                    connection.recv(1000)
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        text = said(at(good, f"https://127.0.0.1:{server.getsockname()[1]}"))
    assert "context lab" in text and "encrypted" in text


def test_another_authority_signed_the_certificate(good: dict[str, Any], said: Callable[..., str]) -> None:
    good["clusters"][0]["cluster"].pop("certificate-authority-data", None)
    text = said(good)
    assert "context lab" in text and "cannot be verified" in text


def test_a_certificate_that_is_not_verified_is_not_warned_of(
    good: dict[str, Any], cw: Callable[..., Run], tmp_path: Path
) -> None:
    good["clusters"][0]["cluster"].pop("certificate-authority-data", None)
    good["clusters"][0]["cluster"]["insecure-skip-tls-verify"] = True
    (tmp_path / "insecure").write_text(json.dumps(good))
    done = cw("list", env={"KUBECONFIG": str(tmp_path / "insecure")})
    assert done.code == 0 and "Warning" not in done.err, done


def test_a_token_that_is_not_valid(good: dict[str, Any], said: Callable[..., str]) -> None:
    text = said(as_user(good, token="nonsense"))
    assert "context lab" in text and "credentials" in text and "log in" in text


def test_a_token_that_http_cannot_carry(good: dict[str, Any], said: Callable[..., str]) -> None:
    assert "context lab" in said(as_user(good, token="two\nlines"))


def test_a_user_without_rights(
    good: dict[str, Any], said: Callable[..., str], kube: Callable[..., Any], namespace: str
) -> None:
    kube("create", "serviceaccount", "nobody")
    token = kube("create", "token", "nobody").strip()
    text = said(as_user(good, token=token))
    assert "context lab may not" in text and f"system:serviceaccount:{namespace}:nobody" in text and "cw rbac" in text


def test_a_namespace_that_does_not_exist(good: dict[str, Any], said: Callable[..., str]) -> None:
    text = said(good, "-n", "nowhere")
    assert "context lab" in text and "has no namespace nowhere" in text


def login(**more: Any) -> dict[str, Any]:
    return {"apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "IfAvailable", **more}


def test_a_login_program_that_is_missing(good: dict[str, Any], said: Callable[..., str]) -> None:
    text = said(as_user(good, exec=login(command="no-such-login", installHint="Get it from the platform team.")))
    assert "context lab logs in with no-such-login, which is not installed" in text
    assert "Get it from the platform team." in text


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo 'session expired' >&2; exit 3", "exit code 3: session expired"),
        ("echo nonsense", "printed no credentials"),
        ("true", "printed no credentials"),
        ("""echo '{"status": {"token": "nonsense"}}'""", "does not accept your credentials"),
    ],
)
def test_a_login_program_that_fails(good: dict[str, Any], said: Callable[..., str], script: str, words: str) -> None:
    text = said(as_user(good, exec=login(command="sh", args=["-c", script])))
    assert "context lab" in text and words in text


def test_a_login_program_that_works(good: dict[str, Any], cw: Callable[..., Run], tmp_path: Path) -> None:
    given = good["users"][0]["user"]
    names = {"token": "token", "client-certificate-data": "clientCertificateData", "client-key-data": "clientKeyData"}
    import base64

    status = {
        name: base64.b64decode(given[key]).decode() if key.endswith("-data") else given[key]
        for key, name in names.items()
        if key in given
    }
    (tmp_path / "answer").write_text(json.dumps({"status": status}))
    as_user(good, exec=login(command="./login", env=[{"name": "ANSWER", "value": str(tmp_path / "answer")}]))
    (tmp_path / "login").write_text('#!/bin/sh\ntest -n "$KUBERNETES_EXEC_INFO" && cat "$ANSWER"\n')
    (tmp_path / "login").chmod(0o755)
    (tmp_path / "works").write_text(json.dumps(good))
    done = cw("list", env={"KUBECONFIG": str(tmp_path / "works")})
    assert done.code == 0, done.err


@pytest.mark.parametrize(
    "text",
    ["{contexts: [", "- a\n- list\n", "contexts: 7\n", "contexts: [{}]\n", "", "current-context: lab\n", "\tx"],
)
def test_a_kubeconfig_that_is_broken(said: Callable[..., str], text: str) -> None:
    assert "kubeconfig" in said(text)


def test_a_context_that_names_no_cluster(good: dict[str, Any], said: Callable[..., str]) -> None:
    good["contexts"][0]["context"]["cluster"] = "gone"
    assert "context lab" in said(good)


@pytest.mark.parametrize("server", ["not a url", "https://", "https://host:port", "ftp://host"])
def test_an_address_that_is_none(good: dict[str, Any], said: Callable[..., str], server: str) -> None:
    assert "context lab" in said(at(good, server))


def test_certificates_that_are_broken(good: dict[str, Any], said: Callable[..., str]) -> None:
    good["clusters"][0]["cluster"]["certificate-authority-data"] = "bm8gY2VydGlmaWNhdGU="
    assert "context lab" in said(good)


def test_a_context_that_is_missing(good: dict[str, Any], said: Callable[..., str]) -> None:
    text = said(good, "--context", "other")
    assert "no context other" in text and "lab" in text
