"""The health that Argo CD shows: its Lua, run over every status that the controller projects. Skips where there is no Lua."""

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from controller.domain.reasons import Reason
from controller.domain.states import RunState
from controller.status import project, shapes
from tests.harness.warden import ROOT
from tests.unit.status.builders import EARLIER, HOLD, NOW, REJECTION, facts, job, last, resource
from tests.unit.status.test_project import pairs

lupa = pytest.importorskip("lupa")
SETTINGS = ROOT / "manifests/gitops/argocd/argocd-cm.yaml"
Health = Callable[[Any], tuple[str, str]]


def scripts() -> dict[str, str]:
    """The Lua of each kind."""
    data = yaml.safe_load(SETTINGS.read_text(encoding="utf-8"))["data"]
    prefix = "resource.customizations.health.jobwarden.dev_"
    return {key.removeprefix(prefix): value for key, value in data.items() if key.startswith(prefix)}


@pytest.fixture(scope="module")
def health() -> Health:
    """Runs the script as Argo CD does: the object is the global `obj`, the health is what it returns."""
    lua = lupa.LuaRuntime(unpack_returned_tuples=True)

    def run(thing: Any) -> tuple[str, str]:
        lua.globals().obj = lua.table_from(thing, recursive=True)
        found = lua.execute(scripts()["ScheduledJob"])
        return str(found.status), str(found.message)

    return run


def shown(found: Any) -> Any:
    """An object with its status, as Argo CD reads it."""
    return shapes.resource(found.resource, project.job_status(found, NOW).value)


def condition(thing: Any, kind: str) -> str:
    """The status of one condition."""
    return str(next(one["status"] for one in thing["status"]["conditions"] if one["type"] == kind))


def test_every_status_has_the_health_that_its_conditions_say(health: Health) -> None:
    """Degraded is Stalled, Healthy is Ready, and everything else is on its way; there is always a word about it."""
    seen = set()
    for one in pairs():
        thing = shown(one)
        word, message = health(thing)
        seen.add(word)
        expected = "Degraded" if condition(thing, "Stalled") == "True" else "Progressing"
        assert word == ("Healthy" if condition(thing, "Ready") == "True" else expected)
        assert message
    assert seen == {"Degraded", "Healthy", "Progressing"}


def test_a_failed_run_is_told_and_turns_nothing_red(health: Health) -> None:
    """Nor does a pause."""
    failed = last(RunState.Failed, reason="ExitCode", exit_code=3)
    word, message = health(shown(facts(job=job(last_run=failed, healthy=False))))
    assert word == "Healthy"
    assert "exit code 3" in message
    word, message = health(shown(facts(job=job(hold=HOLD))))
    assert (word, HOLD.reason in message) == ("Healthy", True)


@pytest.mark.parametrize(
    ("changes", "word", "part"),
    [
        ({"resource": resource(rejection=REJECTION)}, "Degraded", "no number"),
        (
            {"job": job(blocked_reason=str(Reason.ReferenceNotFound), blocked_message="no pool")},
            "Progressing",
            "no pool",
        ),
        ({"job": job(blocked_reason=str(Reason.InsufficientSlots), blocked_message="too few")}, "Degraded", "too few"),
        ({"job": job(completed_at=EARLIER)}, "Healthy", ""),
    ],
)
def test_what_needs_a_person_is_degraded_and_what_does_not_is_progressing(
    health: Health, changes: dict[str, Any], word: str, part: str
) -> None:
    """With the words of the condition."""
    found, message = health(shown(facts(**changes)))
    assert found == word
    assert part in message


def test_what_nobody_has_looked_at_is_not_healthy_yet(health: Health) -> None:
    """No status, an empty one, or the status of an older generation."""
    thing = shown(facts())
    assert health(thing)[0] == "Healthy"
    newer = {**thing, "metadata": {**thing["metadata"], "generation": thing["metadata"]["generation"] + 1}}
    bare = {key: value for key, value in thing.items() if key != "status"}
    for one in (newer, bare, {**bare, "status": {}}):
        assert health(one)[0] == "Progressing"


def test_every_kind_that_people_apply_is_judged_alike() -> None:
    """One script; requests and approvals are made by hand or by the controller, never synced."""
    found = scripts()
    assert set(found) == {
        "ScheduledJob",
        "ResourcePool",
        "ClusterResourcePool",
        "NotificationTarget",
        "ClusterNotificationTarget",
    }
    assert len(set(found.values())) == 1
