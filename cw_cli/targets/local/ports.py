"""The ports of this machine that a run's services get, and the texts that name a service or its port. Pure but for
looking which ports are free."""

from __future__ import annotations

import contextlib
import functools
import re
import secrets
import socket
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from cw_cli.core.exceptions import TargetError

Manifest = Mapping[str, Any]
Name = tuple[str, int]
"""A Service object and one of its ports."""

HERE = "127.0.0.1"
_FIRST, _LAST = 20000, 32767
"""Below the ports that systems give to outgoing connections: a service that starts again finds its own still free."""
_SCHEME_PORTS = {"http": 80, "https": 443}
_PORT_FLAG = re.compile(r"(--(?:[\w-]*-)?port(?:=|\s+))(\d+)(?!\d)")
_LONE_PORT = re.compile(r"(:?)([0-9]{1,5})")
_PORT_OPTION = re.compile(r"-[pb]|--bind|--(?:[\w-]*-)?port")
_ANY_INTERFACE = re.compile(r"(?<![\d.])0\.0\.0\.0(?![\d.])(?::(\d+)(?!\d))?")


@dataclass(frozen=True)
class Addresses:
    """Where services answer on this machine."""

    named: Mapping[Name, Sequence[int]] = field(default_factory=dict)
    """The given port of each replica, by the name that the manifests use."""
    own: Mapping[str, Sequence[Mapping[int, int]]] = field(default_factory=dict)
    """For each replica of a Deployment: the container's ports and what they are here."""

    @property
    def services(self) -> set[str]:
        """Names of the Service objects."""
        return {name for name, _ in self.named}

    def in_text(self, text: str, replica: int = 0) -> str:
        """`text` with every `service:port` in it leading to one replica on this machine."""
        if not self.named:
            return text
        return self._mention.sub(lambda found: self._here(found, replica), text)

    def in_variable(self, text: str) -> str:
        """The same for the value of a variable; one that is nothing but a URL becomes one for each replica, separated
        by commas."""
        found = self._mention.match(text) if self.named and not re.search(r"[\s,]", text) else None
        given = self.named.get(_name(found)) if found and found["scheme"] else None
        return ",".join(self.in_text(text, replica) for replica in range(len(given or (0,))))

    def as_data(self) -> dict[str, list[int]]:
        """For the run's folder, where other runs read it."""
        return {f"{name}:{port}": list(given) for (name, port), given in self.named.items()}

    @classmethod
    def from_data(cls, data: Mapping[str, Sequence[int]]) -> Addresses:
        names = ((*text.rpartition(":")[::2], given) for text, given in data.items())
        return cls({(name, int(port)): given for name, port, given in names})

    @functools.cached_property
    def _mention(self) -> re.Pattern[str]:
        names = "|".join(map(re.escape, sorted(self.services, key=len, reverse=True)))
        # The rest of a name within a cluster: service.namespace.svc.cluster.local
        return re.compile(
            rf"(?<![\w.-])(?:(?P<scheme>https?)://)?(?P<name>{names})(?:\.[\w-]+)*"
            r"(?::(?P<port>\d+)(?![\w-])|(?![\w:-]))"
        )

    def _here(self, found: re.Match[str], replica: int) -> str:
        given = self.named.get(_name(found))
        if given is None:
            return found[0]
        scheme = f"{found['scheme']}://" if found["scheme"] else ""
        return f"{scheme}{HERE}:{given[min(replica, len(given) - 1)]}"


def _name(found: re.Match[str]) -> Name:
    return found["name"], int(found["port"] or _SCHEME_PORTS.get(found["scheme"] or "", 0))


def give_ports(objects: Sequence[Manifest], taken: Container[int]) -> Addresses:
    """A free port of this machine for every port of every replica of the Deployments among `objects`.

    Raises `TargetError` when this machine has no port left.
    """
    deployments = [item for item in objects if item.get("kind") == "Deployment"]
    if not deployments:
        return Addresses()
    from cw_cli.core.manifests import leads_to  # Whoever has manifests has imported it; looking after runs needs none.

    free = _free_ports(taken)
    named: dict[Name, list[int]] = {}
    own: dict[str, list[dict[int, int]]] = {}
    for deployment in deployments:
        container = deployment["spec"]["template"]["spec"]["containers"][0]
        declared = {port.get("name"): int(port["containerPort"]) for port in container.get("ports") or ()}
        ways: dict[Name, int] = {}
        for service in objects:
            if service.get("kind") == "Service" and leads_to(service, deployment):
                for port in service["spec"].get("ports") or ():
                    target = port.get("targetPort", port["port"])
                    ways[service["metadata"]["name"], int(port["port"])] = int(declared.get(target, target))
        inside = dict.fromkeys([*_all_ports(container), *ways.values()])
        replicas = [{port: next(free) for port in inside} for _ in range(replicas_of(deployment))]
        own[deployment["metadata"]["name"]] = replicas
        named |= {way: [replica[port] for replica in replicas] for way, port in ways.items()}
    return Addresses(named, own)


def replicas_of(deployment: Manifest) -> int:
    """How many processes a Deployment asks for."""
    return int(deployment["spec"].get("replicas", 1))


def _all_ports(container: Manifest) -> Iterator[int]:
    return (int(port["containerPort"]) for port in container.get("ports") or ())


def _free_ports(taken: Container[int]) -> Iterator[int]:
    count = _LAST - _FIRST + 1
    start = secrets.randbelow(count)
    for port in (_FIRST + (start + number) % count for number in range(count)):
        if port not in taken and _is_free(port):
            yield port
    raise TargetError("This machine has no free port left for a service.", "`cw list` shows which runs are going.")


def _is_free(port: int) -> bool:
    with socket.socket() as probe, contextlib.suppress(OSError):
        probe.bind(("", port))
        return True
    return False


def with_own_ports(words: Iterable[str], ports: Mapping[int, int]) -> tuple[str, ...]:
    """A service's command line with its given ports for the container's, listening for this machine alone.

    A number alone is a port unless it is the value of an option that does not speak of ports.
    """
    result: list[str] = []
    before = ""
    for word in words:
        lone = _LONE_PORT.fullmatch(word)
        if lone and (not before.startswith("-") or _PORT_OPTION.fullmatch(before)):
            result.append(lone[1] + str(ports.get(int(lone[2]), lone[2])))
        else:
            result.append(_listening_here(word, ports))
        before = word
    return tuple(result)


def own_variables(values: Mapping[str, str], ports: Mapping[int, int]) -> dict[str, str]:
    """A service's environment with its given ports; where the template does not, `HOST` and `PORT` tell where it has
    to listen."""
    numbers = {str(inside): str(given) for inside, given in ports.items()}
    result = {"HOST": HERE, "PORT": next(iter(numbers.values()))} if numbers else {}
    for name, value in values.items():
        is_port = name == "PORT" or name.endswith("_PORT")
        result[name] = numbers.get(value, value) if is_port else _listening_here(value, ports)
    return result


def _listening_here(text: str, ports: Mapping[int, int]) -> str:
    """A container listens to everybody because a cluster keeps the others out; this machine's network does not."""

    def here(found: re.Match[str]) -> str:
        return f"{HERE}:{ports.get(int(found[1]), int(found[1]))}" if found[1] else HERE

    def flag(found: re.Match[str]) -> str:
        return found[1] + str(ports.get(int(found[2]), found[2]))

    return _ANY_INTERFACE.sub(here, _PORT_FLAG.sub(flag, text))


def shown(health: str | None, ports: Mapping[int, int]) -> str | None:
    """Where a person reaches a service: the URL's own host and port, else its first port."""
    if health and (parts := urlsplit(health)).scheme != "tcp":
        return f"{parts.scheme}://{parts.netloc}"
    return f"{HERE}:{next(iter(ports.values()))}" if ports else None
