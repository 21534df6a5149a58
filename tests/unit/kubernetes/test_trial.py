"""A template is tried before it runs, whatever somebody has written into it."""

from typing import Any

import pytest

from controller.domain.job import ExecutorKind, JobSpec, PodTarget
from controller.domain.reasons import Reason
from controller.kubernetes.trial import Trial
from controller.reconcile.records import Document, Entry, Facts, Key

MAIN = {"name": "main", "image": "i"}


class Workloads:
    """An API server that finds nothing wrong."""

    def __init__(self) -> None:
        self.tried: list[Any] = []

    async def try_job(self, manifest: Any) -> None:
        """Ask."""
        self.tried.append(manifest)


def document(name: str, body: dict[str, Any]) -> Document:
    """A job with this template."""
    spec = JobSpec(PodTarget({"spec": body}), executor=ExecutorKind.Kubernetes)
    entry = Entry(Key("ScheduledJob", "n", name), "s", "d", Facts(), "p", 1)
    return Document(entry, b"", {}, b"", spec)


@pytest.mark.parametrize(
    "body",
    [
        {"containers": [MAIN, MAIN]},
        {"containers": [{"image": "i"}, MAIN]},
        {"containers": [MAIN | {"env": ["A=b"]}]},
        {"containers": [MAIN | {"env": 5}]},
    ],
)
async def test_a_template_of_no_known_shape_refuses_itself_and_nobody_else(body: dict[str, Any]) -> None:
    """It would stop the reconciliation of every document of the cluster."""
    workloads: Any = Workloads()
    found = await Trial(workloads).examine([document("bad", body), document("good", {"containers": [MAIN]})])
    assert {key.name: problem.reason for key, problem in found.items()} == {"bad": Reason.Invalid}
    assert [one["metadata"]["name"] for one in workloads.tried] == ["good-trial"]
