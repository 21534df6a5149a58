"""What the real command tells a scraper: counted while it works, asked of the store where only the store knows."""

import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.harness import Warden
from tests.harness.manifests import job, once, pool
from tests.harness.ports import free_port

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def test_a_scrape_tells_jobs_queue_runs_and_store(make_warden: Callable[..., Warden], database: str | None):
    warden = make_warden(database=database)
    port = free_port()
    slots = {"pools": [{"name": "line"}]}
    warden.write("pool", pool("line", 1))
    warden.write("jobs", once("first", "sleep 60", concurrency=slots), once("quick"), job("idle"))
    warden.start("--metrics-addr", f"127.0.0.1:{port}", applied=("first", "quick", "idle"))
    warden.wait_for(lambda: [run for run in warden.runs() if run["spec"]["job"] == "first"], "the first to run")
    warden.write("second", once("second", concurrency=slots))

    def told(name: str, **labels: str) -> float | None:
        return _scrape(port).get((name, frozenset(labels.items())))

    warden.wait_for(lambda: told("jobwarden_queue_depth", state="Pending") == 1, "the second to wait")
    warden.wait_for(lambda: told("jobwarden_dispatches_total", cause="Schedule", state="Done", reason="") == 2, "two")
    assert told("jobwarden_jobs") == 4
    assert told("jobwarden_replicas") == 1
    assert told("jobwarden_runs_active") == 1
    assert told("jobwarden_runs_total", namespace="default", job="quick", cause="Schedule", state="Succeeded") == 1
    assert told("jobwarden_dispatch_deferrals_total", reason="PoolFull") == 1
    assert (told("jobwarden_store_write_seconds_count") or 0) > 0
    assert (told("jobwarden_store_commits_total") or 0) > 0

    # A job that is gone takes its series with it.
    warden.write("jobs", once("first", "sleep 60", concurrency=slots), job("idle"))
    warden.wait_for(lambda: told("jobwarden_jobs") == 3, "the job to be pruned")
    assert told("jobwarden_runs_total", namespace="default", job="quick", cause="Schedule", state="Succeeded") is None


def test_probes_tell_when_the_database_is_gone(make_warden: Callable[..., Warden], tmp_path: Path):
    warden = make_warden(database=f"sqlite:///{tmp_path}/state.db")
    port = free_port()
    warden.start("--metrics-addr", f"127.0.0.1:{port}")
    assert _status(port, "healthz") == 200
    warden.wait_for(lambda: _status(port, "readyz") == 200, "readiness")
    (tmp_path / "state.db").rename(tmp_path / "elsewhere.db")
    warden.wait_for(lambda: _status(port, "readyz") == 503, "the loss to be told")
    assert _status(port, "healthz") == 200


def _scrape(port: int) -> Samples:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def _status(port: int, probe: str) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{probe}", timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
