"""Notification targets whose secrets are kept in the cluster: read when something is told, and nowhere to be found afterwards."""

import base64
import json
import uuid
from collections.abc import Iterator

import pytest

from tests.cluster.conftest import watch
from tests.harness import Receiver, Warden, once
from tests.harness.controlplane import ControlPlane
from tests.harness.manifests import document


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Somebody who is told."""
    with Receiver() as one:
        yield one


def test_a_target_reads_its_url_from_a_secret_once_it_may(
    api: ControlPlane, namespace: str, cluster_warden: Warden, receiver: Receiver
) -> None:
    """Without the right to read it nothing is sent, and the message waits; with it everything arrives, and the value is nowhere else."""
    canary = f"canary-{uuid.uuid4().hex}"
    url = base64.b64encode(receiver.url(f"/{canary}").encode()).decode()
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hook"}, "data": {"url": url}}
    source = {"urlFrom": {"secretKeyRef": {"name": "hook", "key": "url"}}}
    target = document("NotificationTarget", "people", {"webhook": source})
    told = [{"events": ["Failed"], "targetRef": {"name": "people"}}]
    cluster_warden.start(*watch(namespace))
    api.apply(secret, target, once("broken", "exit 3", notifications=told), namespace=namespace).ok()
    cluster_warden.wait_for(lambda: "may not be read" in _errors(cluster_warden), "the missing right to be told")
    right = ("--verb=get", "--resource=secrets", "--resource-name=hook", "-n", namespace)
    api.kubectl("create", "role", "hook", *right).ok()
    api.kubectl("create", "rolebinding", "hook", "--role=hook", "--user=controller", "-n", namespace).ok()
    (body,) = cluster_warden.wait_for(lambda: receiver.deliveries(f"/{canary}"), "the message to arrive", deadline=120)
    assert "broken" in json.dumps(body)
    written = cluster_warden.log.read_text(encoding="utf-8") + _errors(cluster_warden)
    written += json.dumps(api.get("ntarget", "people", namespace)) + json.dumps(api.get("sjob", "broken", namespace))
    assert canary not in written
    for file in cluster_warden.folder.rglob("*.db*"):
        assert canary.encode() not in file.read_bytes(), file


def _errors(warden: Warden) -> str:
    """Everything that is told of what could not be told."""
    return warden.log.read_text(encoding="utf-8")
