"""Small parts of the command: columns, option types, the options of `run`."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.app.options import KubernetesOptions, LogFormat, RunOptions
from controller.cli import run, types
from controller.cli.columns import align
from controller.cli.nouns import NOUNS, bare, known

CELLS = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), max_size=12)


@given(st.integers(1, 5).flatmap(lambda n: st.lists(st.lists(CELLS, min_size=n, max_size=n), min_size=1, max_size=8)))
def test_every_cell_stands_below_its_heading(table: list[list[str]]) -> None:
    """Columns begin at the same place in every line."""
    lines = align(table[0], table[1:])
    start = 0
    for index in range(len(table[0])):
        for row, line in zip(table, lines, strict=True):
            assert line[start : start + len(row[index])] == "".join(c if c.isprintable() else " " for c in row[index])
        start += max(len(row[index]) for row in table) + 3


def test_rows_that_come_later_stay_below_the_heading_and_widen_what_must_be_wider() -> None:
    """As `get -w` prints them."""
    widths: list[int] = []
    assert align(["NAME", "AGE"], [["a", "1s"]], widths) == ["NAME   AGE", "a      1s"]
    assert align([], [["b", "2s"]], widths) == ["b      2s"]
    assert align([], [["longer", "3s"]], widths) == ["longer   3s"]


def test_control_characters_do_not_reach_the_terminal() -> None:
    """A message from elsewhere can neither move the cursor nor begin a line."""
    assert align(["A"], [["\x1b[2Jx\ny"]]) == ["A", " [2Jx y"]


def test_addresses_may_leave_the_host_out_and_may_be_ipv6() -> None:
    """As everybody writes them."""
    assert types.address(":9090") == ("0.0.0.0", 9090)
    assert types.address("[::1]:80") == ("::1", 80)
    assert types.address("localhost:0") == ("localhost", 0)
    for wrong in ("9090", "host:", "host:port", "host:70000", "host:٣"):
        with pytest.raises(click.BadParameter, match="HOST:PORT"):
            types.address(wrong)


def test_an_instant_may_be_a_duration_from_now() -> None:
    """Which is what people mean by `--until 2h`."""
    before = datetime.now(UTC)
    assert timedelta(hours=2) <= types.instant("2h") - before < timedelta(hours=2, minutes=5)
    assert types.instant("2026-01-31T18:00:00+02:00") == datetime(2026, 1, 31, 16, tzinfo=UTC)


def test_a_parameter_may_be_empty_and_may_hold_equals_signs() -> None:
    """Only the first one divides."""
    assert types.key_value("a=") == ("a", "")
    assert types.key_value("a=b=c") == ("a", "b=c")


def test_every_noun_is_known_by_all_its_names_and_no_name_means_two() -> None:
    """`get job`, `get jobs`, `get sjob`."""
    every = [alias for noun, aliases in NOUNS.items() for alias in (noun, *aliases)]
    assert len(every) == len(set(every))
    assert all(known(alias.upper()) for alias in every)
    assert bare("job/backup") == "backup"


def options(*arguments: str, db: str = "sqlite:////data/jobs.db") -> RunOptions:
    """The options that a command line means."""
    seen: list[RunOptions] = []

    @click.group()
    def root() -> None:
        pass

    @click.pass_context
    def capture(context: click.Context, folders: tuple[Path, ...], **given: object) -> None:
        seen.append(run.options_of(folders, dict(given)))

    root.add_command(click.Command("run", params=run.run.params, callback=capture))
    root.main(["run", *arguments, "--db", db], standalone_mode=False)
    return seen[0]


def test_everything_of_an_installation_follows_from_its_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """State and logs are beside the SQLite file; paths are absolute."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("JOBWARDEN_LOG_DIR", raising=False)
    (tmp_path / "manifests").mkdir()
    found = options("manifests")
    assert found.paths == (tmp_path / "manifests",)
    assert (found.state_dir, found.log_dir) == (Path("/data"), Path("/data/logs"))
    assert options("manifests", db="sqlite:///x.db").database == f"sqlite:///{tmp_path}/x.db"
    assert found.log_format is LogFormat.Json  # not on a terminal


def test_every_option_of_run_reaches_the_controller(tmp_path: Path) -> None:
    """None is dropped on the way."""
    (tmp_path / "c.yaml").touch()
    found = options(
        *("--git", "https://example.org/r.git", "--tag", "v1", "--path", "jobs/", "--interval", "5m"),
        *("--config", str(tmp_path / "c.yaml"), "--state-dir", "/s", "--log-dir", "/l", "--status-dir", "/st"),
        *("--metrics-addr", ":1", "--heartbeat-url", "http://h", "--until-idle", "--for", "30s"),
        *("--log-format", "json", "--max-running", "3", "--namespace", "team"),
    )  # fmt: skip
    assert found.git is not None
    assert (found.git.tag, found.git.path, found.git.interval) == ("v1", "jobs/", timedelta(minutes=5))
    assert (found.state_dir, found.log_dir, found.status_dir) == (Path("/s"), Path("/l"), Path("/st"))
    assert (found.metrics_addr, found.heartbeat_url) == (("0.0.0.0", 1), "http://h")
    assert (found.until_idle, found.run_for, found.max_running) == (True, timedelta(seconds=30), 3)
    assert (found.log_format, found.namespace, found.config) == (LogFormat.Json, "team", tmp_path / "c.yaml")
    assert found.tell is None


def test_a_cluster_is_watched_only_with_the_word_that_its_jobs_run_here() -> None:
    """Whoever may create a ScheduledJob runs programs as this user then: nobody gets there by accident."""
    found = options(
        "--kubernetes", "--executor", "Local", "--context", "prod", "--watch-namespace", "a", "--watch-namespace", "b"
    )
    assert found.kubernetes == KubernetesOptions(context="prod", namespaces=("a", "b"))
    with pytest.raises(click.UsageError, match="--kubernetes needs --executor"):
        options("--kubernetes")
    for alone in (("--context", "prod"), ("--watch-namespace", "a")):
        with pytest.raises(click.UsageError, match=f"{alone[0]} needs --kubernetes"):
            options(*alone, "folder")
