"""What `jobwarden run` was asked to do, complete and checked: defaults are filled in, paths absolute, durations positive.

The command line makes one, the composition root reads it. Invariant: nothing below `app` looks at arguments or the environment for these.
"""

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from controller.base import paths
from controller.domain.story import Tell

_MOST_NAME = 63


class LogFormat(StrEnum):
    """How the controller writes about itself: log lines as text, log lines as JSON, or the story for whoever watches (and warnings)."""

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


class KubernetesOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Custom resources as a source. `context` None: the service account of the Pod, or kubectl's current context; no `namespaces`: all of them.

    `lease` is the name of the Lease by which replicas agree, or namespace/name where that is not the namespace of the context.
    """

    context: str | None = None
    namespaces: tuple[str, ...] = ()
    lease: str = "jobwarden"


class RunOptions(msgspec.Struct, frozen=True, kw_only=True):
    """One controller. `paths`, `git`, `kubernetes` and the sources of `config` add up; at least one of them is given."""

    database: str
    state_dir: Path
    log_dir: Path
    socket: Path
    paths: tuple[Path, ...] = ()
    git: GitOptions | None = None
    kubernetes: KubernetesOptions | None = None
    context: str | None = None  # of the kubeconfig; for Pods where no source is in a cluster
    executors: tuple[
        str, ...
    ] = ()  # where jobs may run; the first where a job does not say. None: the configuration says, else Local
    image: str | None = None
    config: Path | None = None
    namespace: str | None = None  # forced upon every resource of the sources given by arguments
    status_dir: Path | None = None
    metrics_addr: tuple[str, int] | None = None
    history_addr: tuple[str, int] | None = None
    history_token_file: Path | None = None
    heartbeat_url: str | None = None
    until_idle: bool = False
    run_for: timedelta | None = None
    log_format: LogFormat = LogFormat.Text
    max_running: int | None = None
    tell: Tell | None = None  # who is told the story; None: nobody
    said: frozenset[str] = (
        frozenset()
    )  # fields that arguments or environment name: a configuration file does not override them


def configured(options: RunOptions, values: Mapping[str, Any], environ: Mapping[str, str]) -> RunOptions:
    """The options with what a configuration file says where nothing stronger was said; what follows from a database or folder follows.

    Shape:  `values` maps field names of RunOptions to values; None means that the file does not say.
    Errors: InvalidInput for a database URL that cannot be used. Pure apart from the working directory.
    """
    chosen = {name: value for name, value in values.items() if value is not None and name not in options.said}
    merged: RunOptions = msgspec.structs.replace(options, **chosen)
    database = paths.absolute_url(merged.database)
    known = options.said | chosen.keys()
    state_dir = merged.state_dir if "state_dir" in known else paths.state_dir(database, environ)
    log_dir = merged.log_dir if "log_dir" in known else state_dir / "logs"
    socket = paths.control_socket(database, environ, os.getuid())
    return msgspec.structs.replace(merged, database=database, state_dir=state_dir, log_dir=log_dir, socket=socket)


def source_names(folders: Sequence[Path], git: str | None = None) -> list[str]:
    """Names for the sources that arguments give, in their order, the Git one last. Pure.

    A name follows from the folder or repository, so that `plan` and the next `run` mean the same source and its inventory; where two would have
    one name, all but the first carry a digest of their place.
    """
    places = [str(folder) for folder in folders] + ([git] if git is not None else [])
    names: list[str] = []
    for place in places:
        last = place.rstrip("/").removesuffix(".git").rpartition("/")[2].rpartition(":")[2]
        name = re.sub(r"[^a-z0-9]+", "-", last.lower()).strip("-")[:_MOST_NAME].strip("-") or "source"
        if name in names:
            name = f"{name[: _MOST_NAME - 9]}-{hashlib.sha256(place.encode()).hexdigest()[:8]}"
        names.append(name)
    return names
