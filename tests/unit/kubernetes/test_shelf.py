"""The shelf keeps the newest of each object, and writes a status once, again only after a pause, and never for nothing."""

from typing import Any

import pytest

from controller.kubernetes.objects import ApiFailed
from controller.kubernetes.shelf import Shelf


class Api:
    """Counts what it is asked to write; refuses while `failing` is set."""

    def __init__(self) -> None:
        self.written: list[Any] = []
        self.failing: ApiFailed | None = None

    async def apply_status(self, kind: str, namespace: str, name: str, uid: str, status: Any) -> None:
        """As `Objects.apply_status`."""
        if self.failing is not None:
            raise self.failing
        self.written.append((kind, namespace, name, uid, status))


def body(version: int, name: str = "r", **more: Any) -> dict[str, Any]:
    """A version of a request."""
    metadata = {"name": name, "namespace": "n", "uid": f"uid-{name}", "resourceVersion": str(version)}
    return {
        "apiVersion": "jobwarden.dev/v1alpha1",
        "kind": "RunRequest",
        "metadata": {**metadata, **more.pop("metadata", {})},
        "spec": {"jobRef": {"name": "j"}},
        **more,
    }


@pytest.fixture
def api() -> Api:
    """What the shelf writes to."""
    return Api()


@pytest.fixture
def shelf(api: Api) -> Shelf:
    """An empty one."""
    return Shelf(lambda: api)  # type: ignore[arg-type,return-value]


def versions(shelf: Shelf) -> list[int]:
    """What is on it."""
    return [int(one["metadata"]["resourceVersion"]) for one in shelf.of("RunRequest")]


def test_the_newest_version_stays_whatever_comes_when(shelf: Shelf) -> None:
    """Older ones, late lists, deletions and what is on its way out."""
    shelf.put(body(5))
    shelf.put(body(3))
    assert versions(shelf) == [5]
    shelf.put(body(6, status={"a": 1}))
    assert versions(shelf) == [6]
    shelf.drop(body(7))
    shelf.put(body(6))
    assert versions(shelf) == []
    shelf.put(body(8))
    shelf.put(body(9, metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"}))
    assert versions(shelf) == []
    shelf.put(body(10))
    shelf.put(body(11, name="other"))
    shelf.replace("RunRequest", [body(11, name="other")], 12)
    assert versions(shelf) == [11]


async def test_a_status_is_written_when_it_is_new(shelf: Shelf, api: Api) -> None:
    """And not again before it differs from what is there."""
    shelf.put(body(1))
    for status in ({"a": 1}, {"a": 1}, {"a": 2}):
        (held,) = shelf.of("RunRequest")
        await shelf.write(held, status)
    assert [one[-1] for one in api.written] == [{"a": 1}, {"a": 2}]


async def test_a_failure_is_told_once_and_followed_by_a_pause(
    shelf: Shelf, api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    """However often it is offered meanwhile."""
    shelf.put(body(1))
    (held,) = shelf.of("RunRequest")
    api.failing = ApiFailed("no right to it", 403, retry_after=60.0)
    await shelf.write(held, {"a": 1})
    api.failing = None
    await shelf.write(held, {"a": 1})
    assert api.written == []
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    shelf.drop(body(2))
    shelf.put(body(3))
    (held,) = shelf.of("RunRequest")
    await shelf.write(held, {"a": 1})
    assert len(api.written) == 1
