"""Jobs that leave a mark for every time they really ran, and the books that have to balance afterwards.

`marking` makes the script, `Account` compares the marks with what the command tells. Invariant: a mark is one appended line, so that none is lost
whatever is killed when.
"""

from collections import Counter, defaultdict
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.harness import Warden, instant

Document = dict[str, Any]
ENDED = {"Succeeded", "Failed", "TimedOut", "Cancelled", "Crashed", "Denied"}
MOST_REPLAYS = 5


def marking(folder: Path, then: str = "true") -> str:
    """A script that marks its run, with its instant, and then does something."""
    return f'echo "$JOBWARDEN_JOB $JOBWARDEN_RUN_ID $JOBWARDEN_SCHEDULED_FOR" >> {folder}/marks; {then}'


def marks(folder: Path) -> list[list[str]]:
    """Every mark: job, run, instant."""
    file = folder / "marks"
    return [line.split() for line in file.read_text().splitlines()] if file.exists() else []


class Account:
    """What the command tells of all runs and dispatches of an installation, beside what really ran."""

    def __init__(self, warden: Warden) -> None:
        self.warden = warden
        self.marks = marks(warden.work)
        self.runs: list[Document] = warden.items("runs", "-A")
        self.dispatches: list[Document] = warden.items("queue", "--all", "-A")
        self.by_job: dict[str, list[Document]] = defaultdict(list)
        for run in sorted(
            self.runs, key=lambda one: (instant(one["metadata"]["creationTimestamp"]), one["spec"]["attempt"])
        ):
            self.by_job[run["spec"]["job"]].append(run)
        self.marked = Counter(run for _, run, _ in self.marks)

    def states(self, job: str) -> list[str]:
        """The states of a job's runs, in order."""
        return [run["status"]["state"] for run in self.by_job[job]]

    def times_run(self, job: str) -> int:
        """How often a job really ran."""
        return sum(1 for name, _, _ in self.marks if name == job)

    def crashed(self) -> int:
        """How many runs were cut short."""
        return sum(run["status"]["state"] == "Crashed" for run in self.runs)

    def check(self, *, waiting: bool = False) -> None:
        """What holds for every installation without a controller. `waiting`: work may still wait. Errors: AssertionError that names what does not."""
        self._every_run_has_ended()
        self._every_run_ran_at_most_once()
        self._every_dispatch_is_accounted_for(waiting=waiting)
        self._no_instant_twice()
        self.check_at_most_once()
        for one in self.warden.items("resourcepools", "-A"):
            assert one["status"].get("held", 0) == 0, one
        self.warden.cli("db", "check").ok()
        left = self.warden.processes()
        assert not left, f"processes {left} were left behind"

    def check_fails(self, *jobs: str) -> None:
        """One-shots with `onInterruption: Fail`: exactly one run each, which happened once or, if it was cut short, perhaps not at all."""
        for job in jobs:
            assert len(self.by_job[job]) == 1, (job, self.states(job))
            assert self.times_run(job) <= 1, (job, self.states(job))
            assert self.states(job) == ["Succeeded"] or self.states(job) == ["Crashed"], (job, self.states(job))

    def check_reruns(self, *jobs: str) -> None:
        """One-shots with `onInterruption: Rerun`: run until one succeeded, or cut short as often as anything is replayed."""
        for job in jobs:
            states = self.states(job)
            assert self.times_run(job) >= 1, (job, states)
            assert set(states[:-1]) <= {"Crashed"}, (job, states)
            assert states[-1] == "Succeeded" or len(states) == MOST_REPLAYS + 1, (job, states)

    def check_explained(self, *jobs: str) -> None:
        """`explain` has a sentence for every instant, and names the run of each that ran."""
        for job in jobs:
            recent = self.warden.explain(job)["status"]["recent"]
            assert recent, job
            assert all(entry["why"] for entry in recent), recent
            assert {entry["run"] for entry in recent if entry["run"]} == {
                one["metadata"]["name"] for one in self.by_job[job]
            }

    def check_instants(self, job: str, seconds: int) -> list[datetime]:
        """The instants of an `every` schedule follow each other without a gap; gives them, those within ranges as well."""
        spans = sorted(
            (
                instant(one["spec"]["scheduledFor"]),
                instant(one["spec"]["through"] or one["spec"]["scheduledFor"]),
                one["spec"]["count"],
            )
            for one in self.dispatches
            if one["spec"]["job"] == job and one["spec"]["cause"] == "Schedule"
        )
        assert spans, job
        told: list[datetime] = []
        for first, last, count in spans:
            assert (last - first).total_seconds() == (count - 1) * seconds, (job, first, last, count)
            assert not told or (first - told[-1]).total_seconds() == seconds, f"{job}: between {told[-1:]} and {first}"
            told += [first, last] if count > 1 else [first]
        return told

    def check_at_most_once(self) -> None:
        """No run is made twice of one dispatch, whatever was killed."""
        twice = [name for name, count in Counter(run["spec"]["dispatch"] for run in self.runs).items() if count > 1]
        assert not twice, twice

    def _every_run_has_ended(self) -> None:
        open_runs = [run["metadata"]["name"] for run in self.runs if run["status"]["state"] not in ENDED]
        assert not open_runs, open_runs

    def _every_run_ran_at_most_once(self) -> None:
        known = {run["metadata"]["name"]: run for run in self.runs}
        assert set(self.marked) <= set(known), f"ran, and nobody knows it: {set(self.marked) - set(known)}"
        assert all(count == 1 for count in self.marked.values()), [
            name for name, count in self.marked.items() if count > 1
        ]
        unmarked = [
            name for name, run in known.items() if run["status"]["state"] == "Succeeded" and name not in self.marked
        ]
        assert not unmarked, f"said to have succeeded, and never ran: {unmarked}"

    def _every_dispatch_is_accounted_for(self, *, waiting: bool) -> None:
        known = {run["metadata"]["name"] for run in self.runs}
        for one in self.dispatches:
            state, run = one["status"]["state"], one["status"]["run"]
            assert state in {"Done", "Skipped", "Missed", "Cancelled"} or (waiting and state == "Pending"), one
            assert (state == "Done") == (run is not None), one
            assert run is None or run in known, one

    def _no_instant_twice(self) -> None:
        seen = Counter(
            (one["spec"]["job"], one["spec"]["scheduledFor"])
            for one in self.dispatches
            if one["spec"]["cause"] == "Schedule"
        )
        assert not [key for key, count in seen.items() if count > 1]
