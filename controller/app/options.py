"""What `jobwarden run` was asked to do, complete and checked: defaults are filled in, paths absolute, durations positive.

The command line makes one, the composition root reads it. Invariant: nothing below `app` looks at arguments or the environment for these.
"""

from datetime import timedelta
from enum import StrEnum
from pathlib import Path

import msgspec

from controller.domain.story import Tell


class LogFormat(StrEnum):
    """How the controller writes about itself: log lines for people, log lines for machines, or only the story."""

    Text = "text"
    Json = "json"
    Story = "story"


class GitOptions(msgspec.Struct, frozen=True, kw_only=True):
    """A Git source given by arguments; at most one of branch, tag, commit is set (none: the remote's default branch)."""

    url: str
    branch: str | None = None
    tag: str | None = None
    commit: str | None = None
    path: str = ""
    interval: timedelta = timedelta(minutes=1)


class RunOptions(msgspec.Struct, frozen=True, kw_only=True):
    """One controller. `paths`, `git` and the sources of `config` add up; at least one of them is given."""

    database: str
    state_dir: Path
    log_dir: Path
    socket: Path
    paths: tuple[Path, ...] = ()
    git: GitOptions | None = None
    config: Path | None = None
    namespace: str | None = None  # forced upon every resource of the sources given by arguments
    status_dir: Path | None = None
    metrics_addr: tuple[str, int] | None = None
    heartbeat_url: str | None = None
    until_idle: bool = False
    run_for: timedelta | None = None
    log_format: LogFormat = LogFormat.Text
    max_running: int | None = None
    tell: Tell | None = None  # who is told the story; None: nobody
    said: frozenset[str] = (
        frozenset()
    )  # fields that arguments or environment name: a configuration file does not win over them


def source_names(folders: int, *, git: bool = False) -> list[str]:
    """Names of the sources that arguments give, in their order, the Git one last: `plan` and the next `run` mean the same source. Pure."""
    names = ["manifests" if number == 0 else f"manifests-{number + 1}" for number in range(folders)]
    return [*names, "git"] if git else names
