"""Metrics: names and labels that dashboards rely on, and a bound on how many series jobs can make."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from controller.base.metrics import Metrics, PrometheusMetrics, StoreCounters

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def make(jobs: int = 500) -> PrometheusMetrics:
    return PrometheusMetrics(version="1.2.3", mode="embedded", store="sqlite", jobs=jobs)


def value(metrics: Metrics, series: str) -> float | None:
    """The value of one series, None when there is none."""
    for line in metrics.render()[0].decode().splitlines():
        if line.startswith(series + " "):
            return float(line.rsplit(" ", 1)[1])
    return None


def finish(metrics: Metrics, job: str, state: str = "Succeeded") -> None:
    metrics.run_finished("ns", job, state=state, cause="Schedule", duration=timedelta(seconds=2), at=NOW)


def test_a_finished_run_is_counted_timed_and_remembered():
    """Count by state and cause, duration by state, last success by job."""
    metrics = make()
    finish(metrics, "a")
    finish(metrics, "a", "Failed")
    assert value(metrics, 'jobwarden_runs_total{cause="Schedule",job="a",namespace="ns",state="Succeeded"}') == 1
    assert value(metrics, 'jobwarden_runs_total{cause="Schedule",job="a",namespace="ns",state="Failed"}') == 1
    assert value(metrics, 'jobwarden_run_duration_seconds_sum{state="Failed"}') == 2
    assert value(metrics, 'jobwarden_job_last_success_timestamp_seconds{job="a",namespace="ns"}') == NOW.timestamp()


def test_jobs_beyond_the_bound_share_one_series():
    """However many jobs there are, the number of series is bounded, and how many are left out is told."""
    metrics = make(jobs=2)
    for index in range(50):
        finish(metrics, f"job-{index}")
    text = metrics.render()[0].decode()
    assert set(re.findall(r'jobwarden_runs_total\{[^}]*job="([^"]+)"', text)) == {"job-0", "job-1", "_other"}
    assert (
        value(metrics, 'jobwarden_runs_total{cause="Schedule",job="_other",namespace="_other",state="Succeeded"}') == 48
    )
    assert value(metrics, "jobwarden_jobs_without_series") == 48


def test_a_removed_job_frees_its_series():
    """Deleting jobs makes room for others and leaves nothing stale behind."""
    metrics = make(jobs=1)
    finish(metrics, "a")
    metrics.job_overdue("ns", "a", overdue=True)
    metrics.job_removed("ns", "a")
    assert 'job="a"' not in metrics.render()[0].decode()
    finish(metrics, "b")
    assert 'job="b"' in metrics.render()[0].decode()


def test_overdue_goes_up_and_down():
    """1 while an alert is crossed."""
    metrics = make()
    metrics.job_overdue("ns", "a", overdue=True)
    assert value(metrics, 'jobwarden_job_overdue{job="a",namespace="ns"}') == 1
    metrics.job_overdue("ns", "a", overdue=False)
    assert value(metrics, 'jobwarden_job_overdue{job="a",namespace="ns"}') == 0


def test_states_that_nobody_waits_in_are_zero():
    """A gauge that was set once does not stay when the state is left out."""
    metrics = make()
    metrics.queue({"Pending": 3})
    metrics.queue({"Claimed": 1})
    assert value(metrics, 'jobwarden_queue_depth{state="Pending"}') == 0
    assert value(metrics, 'jobwarden_queue_depth{state="Claimed"}') == 1


def test_store_counters_are_read_at_scrape():
    """The store counts for itself."""
    metrics = make()
    counted = [StoreCounters(1, 10)]
    metrics.store_counters(lambda: counted[0])
    assert value(metrics, "jobwarden_store_commits_total") == 1
    counted[0] = StoreCounters(2, 30)
    assert value(metrics, "jobwarden_store_operations_total") == 30


def test_names_follow_the_conventions():
    """Prefix everywhere, base units, counters end in _total."""
    metrics = make()
    for line in metrics.render()[0].decode().splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            assert name.startswith(("jobwarden_", "leader_election_", "process_", "python_gc_"))
            assert (kind == "counter") == name.endswith("_total")
            if kind == "histogram":
                assert name.endswith("_seconds")
    assert value(metrics, next(iter(re.findall(r"jobwarden_build_info\{[^}]*\}", metrics.render()[0].decode())))) == 1


def test_the_format_follows_the_scraper():
    """OpenMetrics for those that ask for it."""
    assert make().render("application/openmetrics-text; version=1.0.0")[1].startswith("application/openmetrics-text")
    assert make().render("")[1].startswith("text/plain")


def test_every_event_can_be_told_whether_or_not_metrics_are_on():
    """Both classes take the same calls: nobody needs to ask whether metrics are on."""
    told = {name for name in vars(Metrics) if not name.startswith("_")}
    assert told <= set(vars(PrometheusMetrics))
    assert Metrics().render()[0] == b""


@pytest.mark.parametrize("metrics", [Metrics(), make()], ids=["off", "on"])
def test_all_events(metrics: Metrics):
    """One call of each, with what the engine gives."""
    metrics.run_started("ns", "a", lateness=timedelta(milliseconds=3))
    metrics.run_finished("ns", "a", state="Denied", cause="Manual", duration=None, at=NOW)
    metrics.dispatch_ended(cause="Schedule", state="Skipped", reason="QueueFull")
    metrics.dispatch_ended(cause="Schedule", state="Done", reason=None)
    metrics.dispatch_deferred(reason="PoolFull")
    metrics.live_runs(3)
    metrics.jobs(10)
    metrics.job_succeeded_at("ns", "a", NOW)
    metrics.store_write(0.01)
    metrics.store_failed()
    metrics.source_synced("main", result="Applied", duration=timedelta(seconds=1), at=NOW)
    metrics.delivery(event="Failed", result="Sent")
    metrics.outbox(2)
    metrics.evidence(3)
    metrics.replicas(3)
    metrics.loop_restarted("due")
    metrics.render()
