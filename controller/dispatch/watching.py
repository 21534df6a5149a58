"""A watchdog over a job: compares the open runs of that job with the watchdog's bounds. Reads, never writes; `finalise.watch` tells what it means."""

from collections.abc import Callable
from datetime import datetime, timedelta

from controller.base import durations
from controller.domain.job import WatchdogTarget
from controller.domain.records import Ending, Run
from controller.store import jobs, runs
from controller.store.runs import OpenRun
from controller.store.store import Tx


def look(tx: Tx, opened: OpenRun, now: datetime, last_output_at: Callable[[str], datetime | None]) -> Ending:
    """How the watchdog's own run ends: always well; `watched` names the runs that are in trouble.

    `last_output_at` knows the runs of this instance; for those of others only `maxDuration` counts.
    """
    target = opened.spec.target
    assert isinstance(target, WatchdogTarget)
    assert target.job is not None
    job = jobs.get(tx, opened.run.namespace, target.job)
    live = runs.live_of_jobs(tx, {job.id}) if job is not None else []
    trouble = {run.name: why for run in live if (why := _trouble(target, run, now, last_output_at)) is not None}
    return Ending(
        run=opened.run.name,
        started_at=opened.run.started_at,
        finished_at=now,
        exit_code=0,
        watched=tuple(trouble),
        note="; ".join(f"{run} {why}" for run, why in trouble.items()) or None,
    )


def _trouble(
    target: WatchdogTarget, run: Run, now: datetime, last_output_at: Callable[[str], datetime | None]
) -> str | None:
    began = run.started_at or run.created_at
    if target.max_duration is not None and now - began >= target.max_duration:
        return f"has been running for {_seconds(now - began)}"
    silent_since = last_output_at(run.name)
    if target.no_output_for is not None and silent_since is not None and now - silent_since >= target.no_output_for:
        return f"has printed nothing for {_seconds(now - silent_since)}"
    return None


def _seconds(span: timedelta) -> str:
    """A span in whole seconds: nobody reads the rest."""
    return durations.format(span - span % timedelta(seconds=1))
