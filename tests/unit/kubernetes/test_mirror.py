"""The mirror ends at the truth, in whatever order lists and the watch tell it."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from controller.kubernetes.mirror import Mirror

PATH = "//ScheduledJob/default/job"


def body(version: int, *, generation: int = 1, uid: str = "u", **more: Any) -> dict[str, Any]:
    """A version of one object."""
    return {
        "apiVersion": "jobwarden.dev/v1alpha1",
        "kind": "ScheduledJob",
        "metadata": {
            "name": "job",
            "namespace": "default",
            "uid": uid,
            "resourceVersion": str(version),
            "generation": generation,
            "creationTimestamp": "2026-01-01T00:00:00Z",
            **more.pop("metadata", {}),
        },
        "spec": {"shell": {"script": f"exit {generation}"}},
        **more,
    }


def test_what_people_wrote_makes_the_digest_and_our_status_does_not() -> None:
    """Our own writes come back as events; they are no news."""
    mirror = Mirror()
    assert mirror.put(body(1)) == PATH
    assert mirror.put(body(2, status={"ready": "True"})) is None
    assert mirror.put(body(3, metadata={"managedFields": [{"manager": "x"}]})) is None
    assert mirror.put(body(4, metadata={"annotations": {"a": "b"}})) == PATH
    assert mirror.put(body(5, generation=2)) == PATH
    assert mirror.held[PATH].generation == 2


def test_what_kubectl_keeps_for_itself_is_not_read() -> None:
    """The last applied configuration repeats the whole document."""
    mirror = Mirror()
    mirror.put(body(1, metadata={"annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "a": "b"}}))
    assert b"last-applied" not in mirror.held[PATH].data
    assert b'"a":"b"' in mirror.held[PATH].data


def test_an_object_that_is_being_deleted_is_gone() -> None:
    """Somebody's finalizer may keep it for days; it is not to run meanwhile."""
    mirror = Mirror()
    mirror.put(body(1))
    assert mirror.put(body(2, metadata={"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["x/y"]})) == PATH
    assert not mirror.held
    assert mirror.put(body(3, metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"})) is None


def test_a_list_sweeps_what_is_not_in_it() -> None:
    """Only of its kind, and only what it could have known."""
    mirror = Mirror()
    mirror.put(body(5))
    mirror.replace("ResourcePool", [], 9)
    mirror.replace("ScheduledJob", [], 4)
    assert mirror.held
    mirror.replace("ScheduledJob", [], 5)
    assert not mirror.held


HISTORY = st.lists(st.sampled_from(["change", "status", "delete"]), min_size=1, max_size=12)


@given(HISTORY, st.data())
def test_any_order_of_telling_ends_at_the_newest(history: list[str], data: st.DataObject) -> None:
    """Events come in order of their versions; lists of any earlier moment come in between, late."""
    moments: list[dict[str, Any] | None] = [None]
    events: list[tuple[str, dict[str, Any]]] = []
    generation, alive = 0, False
    for version, step in enumerate(history, start=1):
        if step == "delete":
            if alive:
                events.append(("DELETED", body(version, generation=generation)))
            alive = False
        else:
            generation += step == "change" or not alive
            alive = True
            events.append(("MODIFIED", body(version, generation=generation, status={"at": version})))
        moments.append(events[-1][1] if alive else None)
    mirror = Mirror()
    for kind, told in events:
        (mirror.drop if kind == "DELETED" else mirror.put)(told)
        now = int(told["metadata"]["resourceVersion"])
        at = data.draw(st.integers(0, now), label="a list of the moment")
        listed = moments[at]
        mirror.replace("ScheduledJob", [listed] if listed is not None else [], at)
    last = moments[-1]
    held = mirror.held.get(PATH)
    assert (held is None) == (last is None)
    if held is not None and last is not None:
        assert held.version == int(last["metadata"]["resourceVersion"])
