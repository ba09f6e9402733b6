"""The claim that runs write to, and a pod that looks into it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

CLAIM = """
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: model-checkpoints}
spec: {accessModes: [ReadWriteMany], resources: {requests: {storage: 1Gi}}}
"""
MOUNT = "/model-checkpoints"
READER = """
apiVersion: v1
kind: Pod
metadata: {name: reader}
spec:
  terminationGracePeriodSeconds: 0
  securityContext: {runAsNonRoot: true, runAsUser: 1000, fsGroup: 1000, seccompProfile: {type: RuntimeDefault}}
  containers:
    - name: reader
      image: busybox:1.36
      command: [sleep, "3600"]
      securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
      volumeMounts: [{name: models, mountPath: /model-checkpoints}]
  volumes:
    - {name: models, persistentVolumeClaim: {claimName: model-checkpoints}}
"""


class Volume:
    """The claim that runs write to, seen from a pod of its own."""

    def __init__(self, kube: Callable[..., Any]) -> None:
        self.kube = kube

    def says(self, *command: str) -> str:
        return str(self.kube("exec", "reader", "--", *command))

    def rows(self, folder: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.says("cat", f"{MOUNT}/{folder}/metrics.jsonl").splitlines()]

    def weights(self, folder: str) -> str:
        return self.says("sha256sum", f"{MOUNT}/{folder}/model.safetensors").split()[0]

    def wait_for(self, path: str) -> None:
        """Until there is such a file; `*` stands for any name, because older checkpoints go."""
        self.says("timeout", "300", "sh", "-c", f"until ls {MOUNT}/{path} >/dev/null 2>&1; do sleep 0.2; done")
