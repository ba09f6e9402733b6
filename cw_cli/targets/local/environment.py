"""A container's environment on this machine: plain values, references to what only a pod knows, and `$(VAR)`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from cw_cli.core.problems import Problem

Manifest = Mapping[str, Any]

_REFERENCE = re.compile(r"\$\$|\$\(([-._a-zA-Z0-9]+)\)")
_KEYED_FIELD = re.compile(r"metadata\.(labels|annotations)\['(.+)'\]")


def expand(text: str, environment: Mapping[str, str]) -> str:
    """`$(VAR)` replaced as Kubernetes does: `$$` is a dollar sign, unknown references stay as they are."""
    return _REFERENCE.sub(
        lambda match: "$" if match[1] is None else environment.get(match[1], match[0]),
        text,
    )


class Environment:
    """Reads the `env` and `envFrom` of one container.

    Secrets are never read: the process inherits the caller's environment, so a Secret's variable is only looked for
    there. `secrets` are the names of the variables that came from there.
    """

    def __init__(
        self,
        run: str,
        pod: Manifest,
        config_maps: Mapping[str, Manifest],
        caller: Mapping[str, str],
        localize: Callable[[str], str],
    ) -> None:
        self.run = run
        self.pod = pod
        self.config_maps = config_maps
        self.caller = caller
        self.localize = localize
        self.raw: dict[str, str] = {}
        """Values as the container would see them; local paths come last, so that none is replaced twice."""
        self.secrets: set[str] = set()
        self.problems: list[Problem] = []

    def read(self, container: Manifest) -> None:
        for source in container.get("envFrom") or ():
            self._read_whole(source)
        for entry in container.get("env") or ():
            value = self._value(entry)
            if value is not None:
                self.raw[entry["name"]] = value

    @property
    def values(self) -> dict[str, str]:
        """The variables to set, with local paths."""
        return {name: self.localize(value) for name, value in self.raw.items()}

    def text(self, text: str, where: str) -> str:
        """An argument as the process will get it: expanded, with local paths."""
        return self.localize(self._expanded(text, where))

    def _expanded(self, text: str, where: str) -> str:
        for match in _REFERENCE.finditer(text):
            if match[1] in self.secrets:
                self.problems.append(_secret_in_text(match[1], where))
        return expand(text, self.raw)

    def _read_whole(self, source: Manifest) -> None:
        prefix = source.get("prefix", "")
        match source:
            case {"configMapRef": reference}:
                config_map = self.config_maps.get(reference["name"])
                if config_map is None and not reference.get("optional"):
                    self.problems.append(_no_config_map(reference["name"]))
                for key, value in ((config_map or {}).get("data") or {}).items():
                    self.raw[prefix + key] = value
            case {"secretRef": reference} if not reference.get("optional"):
                self.problems.append(
                    Problem(
                        f"The container takes its environment from the Secret `{reference['name']}`, "
                        "which only the cluster knows.",
                        "Name each variable with a `secretKeyRef`; cw then takes it from your own environment.",
                    )
                )

    def _value(self, entry: Manifest) -> str | None:
        name = entry["name"]
        match entry.get("valueFrom"):
            case None:
                return self._expanded(str(entry.get("value") or ""), f"the variable {name}")
            case {"secretKeyRef": reference}:
                self._secret(name, reference)
                return None
            case {"configMapKeyRef": reference}:
                return self._config_map_key(reference)
            case {"fieldRef": {"fieldPath": path}}:
                return self._field(name, path)
            case source:
                kind = next(iter(source), "nothing")
                self.problems.append(
                    Problem(
                        f"The variable {name} comes from `{kind}`, which runs on this machine do not have.",
                        "Give it a plain value.",
                    )
                )
                return None

    def _secret(self, name: str, reference: Manifest) -> None:
        if name in self.caller:
            self.secrets.add(name)
        elif not reference.get("optional"):
            self.problems.append(
                Problem(
                    f"The run needs {name}, which on the cluster comes from the Secret `{reference.get('name', '')}`; "
                    "your environment has no such variable.",
                    f"Set it before you launch: export {name}=…",
                )
            )

    def _config_map_key(self, reference: Manifest) -> str | None:
        config_map = self.config_maps.get(reference["name"])
        value: str | None = ((config_map or {}).get("data") or {}).get(reference["key"])
        if value is None and not reference.get("optional"):
            self.problems.append(_no_config_map(reference["name"], reference["key"]))
        return value

    def _field(self, name: str, path: str) -> str | None:
        known = {
            "metadata.name": self.run,
            "metadata.namespace": "default",
            "spec.nodeName": "localhost",
            "status.podIP": "127.0.0.1",
            "status.hostIP": "127.0.0.1",
        }
        if keyed := _KEYED_FIELD.fullmatch(path):
            metadata = self.pod.get("metadata") or {}
            return str((metadata.get(keyed[1]) or {}).get(keyed[2], ""))
        if path not in known:
            self.problems.append(
                Problem(
                    f"The variable {name} comes from the pod's field `{path}`, which a local run does not have.",
                    "Give it a plain value.",
                )
            )
        return known.get(path)


def _no_config_map(name: str, key: str = "") -> Problem:
    what = f"the key `{key}` of the ConfigMap `{name}`" if key else f"the ConfigMap `{name}`"
    return Problem(f"The environment needs {what}, which is not among the run's objects.", "Add it to the template.")


def _secret_in_text(name: str, where: str) -> Problem:
    return Problem(
        f"`$({name})` puts a Secret into {where}, where every user of this machine could read it.",
        f"Let the program read {name} from its environment.",
    )
