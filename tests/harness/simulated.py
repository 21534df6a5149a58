"""A cluster without machines: the control plane with the controllers and the scheduler of Kubernetes, and a node that is played.

By default the tests play the kubelet themselves (`begin`, `finish`, …): a Pod begins and ends when a test says so, with the very status that a kubelet writes. With `kwok`
Pods begin and end by themselves. Everything else is real: Jobs, garbage collection, admission.
"""

import contextlib
import json
import os
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.harness.controlplane import ControlPlane
from tests.harness.waiting import wait_for

NODE = "node-1"
_CONTROLLERS = (
    "job-controller",
    "cronjob-controller",
    "garbage-collector-controller",
    "ttl-after-finished-controller",
    "serviceaccount-controller",
    "namespace-controller",
)
_FAST = ("--leader-elect=false", "--secure-port=0", "--kube-api-qps=1000", "--kube-api-burst=1000")


class Simulated(ControlPlane):
    """One API server with what makes Pods of Jobs, and one node."""

    def __init__(self, folder: Path, bin_folder: Path, *documents: Any, kwok: bool = False) -> None:
        """`kwok`: Pods run and succeed by themselves. For `documents` see `ControlPlane`."""
        super().__init__(folder, bin_folder, *documents)
        self._kwok = kwok

    # The kubelet's part

    def pod_of(self, run: str, namespace: str) -> str:
        """The name of the Pod of a run, once it has one and a node."""

        def bound() -> str | None:
            found = self.kubectl("get", "pods", "-n", namespace, "-l", f"jobwarden.dev/run={run}", "-o", "json").ok()
            items = [one for one in json.loads(found.out)["items"] if one["spec"].get("nodeName")]
            return items[0]["metadata"]["name"] if items else None

        return wait_for(bound, f"{run} to have a Pod on a node")

    def begin(self, pod: str, namespace: str, container: str = "run") -> None:
        """The container runs."""
        self.report(pod, namespace, "Running", container, {"running": {"startedAt": _now()}})

    def finish(
        self, pod: str, namespace: str, code: int = 0, *, container: str = "run", reason: str = "", message: str = ""
    ) -> None:
        """The container has ended."""
        state = {
            "terminated": {
                "exitCode": code,
                "reason": reason or ("Completed" if code == 0 else "Error"),
                "message": message,
                "startedAt": _now(),
                "finishedAt": _now(),
            }
        }
        self.report(pod, namespace, "Failed" if code else "Succeeded", container, state)

    def report(self, pod: str, namespace: str, phase: str, container: str, state: dict[str, Any], **more: Any) -> None:
        """What a kubelet writes of a Pod with one container."""
        status = {"name": container, "image": "i", "imageID": "", "ready": False, "restartCount": 0, "state": state}
        body = json.dumps({"status": {"phase": phase, "containerStatuses": [status], **more}})
        where = ("-n", namespace, "--subresource=status", "--type=merge", "-p", body)
        self.kubectl("patch", "pod", pod, *where).ok()

    def let_go(self, pod: str, namespace: str) -> None:
        """The kubelet has ended what was deleted."""
        self.kubectl("delete", "pod", pod, "-n", namespace, "--grace-period=0", "--force", "--ignore-not-found").ok()

    # Life

    def _begin(self) -> None:
        super()._begin()
        ports = self._ports()
        kubeconfig = f"--kubeconfig={self.folder / 'admin.kubeconfig'}"
        ports["manager_pid"] = self._start(
            "kube-controller-manager",
            kubeconfig,
            f"--controllers={','.join(_CONTROLLERS)}",
            f"--service-account-private-key-file={self.folder / 'service-account.key'}",
            "--concurrent-job-syncs=20",
            *_FAST,
        )
        ports["scheduler_pid"] = self._start("kube-scheduler", kubeconfig, *_FAST)
        if self._kwok:
            ports["kwok_pid"] = self._start("kwok", kubeconfig, "--manage-all-nodes=true")
        self._known.write_text(json.dumps(ports), encoding="utf-8")
        self._add_node()

    def _add_node(self) -> None:
        room = {"cpu": "1000", "memory": "1000Gi", "pods": "100000"}
        ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "played"}
        metadata = {"name": NODE, "annotations": {"kwok.x-k8s.io/node": "fake"}}
        self.apply({"apiVersion": "v1", "kind": "Node", "metadata": metadata}).ok()
        status = json.dumps({"status": {"allocatable": room, "capacity": room, "conditions": [ready]}})
        self.kubectl("patch", "node", NODE, "--subresource=status", "--type=merge", "-p", status).ok()
        # Admission gives every new node the taint of one that is not ready, and nobody here takes it away.
        self.kubectl("patch", "node", NODE, "--type=merge", "-p", json.dumps({"spec": {"taints": []}})).ok()

    def _end(self) -> None:
        if self._known.exists():
            ports = self._ports()
            for name in ("kwok_pid", "scheduler_pid", "manager_pid"):
                with contextlib.suppress(ProcessLookupError, KeyError):
                    os.kill(ports[name], signal.SIGKILL)
        super()._end()


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
