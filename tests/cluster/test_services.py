"""Runs with services on the real node: whoever watches, their GPUs are free when the trainer is gone."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cw_cli.core.checks import check_config
from cw_cli.core.config import Config, parse_config
from cw_cli.core.framework import BaseTrainingFramework, TrainingType
from cw_cli.core.overrides import Override
from cw_cli.core.plan import Plan, make_plan
from cw_cli.core.record import Launch
from cw_cli.core.resources import Resources
from cw_cli.core.status import State
from cw_cli.targets.kubernetes.target import KubernetesTarget

from .clusters import Cluster
from .conftest import QUICK, Run

# The first test of a session builds the image, which takes minutes.
pytestmark = pytest.mark.timeout(1800)

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: lab-scorer-service}
spec:
  selector: {app: scorer}
  ports: [{port: 8000}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: lab-scorer}
spec:
  selector: {matchLabels: {app: scorer}}
  template:
    metadata: {labels: {app: scorer}}
    spec:
      terminationGracePeriodSeconds: 2
      containers:
        - name: scorer
          image: busybox:1.36
          command: [sh, -c, "mkdir -p /tmp/www && touch /tmp/www/health && exec httpd -f -p 8000 -h /tmp/www"]
          ports: [{containerPort: 8000}]
          readinessProbe: {httpGet: {path: /health, port: 8000}, periodSeconds: 1}
"""
TRAINER = """
apiVersion: batch/v1
kind: Job
metadata: {name: lab-train}
spec:
  template:
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: trainer
          command: [sh, -c, {{ script }}]
          env: [{name: SCORER, value: "http://lab-scorer-service:8000"}]
"""
FREE_WITHIN = 60.0


class Lab(BaseTrainingFramework):
    """A trainer that runs a shell script, and a service beside it."""

    def __init__(self, folder: Path, image: str, script: str) -> None:
        super().__init__("lab", folder)
        self.image = image
        (folder / "service.yaml").write_text(SERVICE)
        (folder / "trainer.yaml").write_text(TRAINER.replace("{{ script }}", json.dumps(script)))

    def validate_config(self, config_data: dict[str, Any], training_type: TrainingType) -> bool:
        return True

    def prepare_config(self, config_data: dict[str, Any]) -> dict[str, Any]:
        return config_data

    def get_configmap_name(self, training_type: TrainingType) -> str:
        return "lab-train-config"

    def get_job_name(self, training_type: TrainingType) -> str:
        return "lab-train"

    def get_yaml_templates(self, training_type: TrainingType) -> list[Path]:
        return [self.kubeconfig_dir / "service.yaml", self.kubeconfig_dir / "trainer.yaml"]

    def get_default_image(self) -> str:
        return self.image

    def default_resources(self, config: Config, gpu: int | None) -> Resources:
        return Resources(gpu=gpu or 0, cpu="100m", memory="256Mi")

    def service_resources(self, role: str, config: Config, gpu: int) -> Resources:
        return Resources(gpu=1, cpu="50m", memory="64Mi")


class Services:
    """Launches of the lab's framework in the test's namespace, and what the cluster says of them."""

    def __init__(self, namespace: str, kube: Callable[..., Any], image: str, folder: Path) -> None:
        self.kube, self.image, self.folder, self.namespace = kube, image, folder, namespace
        self.target = KubernetesTarget.open(None, namespace)

    def plan(self, script: str, *overrides: str, **launch: Any) -> Plan:
        framework = Lab(self.folder, self.image, script)
        quick = [
            f"{pod}={json.dumps({'containers': [{'name': name, **QUICK}]})}"
            for pod, name in (("pod", "trainer"), ("services.scorer.pod", "scorer"))
        ]
        typed = [Override(*item.split("=", 1), item) for item in (*quick, *overrides)]
        config = check_config(framework, TrainingType.GRPO, parse_config("a: 1\n", "lab.yaml"), typed)
        return make_plan(config, Launch("kubernetes", "tester", namespace=self.namespace, **launch))

    def launch(self, script: str, *overrides: str, **how: Any) -> str:
        plan = self.plan(script, *overrides, **how)
        self.target.launch(plan, attached=False)
        return plan.run

    def until(self, what: Callable[[], Any], limit: float) -> float:
        begin = time.monotonic()
        while not what():
            assert time.monotonic() - begin < limit, self.kube("get", "all,events")
            time.sleep(0.5)
        return time.monotonic() - begin

    def state(self, run: str) -> State:
        return self.target.status(run).state

    def holders(self, run: str) -> list[str]:
        """Pods of the run that hold a GPU."""
        pods = self.kube("get", "pods", "--selector", f"cw.dev/run={run}", "-o", "json")["items"]
        return [
            pod["metadata"]["name"]
            for pod in pods
            if pod["status"]["phase"] in ("Pending", "Running")
            and any("nvidia.com/gpu" in (item["resources"].get("limits") or {}) for item in pod["spec"]["containers"])
        ]

    def free(self, *runs: str) -> bool:
        return not any(self.holders(run) for run in runs)


@pytest.fixture
def services(
    cluster: Cluster,
    namespace: str,
    kube: Callable[..., Any],
    trl_image: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Services:
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    cluster.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    return Services(namespace, kube, trl_image, tmp_path)


ASK = """python3 -c 'import os, urllib.request as r; print(r.urlopen(os.environ["SCORER"] + "/health").status)'"""


def test_services_end_with_their_trainer_however_it_ends(services: Services, cw: Callable[..., Run]) -> None:
    good = services.launch(f"{ASK}; sleep 3", name="good")
    evicted = services.launch("sleep 1000", name="evicted")
    bad = [
        services.launch("sleep 2; exit 1", name="fails"),
        services.launch("kill -9 $$", name="killed"),
        services.launch("sleep 100", "timeout=15s", name="late"),
    ]
    services.until(lambda: services.state(evicted) is State.RUNNING, 60)
    assert [role.role for role in services.target.status(evicted).roles] == ["trainer", "scorer"]
    trainer = f"cw.dev/run={evicted},cw.dev/role=trainer"
    services.kube("delete", "pod", "--selector", trainer, "--grace-period=0", "--force")
    left = {good, evicted, *bad}
    ends: dict[str, float] = {}

    def all_free() -> bool:
        for run in [run for run in left if services.state(run).ended]:
            ends.setdefault(run, time.monotonic())
            if services.free(run):
                left.discard(run)
                print(f"{run}: GPUs free {time.monotonic() - ends[run]:.0f} s after the trainer's end")
            else:
                assert time.monotonic() - ends[run] < FREE_WITHIN
        return not left

    services.until(all_free, 180)
    assert services.state(good) is State.SUCCEEDED
    assert {services.state(run) for run in (evicted, *bad)} == {State.FAILED}
    assert cw("logs", good).out.split() == ["200"]
    services.until(lambda: "guard" not in services.kube("get", "jobs", "-o", "name"), 20)


def test_a_service_that_never_answers_is_named_and_everything_is_freed(
    services: Services, cw: Callable[..., Run]
) -> None:
    run = services.launch("echo never", "services.scorer.start_limit=6s", "services.scorer.env.PATH=/nowhere")
    services.until(lambda: services.state(run) is State.FAILED, 60)
    services.until(lambda: services.free(run), FREE_WITHIN)
    said = cw("why", run)
    assert "scorer service did not answer within" in said.out


def test_a_service_that_dies_comes_back_and_the_trainer_goes_on(services: Services) -> None:
    ask = """python3 -c '
import os, time, urllib.request
lost = False
for _ in range(60):
    time.sleep(1)
    try:
        print(urllib.request.urlopen(os.environ["SCORER"] + "/health", timeout=2).status, flush=True)
    except OSError as error:
        lost = True
        print(error, flush=True)
        continue
    if lost:
        break
else:
    raise SystemExit("the service was never away")
'"""
    run = services.launch(ask)
    services.until(lambda: services.state(run) is State.RUNNING, 60)
    services.kube("delete", "pod", "--selector", f"cw.dev/run={run},cw.dev/role=scorer", "--grace-period=0", "--force")
    services.until(lambda: services.state(run).ended, 90)
    assert services.state(run) is State.SUCCEEDED


def test_services_whose_trainer_cannot_be_placed_are_freed(services: Services) -> None:
    """Two runs on eight GPUs, each of whose services keep the other's trainer from starting: one of them gives up."""
    runs = [services.launch("sleep 1", "gpu=6", "start_limit=12s", name=name) for name in ("one", "two")]
    services.until(lambda: any(services.state(run) is State.SUCCEEDED for run in runs), 120)
    services.until(lambda: services.free(*runs), 180)
    # A pod fails a moment before its Job does.
    services.until(lambda: all(services.state(run).ended for run in runs), 30)


def test_cancel_and_delete_free_the_services(services: Services, cw: Callable[..., Run]) -> None:
    run = services.launch("echo begun; sleep 1000")
    services.until(lambda: services.state(run) is State.RUNNING, 60)
    assert cw("cancel", run).code == 0
    services.until(lambda: services.free(run), 30)
    assert "begun" in cw("logs", run).out
    done = cw("delete", run, "--yes")
    assert done.code == 0, done.err
    everything = ("get", "all,configmaps,networkpolicies", "--selector", f"cw.dev/run={run}", "-o", "name")
    services.until(lambda: not services.kube(*everything).split(), 30)


@pytest.fixture
def names(cluster: Cluster) -> Iterator[Callable[[bool], None]]:
    """Lets names be answered, or not."""
    found = cluster.kubeconfig.parent / "coredns.pid"
    if not found.exists():
        pytest.skip("this cluster's CoreDNS is not ours to stop")

    def answered(they_are: bool) -> None:
        os.kill(int(found.read_text()), signal.SIGCONT if they_are else signal.SIGSTOP)

    yield answered
    answered(True)


def test_services_stay_while_no_name_can_be_looked_up(services: Services, names: Callable[[bool], None]) -> None:
    run = services.launch("sleep 70")
    guard = ("logs", "--selector", f"cw.dev/run={run},cw.dev/role=guard")
    services.until(lambda: "the trainer is there" in services.kube(*guard), 60)
    names(False)
    time.sleep(60)
    assert services.state(run) is State.RUNNING
    assert len(services.holders(run)) == 1 and "gone" not in services.kube(*guard)
    services.until(lambda: services.state(run) is State.SUCCEEDED, 60)
    names(True)
    services.until(lambda: services.free(run), FREE_WITHIN)
