"""The YAML that a template renders to: Kubernetes objects, with keys that are written twice or one level too high."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from cw_cli.core.exceptions import TemplateError
from cw_cli.core.problems import Origin, Problem

_SAFE_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

CONTAINER_KEYS = (
    *("args", "command", "env", "envFrom", "image", "imagePullPolicy", "lifecycle", "livenessProbe", "ports"),
    *("readinessProbe", "startupProbe", "stdin", "tty", "volumeDevices", "volumeMounts", "workingDir"),
)
"""What only a container has, and no pod."""


class _Loader(_SAFE_LOADER):  # type: ignore[misc]
    """Remembers the keys that are written twice, and where the keys of pods stand."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.twice: list[tuple[str, int, int]] = []
        """Key, and the lines of the first and of the second, counted from 0."""
        self.pods: list[tuple[dict[str, Any], dict[str, int]]] = []
        """Mappings with containers, and the line of each of their keys."""

    def build(self, node: yaml.MappingNode) -> Iterator[dict[str, Any]]:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                if key.value in lines:
                    self.twice.append((key.value, lines[key.value], key.start_mark.line))
                lines[key.value] = key.start_mark.line
        result: dict[str, Any] = {}
        yield result
        result.update(self.construct_mapping(node))
        if "containers" in lines:
            self.pods.append((result, lines))


_Loader.add_constructor("tag:yaml.org,2002:map", _Loader.build)


def read_manifests(text: str, template: Path, source: str) -> tuple[list[Any], list[Problem]]:
    """The documents of `text`, which `template` with the content `source` rendered to, and warnings.

    What a container needs and stands beside `containers` goes into the container when there is only one; otherwise,
    and for text that is not YAML, raises `TemplateError`.
    """
    loader = _Loader(text)
    places = _Places(template, source, text)
    documents = []
    try:
        while loader.check_data():
            documents.append(loader.get_data())
    except yaml.YAMLError as error:
        raise places.not_yaml(error) from None
    finally:
        loader.dispose()
    found = [
        places.warning(second, f"{key} is written twice, first in line {first + 1}; this one counts", "keep one")
        for key, first, second in loader.twice
    ]
    for pod, lines in loader.pods:
        found += _carried(pod, lines, places)
    return [document for document in documents if document is not None], found


def _carried(pod: dict[str, Any], lines: Mapping[str, int], places: _Places) -> Iterator[Problem]:
    """Put what stands beside `containers` and belongs into one where it belongs."""
    containers = pod["containers"]
    keys = [key for key in CONTAINER_KEYS if key in pod]
    if "resources" in pod and (keys or not _fit_for_pods(pod["resources"])):
        keys.append("resources")
    if not keys or not isinstance(containers, list) or not all(isinstance(item, dict) for item in containers):
        return
    keys.sort(key=lambda key: lines.get(key, 0))
    names, line = _joined(keys), min(lines.get(key, 0) for key in keys)
    what = f"{names} {'stand' if len(keys) > 1 else 'stands'} beside `containers`, where Kubernetes knows no such key"
    if len(containers) != 1:
        raise TemplateError(f"{places.shown(line)}: {what}", "Indent it under the container that is meant.")
    if taken := [key for key in keys if key in containers[0]]:
        hint = f"The container has its own {_joined(taken)}; keep one of them, in the container."
        raise TemplateError(f"{places.shown(line)}: {what}", hint)
    for key in keys:
        containers[0][key] = pod.pop(key)
    name = containers[0].get("name", "the only one")
    yield places.warning(line, f"{what}; taken as the container's ({name})", "indent by two more spaces")


def _fit_for_pods(resources: Any) -> bool:
    """Whether Kubernetes takes these for a whole pod: processor, memory and huge pages."""
    if not isinstance(resources, Mapping):
        return True
    names = [name for part in resources.values() if isinstance(part, Mapping) for name in part]
    return all(name in ("cpu", "memory") or str(name).startswith("hugepages-") for name in names)


def _joined(words: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


class _Places:
    """Lines of the rendered text, as lines of the template where that can be said."""

    def __init__(self, template: Path, source: str, text: str) -> None:
        self.template = template
        self.source = source.splitlines()
        self.text = text.splitlines()

    def origin(self, line: int) -> Origin:
        shown = self.text[line] if line < len(self.text) else ""
        if self.source != self.text:
            same = [number for number, other in enumerate(self.source) if other.strip() == shown.strip()]
            if len(same) != 1:
                return Origin(str(self.template))
            line, shown = same[0], self.source[same[0]]
        return Origin(str(self.template), line + 1, len(shown) - len(shown.lstrip()) + 1, shown)

    def shown(self, line: int) -> str:
        return str(self.origin(line))

    def warning(self, line: int, message: str, remedy: str) -> Problem:
        return Problem(message, remedy, self.origin(line), "warning")

    def not_yaml(self, error: yaml.YAMLError) -> TemplateError:
        mark = getattr(error, "problem_mark", None)
        shown = f": {self.text[mark.line].strip()!r}" if mark and mark.line < len(self.text) else ""
        problem = getattr(error, "problem", None) or "not YAML"
        return TemplateError(f"{self.template} renders to something that is not YAML ({problem}){shown}")
