"""The one patch that every trainer gets, whether its template is ours or a plain file of somebody else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cw_cli.core.exceptions import TemplateError
from cw_cli.core.framework import BaseTrainingFramework
from cw_cli.core.patch import DEFAULT_TTL, merged
from cw_cli.core.yaml_writer import to_yaml, to_yaml_stream

from .lab import BASE, container_of, env_of, job_of, patient, planned, pod_of, trl
from .static_framework import StaticFramework
from .test_manifests import HOSTILE

POD = {
    "runAsNonRoot": True,
    "runAsUser": 1000,
    "runAsGroup": 1000,
    "fsGroup": 1000,
    "fsGroupChangePolicy": "OnRootMismatch",
    "seccompProfile": {"type": "RuntimeDefault"},
}
CONTAINER = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


@pytest.fixture(params=["ours", "static"])
def framework(request: pytest.FixtureRequest) -> BaseTrainingFramework:
    """Our own template, and one with none of our variables: what cw says must reach both."""
    return trl() if request.param == "ours" else StaticFramework()


def test_names_and_labels(framework: BaseTrainingFramework) -> None:
    plan = planned(BASE + "labels: {team: vision}\nannotations: {note: 'a b'}\n", framework=framework, user="ada")
    identity = {
        "app.kubernetes.io/managed-by": "cw",
        "cw.dev/run": plan.run,
        "cw.dev/framework": framework.name,
        "cw.dev/type": "sft",
        "cw.dev/user": "ada",
        "team": "vision",
    }
    job = job_of(plan)
    assert job["metadata"]["name"] == plan.run
    for metadata in (job["metadata"], job["spec"]["template"]["metadata"]):
        assert metadata["labels"].items() >= {**identity, "cw.dev/role": "trainer"}.items()
        assert metadata["annotations"]["note"] == "a b"
    config = next(item for item in plan.objects if item["metadata"]["name"] == f"{plan.run}-config")
    assert config["metadata"]["labels"].items() >= identity.items()
    assert "cw.dev/role" not in config["metadata"]["labels"]


def test_the_template_keeps_its_own_labels() -> None:
    job = job_of(planned(BASE, framework=StaticFramework()))
    assert job["metadata"]["labels"]["app"] == "team-train"
    assert job["spec"]["template"]["metadata"]["labels"]["app"] == "team-train"


@pytest.mark.parametrize("namespace", [None, "research"])
def test_the_namespace_is_the_users(framework: BaseTrainingFramework, namespace: str | None) -> None:
    plan = planned(BASE, framework=framework, namespace=namespace)
    assert {item["metadata"].get("namespace") for item in plan.objects} == {namespace}


def test_resources_replace_what_the_template_says(framework: BaseTrainingFramework) -> None:
    plan = planned(BASE + 'gpu: 4\ncpu: "16"\nmemory: 256Gi\n', framework=framework)
    both = {"nvidia.com/gpu": "4", "cpu": "16", "memory": "256Gi"}
    assert container_of(plan)["resources"] == {"limits": both, "requests": both}
    assert (plan.roles[0].resources.gpu, plan.roles[0].resources.memory) == (4, "256Gi")


def test_requests_may_differ_from_limits(framework: BaseTrainingFramework) -> None:
    text = "cpu: 16\nresources: {requests: {cpu: 8}, limits: {rdma/hca: 1, memory: 1Ti}}\n"
    resources = container_of(planned(BASE + text, framework=framework))["resources"]
    assert (resources["limits"]["cpu"], resources["requests"]["cpu"]) == ("16", "8")
    assert (resources["limits"]["rdma/hca"], resources["limits"]["memory"]) == ("1", "1Ti")
    assert "rdma/hca" not in resources["requests"]


def test_no_gpu_takes_the_templates_gpus_away(framework: BaseTrainingFramework) -> None:
    plan = planned(BASE + "gpu: 0\n", framework=framework)
    resources = container_of(plan)["resources"]
    assert "nvidia.com/gpu" not in {**resources["limits"], **resources["requests"]}
    assert "tolerations" not in pod_of(plan)


def test_the_template_speaks_where_the_user_does_not() -> None:
    resources = container_of(planned(BASE, framework=StaticFramework()))["resources"]
    assert resources["limits"] == {"nvidia.com/gpu": "8", "cpu": "32", "memory": "1600Gi"}


def test_the_image(framework: BaseTrainingFramework) -> None:
    default = container_of(planned(BASE, framework=framework))
    assert default["image"] == framework.get_default_image()
    assert "imagePullPolicy" not in default
    chosen = container_of(planned(BASE + "image: mine/trainer:2\npull: true\n", framework=framework))
    assert (chosen["image"], chosen["imagePullPolicy"]) == ("mine/trainer:2", "Always")


@pytest.mark.parametrize("value", HOSTILE)
def test_hostile_values_reach_the_cluster_intact(framework: BaseTrainingFramework, value: str) -> None:
    settings = to_yaml({"env": {"X": value}, "annotations": {"a": value}})
    plan = planned(BASE, framework=framework, settings=settings)
    job = next(item for item in yaml.safe_load_all(to_yaml_stream(plan.objects)) if item["kind"] == "Job")
    entries = job["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {"name": "X", "value": value} in entries
    assert job["metadata"]["annotations"]["a"] == value


def test_the_environment_and_secrets(framework: BaseTrainingFramework) -> None:
    text = "env: {SEED: 7, HF_TOKEN: ''}\nsecrets: {KEY: {name: s, key: k, optional: true}, OTHER: t}\n"
    plan = planned(BASE + text, framework=framework)
    env = env_of(plan)
    assert env["SEED"] == "7"
    assert env["HF_TOKEN"] == "", "the user's value replaces the template's secret"
    assert env["KEY"] == {"secretKeyRef": {"name": "s", "key": "k", "optional": True}}
    assert env["OTHER"] == {"secretKeyRef": {"name": "t", "key": "OTHER"}}
    assert env["CW_RUN"] == plan.run
    assert len(env) == len(container_of(plan)["env"]), "each variable stands there once"


def test_volumes_are_added_and_dropped(framework: BaseTrainingFramework) -> None:
    text = "volumes:\n  my.data: /data:ro\n  scratch: {path: /scratch, empty_dir: 5Gi}\n  model-checkpoints: null\n"
    plan = planned(BASE + text + "output_dir: /scratch/out\n", framework=framework)
    volumes = {volume["name"]: volume for volume in pod_of(plan)["volumes"]}
    mounts = {mount["mountPath"]: mount for mount in container_of(plan)["volumeMounts"]}
    assert volumes["my-data"]["persistentVolumeClaim"] == {"claimName": "my.data"}
    assert mounts["/data"] == {"name": "my-data", "mountPath": "/data", "readOnly": True}
    assert volumes["scratch"]["emptyDir"] == {"sizeLimit": "5Gi"}
    assert "model-checkpoints" not in volumes
    assert "/model-checkpoints" not in mounts


def test_a_volume_takes_the_place_of_the_templates(framework: BaseTrainingFramework) -> None:
    plan = planned(BASE + "volumes: {mine: /model-checkpoints}\n", framework=framework)
    mounts = [
        mount["name"] for mount in container_of(plan)["volumeMounts"] if mount["mountPath"] == "/model-checkpoints"
    ]
    assert mounts == ["mine"]
    assert {"name": "mine", "persistentVolumeClaim": {"claimName": "mine"}} in pod_of(plan)["volumes"]


def test_every_mount_has_its_volume_and_no_path_is_used_twice(framework: BaseTrainingFramework) -> None:
    for text in ("", "volumes: {a: /model-checkpoints, b: /data}\n", "volumes: {model-checkpoints: null}\n"):
        plan = planned(BASE + text, framework=framework)
        names = [volume["name"] for volume in pod_of(plan)["volumes"]]
        mounts = container_of(plan)["volumeMounts"]
        assert {mount["name"] for mount in mounts} <= set(names)
        assert len(set(names)) == len(names)
        assert len({mount["mountPath"] for mount in mounts}) == len(mounts)


def test_the_config_map_of_the_run_is_mounted_where_the_template_wants_it(framework: BaseTrainingFramework) -> None:
    plan = planned(BASE, framework=framework)
    sources = [volume["configMap"]["name"] for volume in pod_of(plan)["volumes"] if "configMap" in volume]
    assert f"{plan.run}-config" in sources


def test_placement(framework: BaseTrainingFramework) -> None:
    text = "gpu: H100:2\nnode_selector: {zone: a, spot: true}\ntolerations: [spot=yes:NoSchedule]\npriority: high\n"
    pod = pod_of(planned(BASE + text, framework=framework))
    assert pod["nodeSelector"] == {"zone": "a", "spot": "true"}
    assert pod["priorityClassName"] == "high"
    assert {"key": "spot", "operator": "Equal", "value": "yes", "effect": "NoSchedule"} in pod["tolerations"]
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in pod["tolerations"]
    terms = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert terms[0]["matchExpressions"][0]["key"] == "nvidia.com/gpu.product"


def test_times_and_attempts(framework: BaseTrainingFramework) -> None:
    spec = job_of(planned(BASE + "timeout: 8h\nretries: 3\nttl: 1d\n", framework=framework))["spec"]
    assert (spec["activeDeadlineSeconds"], spec["backoffLimit"], spec["ttlSecondsAfterFinished"]) == (28800, 3, 86400)
    spec = job_of(planned(BASE, framework=framework))["spec"]
    assert "activeDeadlineSeconds" not in spec
    assert (spec["backoffLimit"], spec["ttlSecondsAfterFinished"]) == (0, DEFAULT_TTL)


def test_a_queue_admits_the_job(framework: BaseTrainingFramework) -> None:
    job = job_of(planned(BASE + "queue: team\n", framework=framework))
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team"
    assert job["spec"]["suspend"] is True


def test_pods_get_no_token_unless_asked_for(framework: BaseTrainingFramework) -> None:
    assert pod_of(planned(BASE, framework=framework))["automountServiceAccountToken"] is False
    asked = planned(BASE + "pod: {automountServiceAccountToken: true}\n", framework=framework)
    assert pod_of(asked)["automountServiceAccountToken"] is True


def test_the_users_pod_patch_has_the_last_word(framework: BaseTrainingFramework) -> None:
    text = """
pod:
  hostNetwork: true
  restartPolicy: null
  containers:
    - name: trainer
      workingDir: /elsewhere
      securityContext: {runAsUser: 1000}
      env: [{name: EXTRA, value: "1"}]
    - name: sidecar
      image: busybox
  volumes:
    - {name: extra, emptyDir: {}}
"""
    pod = pod_of(planned(BASE + text, framework=framework))
    trainer, sidecar = pod["containers"]
    assert pod["hostNetwork"] is True
    assert "restartPolicy" not in pod
    assert (trainer["workingDir"], trainer["securityContext"]["runAsUser"]) == ("/elsewhere", 1000)
    assert trainer["command"], "what the patch does not name stays"
    assert {"EXTRA", "CW_RUN", "HF_TOKEN"} <= {entry["name"] for entry in trainer["env"]}
    assert sidecar == {"name": "sidecar", "image": "busybox", "securityContext": CONTAINER}
    assert "extra" in {volume["name"] for volume in pod["volumes"]}


def test_pods_are_as_restricted_as_a_namespace_can_ask(framework: BaseTrainingFramework) -> None:
    plan = planned(BASE + "pod: {initContainers: [{name: first, image: busybox}]}\n", framework=framework)
    assert pod_of(plan)["securityContext"] == POD
    assert container_of(plan)["securityContext"].items() >= CONTAINER.items()
    (first,) = pod_of(plan)["initContainers"]
    assert first["securityContext"] == CONTAINER


@pytest.mark.parametrize(
    ("said", "pod", "container"),
    [
        ("securityContext: {runAsUser: 7, seccompProfile: {type: Unconfined}}",
         {**POD, "runAsUser": 7, "seccompProfile": {"type": "Unconfined"}}, CONTAINER),
        ("securityContext: {runAsUser: 0}", {**{key: POD[key] for key in POD if key != "runAsNonRoot"}, "runAsUser": 0},
         CONTAINER),
        ("securityContext: {fsGroup: null}", {key: POD[key] for key in POD if key != "fsGroup"}, CONTAINER),
        ("securityContext: null", None, CONTAINER),
        ("containers: [{name: trainer, securityContext: {runAsUser: 0}}]", POD,
         {**CONTAINER, "runAsUser": 0, "runAsNonRoot": False}),
        ("containers: [{name: trainer, securityContext: {capabilities: {add: [IPC_LOCK]}}}]", POD,
         {**CONTAINER, "capabilities": {"drop": ["ALL"], "add": ["IPC_LOCK"]}}),
        ("containers: [{name: trainer, securityContext: {privileged: true}}]", POD,
         {"privileged": True, "capabilities": {"drop": ["ALL"]}}),
        ("containers: [{name: trainer, securityContext: {capabilities: {add: [SYS_ADMIN]}}}]", POD,
         {"capabilities": {"drop": ["ALL"], "add": ["SYS_ADMIN"]}}),
    ],
)  # fmt: skip
def test_what_is_said_on_security_wins(said: str, pod: dict[str, Any] | None, container: dict[str, Any]) -> None:
    patched = planned(BASE + f"pod:\n  {said}\n", framework=StaticFramework())
    assert pod_of(patched).get("securityContext") == pod
    assert container_of(patched)["securityContext"] == container


def test_what_the_template_says_on_security_wins(tmp_path: Path) -> None:
    template = tmp_path / "job.yaml"
    template.write_text(
        "apiVersion: batch/v1\nkind: Job\nmetadata: {name: team-train-sft}\nspec: {template: {spec: {"
        "securityContext: {runAsUser: 0, fsGroup: 5}, containers: ["
        "{name: trainer, image: x, securityContext: {readOnlyRootFilesystem: true, allowPrivilegeEscalation: true}}]"
        "}}}\n"
    )
    plan = planned(BASE, framework=StaticFramework(template))
    security = pod_of(plan)["securityContext"]
    assert (security["runAsUser"], security["fsGroup"], "runAsNonRoot" in security) == (0, 5, False)
    mine = container_of(plan)["securityContext"]
    assert mine == {**CONTAINER, "readOnlyRootFilesystem": True, "allowPrivilegeEscalation": True}


def test_services_of_a_template_are_as_restricted(tmp_path: Path) -> None:
    service = tmp_path / "service.yaml"
    service.write_text(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: team-train-sft-reward}\n"
        "spec: {template: {spec: {containers: [{name: reward, image: x}]}}}\n"
    )
    framework = StaticFramework(StaticFramework().templates[0], service)
    (deployment,) = [item for item in planned(BASE, framework=framework).objects if item["kind"] == "Deployment"]
    pod = deployment["spec"]["template"]["spec"]
    assert (pod["securityContext"], pod["containers"][0]["securityContext"]) == (POD, CONTAINER)


def test_a_trainer_can_write_where_programs_do(framework: BaseTrainingFramework) -> None:
    plan = planned(BASE + "env: {HF_HOME: /data/hub}\n", framework=framework)
    mounts = {mount["mountPath"]: mount["name"] for mount in container_of(plan)["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod_of(plan)["volumes"]}
    env = env_of(plan)
    for path in (env["HOME"], env["TMPDIR"]):
        assert volumes[mounts[path]]["emptyDir"] == {}
    for cache in ("XDG_CACHE_HOME", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "MPLCONFIGDIR"):
        assert env[cache].startswith(f"{env['HOME']}/")
    assert env["USER"], "a user id without a name needs one"
    assert env["HF_HOME"] == "/data/hub"


def test_a_volume_of_the_users_serves_for_temporary_files() -> None:
    plan = planned(BASE + "volumes: {scratch: {path: /tmp, empty_dir: 5Gi}}\n")
    mounts = {mount["mountPath"]: mount["name"] for mount in container_of(plan)["volumeMounts"]}
    assert mounts["/tmp"] == "scratch"
    assert "cw-tmp" not in {volume["name"] for volume in pod_of(plan)["volumes"]}


def test_a_file_of_this_machines_tmp_travels_all_the_same(tmp_path: Path) -> None:
    data = tmp_path / "train.jsonl"
    data.write_text('{"text": "a"}\n')
    plan = planned(f"model_name: m\ndataset_name: {tmp_path}\nuse_cpu: true\nbf16: false\n")
    assert "files" in {volume["name"] for volume in pod_of(plan)["volumes"]}


def test_on_this_machine_programs_have_the_users_home() -> None:
    plan = planned(BASE, target="local")
    assert not {"HOME", "HF_HOME", "TMPDIR"} & set(env_of(plan))
    assert "/tmp" not in {mount["mountPath"] for mount in container_of(plan)["volumeMounts"]}


def test_each_node_of_a_failed_attempt_counts() -> None:
    spec = job_of(planned(BASE + "nodes: 4\ngpu: 8\nretries: 2\n"))["spec"]
    assert (spec["completionMode"], spec["completions"], spec["backoffLimit"]) == ("Indexed", 4, 8)


def test_an_attempt_begins_when_the_one_before_has_ended(framework: BaseTrainingFramework) -> None:
    assert job_of(planned(BASE, framework=framework))["spec"]["podReplacementPolicy"] == "Failed"


@pytest.mark.parametrize(
    ("base", "patch", "result"),
    [
        ({"a": 1}, {}, {"a": 1}),
        ({"a": 1}, {"a": None}, {}),
        ({"a": {"b": 1}}, {"a": {"c": 2}}, {"a": {"b": 1, "c": 2}}),
        ({"a": {"b": 1}}, {"a": 2}, {"a": 2}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": [{"name": "x", "v": 1}]}, {"a": [{"name": "x", "w": 2}]}, {"a": [{"name": "x", "v": 1, "w": 2}]}),
        ({}, {"a": {"b": None, "c": 1}}, {"a": {"c": 1}}),
        (
            {"a": [{"name": "v", "mountPath": "/1"}, {"name": "v", "mountPath": "/2"}]},
            {"a": [{"name": "v", "mountPath": "/3"}, {"name": "w", "mountPath": "/2"}]},
            {
                "a": [
                    {"name": "v", "mountPath": "/1"},
                    {"name": "w", "mountPath": "/2"},
                    {"name": "v", "mountPath": "/3"},
                ]
            },
        ),
        ({"a": [{"name": "x"}]}, {"a": [{"name": "y"}]}, {"a": [{"name": "x"}, {"name": "y"}]}),
    ],
)
def test_merging(base: dict[str, Any], patch: dict[str, Any], result: dict[str, Any]) -> None:
    assert merged(base, patch) == result


PATCHES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inside: (
        st.dictionaries(st.sampled_from("abc"), inside, max_size=3)
        | st.lists(inside, max_size=3)
        | st.lists(
            st.fixed_dictionaries({"name": st.sampled_from("xy"), "v": inside}),
            max_size=2,
            unique_by=lambda item: item["name"],
        )
    ),
    max_leaves=8,
)
MAPPINGS = st.dictionaries(st.sampled_from("abc"), PATCHES, max_size=3)


@patient
@given(MAPPINGS, MAPPINGS)
def test_merging_twice_changes_nothing_more(base: dict[str, Any], patch: dict[str, Any]) -> None:
    once = merged(base, patch)
    assert merged(once, patch) == once
    gone = {key for key, value in patch.items() if value is None}
    assert set(once) == {*base, *patch} - gone


@pytest.mark.parametrize("containers", ["[]", "null", "[x]", "{}"])
def test_a_job_without_a_container_is_told(tmp_path: Any, containers: str) -> None:
    template = tmp_path / "job.yaml"
    template.write_text(
        "apiVersion: batch/v1\nkind: Job\nmetadata: {name: team-train-sft}\n"
        f"spec: {{template: {{spec: {{containers: {containers}}}}}}}\n"
    )
    with pytest.raises(TemplateError, match="has no container"):
        planned(BASE, framework=StaticFramework(template))
