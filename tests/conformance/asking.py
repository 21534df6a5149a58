"""What the cases ask again and again: is this document refused, and at which instants would this schedule fire.

Everything is read from the command line; a change of its output is followed here and nowhere else.
"""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta

from tests.harness import Receiver, Warden, instant, job
from tests.harness.manifests import Document, rfc3339

ENDED = ("Succeeded", "Failed", "TimedOut", "Cancelled", "Crashed", "Denied")


def problems(warden: Warden, documents: Mapping[str, Document | str]) -> dict[str, str]:
    """Validate a folder with one file for each document.

    Shape: for each name what `validate` says about its file, "" when it says nothing. The exit code agrees, or this raises.
    """
    for name, document in documents.items():
        warden.write(name, document)
    result = warden.cli("validate", str(warden.manifests))
    found = dict.fromkeys(documents, "")
    current = None
    for line in result.text.splitlines():
        if match := re.search(r"([a-z0-9-]+)\.yaml:\d+", line):
            current = match.group(1)
        if current in found:
            found[current] += line + "\n"
    assert result.code == (1 if any(found.values()) else 0), str(result)
    return found


def assert_accepted(warden: Warden, *documents: Document) -> None:
    """`validate` says nothing against any of them."""
    found = problems(warden, {one["metadata"]["name"]: one for one in documents})
    assert not any(found.values()), found


def assert_refused(warden: Warden, document: Document | str, *words: str) -> None:
    """`validate` refuses the document with file, line and column, and says each of the words."""
    problem = problems(warden, {"refused": document})["refused"]
    assert re.search(r"refused\.yaml:\d+:\d+", problem), problem or "it was accepted"
    missing = [word for word in words if word.lower() not in problem.lower()]
    assert not missing, f"{missing} not in:\n{problem}"


def first_instants(warden: Warden, schedule: Document, *since: str) -> list[datetime]:
    """The first instant of the schedule at or after each of the given ones, as `plan` announces it."""
    for number, start in enumerate(since):
        warden.write(f"probe-{number}", job(f"probe-{number}", schedule={**schedule, "startAt": start}))
    announced = warden.cli("plan", str(warden.manifests), "-o", "json").ok().json
    return [instants_of(announced, f"probe-{number}")[0] for number in range(len(since))]


def assert_fires_at(warden: Warden, schedule: Document, *expected: str) -> None:
    """The schedule has exactly these instants from the first to the last of them, counted from just before the first."""
    wanted = [instant(one) for one in expected]
    since = [wanted[0] - timedelta(seconds=1), *(one + timedelta(seconds=1) for one in wanted[:-1])]
    assert first_instants(warden, schedule, *map(rfc3339, since)) == wanted


def instants_of(plan: Document, name: str) -> list[datetime]:
    """The next instants that a plan announces for one job."""
    entries = [one for one in plan["items"] if one["metadata"]["name"] == name]
    assert len(entries) == 1, plan
    return [instant(one) for one in entries[0]["status"]["nextRunsAt"]]


def account(warden: Warden, name: str) -> list[Document]:
    """What became of each recent instant of a job, oldest first: `scheduledFor`, `state`, `reason`."""
    entries = warden.explain(name)["status"]["recent"]
    return sorted(entries, key=lambda one: instant(one["scheduledFor"]))


def turned_away(warden: Warden, name: str) -> list[str]:
    """The reasons of all dispatches of a job that ended without a run."""
    return [
        one["status"]["reason"]
        for one in warden.queue(name, ended=True)
        if one["status"]["state"] in ("Skipped", "Missed")
    ]


def upcoming(warden: Warden, name: str) -> list[datetime]:
    """The next instants of a job that has been applied."""
    return [instant(one) for one in warden.explain(name)["status"]["next"]]


def next_run_at(warden: Warden, name: str) -> datetime | None:
    """When a job fires next by its schedule, if ever."""
    text = warden.job(name)["status"].get("nextRunAt")
    return instant(text) if text else None


def next_start(warden: Warden, name: str) -> datetime | None:
    """When a job starts next: its waiting scheduled dispatch says so if there is one, else its schedule."""
    waiting = [one for one in warden.queue(name) if one["spec"]["cause"] == "Schedule"]
    return instant(waiting[0]["spec"]["notBefore"]) if waiting else next_run_at(warden, name)


def pause_after(warden: Warden, name: str, ended: datetime) -> timedelta:
    """How long after the end of its last run a job starts next, once that is more than 20 s."""
    at_least = ended + timedelta(seconds=20)
    following = warden.wait_for(
        lambda: (at := next_start(warden, name)) and at > at_least and at, "the next start to move away"
    )
    return following - ended


def span(run: Document) -> tuple[datetime, datetime]:
    """Start and end of an ended run."""
    return instant(run["status"]["startedAt"]), instant(run["status"]["finishedAt"])


def overlap(one: Document, other: Document) -> bool:
    """Whether two ended runs were open at the same time."""
    (start, end), (other_start, other_end) = span(one), span(other)
    return start < other_end and other_start < end


def states(runs: list[Document]) -> list[str]:
    """The states of runs, in their order."""
    return [one["status"]["state"] for one in runs]


def causes(runs: list[Document]) -> list[str]:
    """The causes of runs, in their order."""
    return [one["spec"]["cause"] for one in runs]


def told(receiver: Receiver, path: str) -> list[tuple[str, str]]:
    """(event, job) of everything that was sent to one path, in order. The body is a CloudEvent."""
    return [(str(body["data"]["event"]), str(body["data"]["job"])) for body in receiver.deliveries(path)]


def until_file(path: object) -> str:
    """A line of shell that goes on when a file exists: how a test decides when a run ends."""
    return f"until [ -e '{path}' ]; do sleep 0.1; done"
