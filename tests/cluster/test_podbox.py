"""The profile of a box beside Kubernetes' own word for it: what we do not object to, an API server that enforces Pod Security "restricted" admits."""

import itertools
import json
from typing import Any

from controller.domain.podbox import confined, objections
from tests.harness.controlplane import ControlPlane
from tests.unit.domain.test_pods import DEMANDS

_POD = [{}, {"runAsNonRoot": True}, {"runAsNonRoot": False}, {"runAsUser": 0}, {"runAsUser": 1000, "fsGroup": 0}]
_CONTAINER: list[dict[str, Any]] = [
    {},
    {"seccompProfile": {"type": "RuntimeDefault"}, "capabilities": {"drop": ["NET_RAW"]}},
    {"seccompProfile": {"type": "Unconfined"}},
    {"capabilities": {"add": ["NET_BIND_SERVICE"]}},
    {"capabilities": {"drop": ["ALL"], "add": ["SYS_TIME"]}},
    {"allowPrivilegeEscalation": True},
    {"readOnlyRootFilesystem": False},
    {"runAsUser": 0},
    {"runAsNonRoot": False},
]
_VOLUMES: list[dict[str, Any]] = [
    {"emptyDir": {}},
    {"configMap": {"name": "c"}},
    {"secret": {"secretName": "s"}},
    {"persistentVolumeClaim": {"claimName": "p"}},
    {"csi": {"driver": "d.example.org"}},
    {"downwardAPI": {"items": [{"path": "n", "fieldRef": {"fieldPath": "metadata.name"}}]}},
    {"ephemeral": {"volumeClaimTemplate": {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}}},
    {"projected": {"sources": [{"configMap": {"name": "c"}}]}},
    {"nfs": {"server": "s.example.org", "path": "/"}},
    {"iscsi": {"targetPortal": "10.0.0.1:3260", "iqn": "iqn.2001-04.org.example:s", "lun": 0}},
    {"hostPath": {"path": "/"}},
]  # fmt: skip


def bodies() -> list[dict[str, Any]]:
    """Pods of every kind, most of which ask for too much."""
    plain = {"name": "c", "image": "i"}
    found = [
        {"containers": [{**plain, "securityContext": own}], "securityContext": whole}
        for whole, own in itertools.product(_POD, _CONTAINER)
    ]
    found += [{"containers": [plain], "volumes": [{"name": "v", **one}]} for one in _VOLUMES]
    found += [{**body, "containers": [{**plain, **body["containers"][0]}]} for _, body in DEMANDS]
    return found


def test_what_we_do_not_object_to_is_restricted_for_kubernetes_too(api: ControlPlane, namespace: str) -> None:
    """And what Kubernetes would not admit we object to; we ask for more than it does."""
    api.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted").ok()
    api.kubectl("create", "serviceaccount", "default", "-n", namespace).ok()
    kept = [body for body in bodies() if not objections({"spec": body})]
    assert len(kept) > 10
    pods = [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": f"pod-{number}"},
            "spec": confined({"spec": body})["spec"] | {"serviceAccountName": "default", "serviceAccount": "default"},
        }
        for number, body in enumerate(kept)
    ]
    everything = json.dumps({"apiVersion": "v1", "kind": "List", "items": pods})
    made = api.kubectl("create", "--dry-run=server", "--validate=strict", "-n", namespace, "-f", "-", stdin=everything)
    assert made.code == 0, made.err
    assert len(made.out.splitlines()) == len(kept)
