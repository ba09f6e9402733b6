"""Templates to objects: strict rendering, values that cannot break out, names and references of the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cw_cli.core.exceptions import TemplateError
from cw_cli.core.manifests import in_apply_order, name_for_run, render

from .lab import patient

HEAD = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n"

HOSTILE = [
    "",
    " ",
    "null",
    "yes",
    "1e-5",
    "0x1F",
    "~",
    "{{ run }}",
    "{% raw %}",
    "{# #}",
    "a: b",
    "- a",
    "# no comment",
    "'",
    '"',
    '\\"\\',
    "a\nb: c\n---\nkind: Pod",
    "\t",
    "&a *b !c |",
    "<b>&amp;</b>",
    "naïve 日本語 🐍",
    "\x7f\x85\u2028\u2029\ufeff\u200b",
    "trailing \n",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("templates")


def rendered(folder: Path, text: str, **variables: Any) -> list[dict[str, Any]]:
    template = folder / "template.yaml"
    template.write_text(text, "utf-8")
    return render(template, variables)


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("place", ["data: {{ value }}", "data: {{ value | tojson }}", "data: [{{ value }}, 1]"])
def test_a_hostile_value_arrives_intact(folder: Path, place: str, value: str) -> None:
    (item,) = rendered(folder, f"{HEAD}{place}\n", value=value)
    assert item["data"] in (value, [value, 1])


@patient
@given(st.text())
@example("\x85")
def test_any_text_arrives_intact(folder: Path, value: str) -> None:
    (item,) = rendered(folder, f"{HEAD}data: {{{{ value }}}}\n", value=value)
    assert item["data"] == value


@pytest.mark.parametrize("value", [True, False, None, 7, 1.5, ["a", {"b": None}]])
def test_values_keep_their_type(folder: Path, value: Any) -> None:
    (item,) = rendered(folder, f"{HEAD}data: {{{{ value }}}}\n", value=value)
    assert item["data"] == value
    assert type(item["data"]) is type(value)


def test_conditions_and_loops(folder: Path) -> None:
    text = HEAD + "data:\n{% for item in items %}\n  - {{ item }}\n{% endfor %}\n{% if no %}\nextra: 1\n{% endif %}\n"
    (item,) = rendered(folder, text, items=["a: b", "c"], no=False)
    assert item["data"] == ["a: b", "c"]
    assert "extra" not in item


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (HEAD + "data: {{ missing }}\n", "'missing' is undefined"),
        (HEAD + "data: {{ missing.deep }}\n", "'missing' is undefined"),
        (HEAD + "{% if missing %}\n{% endif %}\n", "'missing' is undefined"),
        (HEAD + "data: {{ 1 +\n", "template.yaml:4"),
        (HEAD + "{% for %}\n", "template.yaml:4"),
        (HEAD + "data: [1\n", "not YAML"),
        ("just text\n", "no Kubernetes object"),
        ("- a\n", "no Kubernetes object"),
        ("apiVersion: v1\nkind: Pod\n", "no Kubernetes object"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {}\n", "no metadata.name"),
        ("apiVersion: v1\nmetadata: {name: x}\n", "no Kubernetes object"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: 7}\n", "no metadata.name"),
    ],
)
def test_a_template_that_makes_no_objects_is_told_by_name(folder: Path, text: str, words: str) -> None:
    with pytest.raises(TemplateError, match=words) as raised:
        rendered(folder, text, run="x")
    assert "template.yaml" in raised.value.message


def test_a_template_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match="cannot be read"):
        render(tmp_path / "missing.yaml", {})


def test_empty_documents_are_left_out(folder: Path) -> None:
    assert rendered(folder, f"---\n---\n{HEAD}---\n# nothing\n") == [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}}
    ]


def item(kind: str, name: str, **rest: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, **rest}


def test_references_follow_the_new_names() -> None:
    pod = {
        "subdomain": "base-ranks",
        "initContainers": [{"command": ["sh", "-c", "until nc base-reward 80; do :; done"]}],
        "containers": [
            {
                "command": ["curl", "http://base-reward.ns.svc:80/base-reward", "base-reward-model", "x.base-reward"],
                "env": [
                    {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "base-other", "key": "base-other"}}},
                    {"name": "B", "valueFrom": {"secretKeyRef": {"name": "base-secret", "key": "k"}}},
                    {"name": "C", "value": "base"},
                ],
                "envFrom": [{"configMapRef": {"name": "base-other"}}],
            }
        ],
        "volumes": [
            {"name": "base-config", "configMap": {"name": "base-config"}},
            {"name": "claim", "persistentVolumeClaim": {"claimName": "base-data"}},
            {"name": "outside", "persistentVolumeClaim": {"claimName": "models"}},
        ],
    }
    named = name_for_run(
        [
            item("Job", "base", spec={"template": {"spec": pod}}),
            item("Service", "base-reward"),
            item("Service", "base-ranks"),
            item("ConfigMap", "base-other"),
            item("PersistentVolumeClaim", "base-data"),
        ],
        "run-abc",
        "base",
        "base-config",
    )
    assert [each["metadata"]["name"] for each in named] == [
        "run-abc",
        "run-abc-reward",
        "run-abc-ranks",
        "run-abc-other",
        "run-abc-data",
    ]
    spec = named[0]["spec"]["template"]["spec"]
    main = spec["containers"][0]
    assert spec["subdomain"] == "run-abc-ranks"
    assert spec["initContainers"][0]["command"][2] == "until nc run-abc-reward 80; do :; done"
    assert main["command"] == [
        "curl",
        "http://run-abc-reward.ns.svc:80/run-abc-reward",
        "base-reward-model",
        "x.base-reward",
    ]
    assert main["env"][0]["valueFrom"]["configMapKeyRef"] == {"name": "run-abc-other", "key": "base-other"}
    assert main["env"][1]["valueFrom"]["secretKeyRef"]["name"] == "base-secret", "a secret of the user's stays"
    assert main["env"][2]["value"] == "base", "a plain word is no reference"
    assert main["envFrom"][0]["configMapRef"]["name"] == "run-abc-other"
    assert [volume["name"] for volume in spec["volumes"]] == ["base-config", "claim", "outside"]
    assert spec["volumes"][0]["configMap"]["name"] == "run-abc-config"
    assert spec["volumes"][1]["persistentVolumeClaim"]["claimName"] == "run-abc-data"
    assert spec["volumes"][2]["persistentVolumeClaim"]["claimName"] == "models"


def test_two_objects_do_not_get_one_name() -> None:
    named = name_for_run([item("Service", "base-a"), item("Service", "a"), item("Service", "base")], "r", "base", "c")
    names = [each["metadata"]["name"] for each in named]
    assert len(set(names)) == len(names)


def test_the_objects_that_are_given_are_not_changed() -> None:
    given_objects = [item("Job", "base", spec={"template": {}})]
    name_for_run(given_objects, "r", "base", "c")
    assert given_objects == [item("Job", "base", spec={"template": {}})]


def test_what_others_refer_to_comes_first() -> None:
    kinds = ["Job", "Deployment", "Widget", "Service", "ConfigMap", "PersistentVolumeClaim", "ConfigMap"]
    objects = [item(kind, f"{number}") for number, kind in enumerate(kinds)]
    ordered = [(each["kind"], each["metadata"]["name"]) for each in in_apply_order(objects)]
    assert ordered == [
        ("ConfigMap", "4"),
        ("ConfigMap", "6"),
        ("PersistentVolumeClaim", "5"),
        ("Service", "3"),
        ("Widget", "2"),
        ("Deployment", "1"),
        ("Job", "0"),
    ]
