"""Templates to Kubernetes objects: rendered strictly, parsed at once, named for the run, put in apply order."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import markupsafe

from cw_cli.core.exceptions import TemplateError
from cw_cli.core.names import ROLE, object_name
from cw_cli.core.problems import Problem
from cw_cli.core.yaml_manifests import read_manifests

APPLY_ORDER = ("ConfigMap", "PersistentVolumeClaim", "NetworkPolicy", "Service", "Deployment", "Job")
"""What others refer to comes first; kinds that are not listed come between Service and Deployment."""

_UNPRINTABLE = re.compile(r"[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")

# Fields that hold the name of another object: the kind it names, and the field's path from its parent's key.
_REFERENCES: dict[str, tuple[str, str]] = {
    "configMap": ("ConfigMap", "name"),
    "configMapRef": ("ConfigMap", "name"),
    "configMapKeyRef": ("ConfigMap", "name"),
    "persistentVolumeClaim": ("PersistentVolumeClaim", "claimName"),
    "secretRef": ("Secret", "name"),
    "secretKeyRef": ("Secret", "name"),
    "secret": ("Secret", "secretName"),
}


def render(
    template: Path, variables: Mapping[str, Any], folders: Sequence[Path] = (), found: list[Problem] | None = None
) -> list[dict[str, Any]]:
    """The objects of a template file, which may include files of `folders`; warnings about it are added to `found`.

    What an expression prints is JSON, so that no value can break out of its place; an undefined variable is an
    error. Raises `TemplateError` with the template's file and line.
    """
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        finalize=_as_json,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        loader=jinja2.FileSystemLoader(folders),
    )
    environment.filters["tojson"] = lambda value: markupsafe.Markup(_json(value))
    source = _read(template)
    try:
        text = environment.from_string(source).render(variables)
    except jinja2.TemplateSyntaxError as error:
        where = error.filename or template
        raise TemplateError(f"{where}:{error.lineno}: {error.message}", "Mend the template.") from None
    except jinja2.TemplateNotFound as error:
        looked = ", ".join(map(str, folders)) or "no folder"
        raise TemplateError(f"{template} includes {error.name}, which is not there", f"Looked in {looked}.") from None
    except jinja2.UndefinedError as error:
        known = ", ".join(sorted(variables))
        raise TemplateError(f"{template}: {error.message}", f"A template may use {known}.") from None
    documents, warnings = read_manifests(text, template, source)
    if found is not None:
        found += warnings
    return _objects(documents, template)


def _as_json(value: Any) -> Any:
    """What Jinja prints for an expression; `tojson` has encoded its own result already."""
    if isinstance(value, jinja2.Undefined) or hasattr(value, "__html__"):
        return value
    return _json(value)


def _json(value: Any) -> str:
    """JSON that YAML reads as the same: YAML joins no surrogate pairs, and takes some characters for line ends."""
    text = json.dumps(value, ensure_ascii=False)
    return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _read(template: Path) -> str:
    try:
        return template.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TemplateError(f"the template {template} cannot be read: {error}", "Name a file that exists.") from None


def _objects(documents: list[Any], template: Path) -> list[dict[str, Any]]:
    for document in documents:
        metadata = document.get("metadata") if isinstance(document, dict) else None
        if not isinstance(metadata, dict) or not document.get("kind") or not document.get("apiVersion"):
            raise TemplateError(
                f"{template} holds something that is no Kubernetes object",
                "Every document needs apiVersion, kind and metadata.name.",
            )
        if not isinstance(metadata.get("name"), str):
            raise TemplateError(f"{template}: a {document['kind']} has no metadata.name", "Give it a fixed base name.")
    return documents


def name_for_run(
    objects: Iterable[Mapping[str, Any]], run: str, job: str, config_map: str, services_of: str | None = None
) -> list[dict[str, Any]]:
    """The objects under names of this run, with every reference to them following.

    The Job called `job` becomes `run`, the ConfigMap called `config_map` becomes `<run>-config` whether or not it is
    among the objects, and any other object `<run>-<what its name adds to the job's>`. With `services_of` the
    Deployments, and the Services and Secrets that are theirs, are named as those of that run.
    """
    objects = list(objects)
    names = {("ConfigMap", config_map): object_name(run, "config")}
    elsewhere = {id(item) for item in deployed(objects)} if services_of else set()
    for item in objects:
        kind, name = item["kind"], item["metadata"]["name"]
        if (kind, name) == ("Job", job):
            names[kind, name] = run
        elif (kind, name) not in names:
            taken = {new for (other, _), new in names.items() if other == kind}
            # `job-model` and `model` both add `model`; then the second keeps its whole name.
            parts = (_own_part(name, job), name, *(f"{name}-{number}" for number in range(2, len(objects) + 2)))
            owner = services_of if services_of and id(item) in elsewhere else run
            names[kind, name] = next(new for part in parts if (new := object_name(owner, part)) not in taken)
    mentions = {old: new for (kind, old), new in names.items() if kind == "Service"}
    return [_named(item, names, _mention_replacer(mentions)) for item in objects]


def deployed(objects: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The Deployments among the objects, the Services that lead to them, and the Secrets of their roles."""
    deployments = [item for item in objects if item["kind"] == "Deployment"]
    others = [item for item in objects if item["kind"] in ("Service", "Secret")]
    return [*deployments, *(item for item in others if any(belongs_to(item, other) for other in deployments))]


def belongs_to(item: Mapping[str, Any], workload: Mapping[str, Any]) -> bool:
    """Whether a Service leads to the workload's pods, or a Secret has the label of its role."""
    if item["kind"] == "Service":
        return leads_to(item, workload)
    role = _role_of(item)
    return item["kind"] == "Secret" and bool(role) and role == _role_of(workload)


def _role_of(item: Mapping[str, Any]) -> str | None:
    found: str | None = (item["metadata"].get("labels") or {}).get(ROLE)
    return found


def leads_to(service: Mapping[str, Any], workload: Mapping[str, Any]) -> bool:
    """Whether the Service selects the workload's pods."""
    template = workload["spec"].get("template") or {}
    labels = (template.get("metadata") or {}).get("labels") or {}
    chosen = (service.get("spec") or {}).get("selector") or {}
    return bool(chosen) and all(labels.get(key) == value for key, value in chosen.items())


def _own_part(name: str, job: str) -> str:
    """What tells `name` apart from the job's name: `ranks` of `cw-trl-train-sft-ranks`."""
    words, common = name.split("-"), job.split("-")
    shared = 0
    while shared < len(words) - 1 and shared < len(common) and words[shared] == common[shared]:
        shared += 1
    return "-".join(words[shared:])


def _named(
    item: Mapping[str, Any], names: Mapping[tuple[str, str], str], mention: Callable[[str], str]
) -> dict[str, Any]:
    result: dict[str, Any] = _follow(item, names, mention)
    result["metadata"] = {**result["metadata"], "name": names[item["kind"], item["metadata"]["name"]]}
    return result


def _follow(value: Any, names: Mapping[tuple[str, str], str], mention: Callable[[str], str], key: str = "") -> Any:
    """A copy of `value` in which typed references, and mentions of Services in text, follow the new names."""
    if isinstance(value, list):
        return [_follow(item, names, mention, key) for item in value]
    if isinstance(value, str):
        return mention(value)
    if not isinstance(value, dict):
        return value
    result = {name: _follow(item, names, mention, name) for name, item in value.items()}
    kind, field = _REFERENCES.get(key, ("", ""))
    if isinstance(value.get(field), str):
        result[field] = names.get((kind, value[field]), value[field])
    for field in ("subdomain", "serviceName"):
        if isinstance(value.get(field), str):
            result[field] = names.get(("Service", value[field]), value[field])
    return result


def _mention_replacer(names: Mapping[str, str]) -> Callable[[str], str]:
    """A function that replaces whole-word mentions of these names in a text."""
    if not names:
        return lambda text: text
    alternatives = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    pattern = re.compile(rf"(?<![\w.-])({alternatives})(?![\w-])")
    return lambda text: pattern.sub(lambda match: names[match[1]], text)


def in_apply_order(objects: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The objects with what others refer to before those that refer to it."""

    def rank(item: Mapping[str, Any]) -> float:
        kind = item["kind"]
        return APPLY_ORDER.index(kind) if kind in APPLY_ORDER else APPLY_ORDER.index("Service") + 0.5

    return [dict(item) for item in sorted(objects, key=rank)]
