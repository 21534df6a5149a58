"""`jobwarden run`: arguments to `RunOptions`, then the controller until it ends.

Invariant: everything that can be said about the arguments without the database is said here, before anything is opened.
"""

import os
import re
import sys
from pathlib import Path
from typing import Any

import click

from controller.app.options import GitOptions, KubernetesOptions, LogFormat, RunOptions
from controller.base import paths
from controller.cli.settings import current, verb
from controller.cli.story import teller
from controller.cli.types import address, duration

_CONFIGURABLE = (
    "state_dir",
    "log_dir",
    "status_dir",
    "metrics_addr",
    "history_addr",
    "history_token_file",
    "heartbeat_url",
    "max_running",
)
_LEASE = re.compile(r"([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?/)?[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_GIT_ONLY = ("branch", "tag", "commit", "path", "interval")


@verb(
    """
jobwarden run manifests/
jobwarden run --git https://example.org/jobs.git --branch main --path jobs/ --interval 1m
jobwarden run --kubernetes --executor Kubernetes --job-image busybox:1.37 --watch-namespace team-a
jobwarden run manifests/ --until-idle --log-format json
""",
    local=True,
)
@click.argument("folders", metavar="[PATH]...", nargs=-1, type=click.Path(path_type=Path))
@click.option("--git", metavar="URL", help="Read manifests from a Git repository.")
@click.option("--branch", metavar="NAME", help="Branch to follow (default: the remote's own).")
@click.option("--tag", metavar="NAME", help="Tag to follow.")
@click.option("--commit", metavar="HASH", help="Commit to stay at.")
@click.option("--path", metavar="FOLDER", help="Folder inside the repository.")
@click.option("--interval", type=duration, metavar="DURATION", help="How often to fetch (default: 1m).")
@click.option("--kubernetes", is_flag=True, help="Read custom resources from a cluster, and write their status.")
@click.option("--context", "kube_context", metavar="NAME", help="Context of the kubeconfig (default: the current one).")
@click.option(
    "--watch-namespace",
    "namespaces",
    metavar="NAMESPACE",
    multiple=True,
    help="Only this namespace of the cluster; may be repeated (default: all of them).",
)
@click.option(
    "--lease",
    metavar="[NAMESPACE/]NAME",
    help="The Lease that replicas of one controller agree by (default: jobwarden, in the namespace of the context or Pod).",
)
@click.option(
    "--executor",
    "executors",
    type=click.Choice(["Local", "Kubernetes"]),
    multiple=True,
    help="Where jobs may run; repeated: the first is meant where a job does not say. Local: as processes of this user beside the controller (default; with --kubernetes it "
    "has to be said, as whoever may create a ScheduledJob runs programs here then). Kubernetes: as Pods.",
)
@click.option("--job-image", "image", metavar="IMAGE", help="Container image of jobs that name none.")
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="A jobwarden.yaml with named sources and settings.",
)
@click.option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Where run logs and clones live (default: beside the SQLite file).",
)
@click.option(
    "--log-dir",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Where run logs live (default: logs/ in the state folder).  [env: JOBWARDEN_LOG_DIR]",
)
@click.option(
    "--status-dir",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Write the status of every resource as YAML files into this folder.",
)
@click.option("--metrics-addr", type=address, metavar="HOST:PORT", help="Serve /metrics, /healthz and /readyz there.")
@click.option(
    "--history-addr",
    type=address,
    metavar="HOST:PORT",
    help="Serve history and logs there, read-only, to verbs that come through an API server.",
)
@click.option(
    "--history-token-file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The token that they have to know, of 16 characters or more.",
)
@click.option("--heartbeat-url", metavar="URL", help="Ping this URL while everything works.")
@click.option("--until-idle", is_flag=True, help="End once nothing runs, waits or will ever be due.")
@click.option("--for", "run_for", type=duration, metavar="DURATION", help="Drain and end after this time.")
@click.option(
    "--log-format",
    type=click.Choice([str(one) for one in LogFormat]),
    help="How to report (default: story on a terminal, else json).",
)
@click.option("--max-running", type=click.IntRange(min=1), metavar="N", help="How many runs may be open at once.")
def run(folders: tuple[Path, ...], **given: Any) -> int:
    """Run the controller: watch manifests, apply them, run the jobs, report. Ctrl-C waits for what runs; a second one interrupts it.

    PATH is a folder with manifests. With --namespace every resource read from PATH or --git goes into that namespace.
    """
    options = options_of(folders, given)
    # The whole engine: neither help nor a wrong argument should wait for it.
    from controller.app import controller  # noqa: PLC0415

    return controller.run(options)


def options_of(folders: tuple[Path, ...], given: dict[str, Any]) -> RunOptions:
    """The options that the arguments mean. Errors: click.UsageError when they contradict each other, InvalidInput for the database."""
    given["kube_context"] = given["kube_context"] or current().context
    git, kubernetes = _git(given), _kubernetes(given)
    if not folders and git is None and kubernetes is None and given["config"] is None:
        error = click.UsageError("nothing to run: no source of manifests is given", click.get_current_context())
        error.add_note(
            "name a folder (`jobwarden run manifests/`), a repository (--git URL), a cluster (--kubernetes) or a configuration (--config jobwarden.yaml)"
        )
        raise error
    for folder in folders:
        if not folder.is_dir():
            what = "is not a folder" if folder.exists() else "does not exist"
            raise click.UsageError(f"{folder} {what}; name a folder with manifests", click.get_current_context())
    database = current().database
    state_dir = _absolute(given["state_dir"]) or paths.state_dir(database, os.environ)
    log_dir = _absolute(given["log_dir"]) or _absolute(os.environ.get("JOBWARDEN_LOG_DIR")) or state_dir / "logs"
    log_format = LogFormat(given["log_format"] or ("story" if sys.stdout.isatty() else "json"))
    return RunOptions(
        database=database,
        state_dir=state_dir,
        log_dir=log_dir,
        socket=current().socket,
        paths=tuple(Path(os.path.abspath(folder)) for folder in folders),  # noqa: PTH100 - symlinks are kept: they are swapped
        git=git,
        kubernetes=kubernetes,
        context=given["kube_context"],
        executors=given["executors"],
        image=given["image"],
        config=_absolute(given["config"]),
        namespace=current().namespace,
        status_dir=_absolute(given["status_dir"]),
        metrics_addr=given["metrics_addr"],
        history_addr=given["history_addr"],
        history_token_file=_absolute(given["history_token_file"]),
        heartbeat_url=given["heartbeat_url"],
        until_idle=given["until_idle"],
        run_for=given["run_for"],
        log_format=log_format,
        max_running=given["max_running"],
        tell=teller(sys.stdout) if log_format is LogFormat.Story else None,
        said=_said(given),
    )


def _said(given: dict[str, Any]) -> frozenset[str]:
    """What arguments or the environment said, by the names of the options' fields."""
    said = {name for name in _CONFIGURABLE if given[name] is not None}
    if current().db or os.environ.get("JOBWARDEN_DB"):
        said.add("database")
    if os.environ.get("JOBWARDEN_LOG_DIR"):
        said.add("log_dir")
    return frozenset(said)


def _git(given: dict[str, Any]) -> GitOptions | None:
    named = [name for name in _GIT_ONLY if given[name] is not None]
    if given["git"] is None:
        if named:
            raise click.UsageError(f"--{named[0]} needs --git URL", click.get_current_context())
        return None
    revisions = [name for name in ("branch", "tag", "commit") if given[name] is not None]
    if len(revisions) > 1:
        raise click.UsageError(f"--{revisions[0]} and --{revisions[1]} exclude each other", click.get_current_context())
    return GitOptions(url=given["git"], **{name: given[name] for name in named})


def _kubernetes(given: dict[str, Any]) -> KubernetesOptions | None:
    if given["kubernetes"]:
        if not given["executors"] and given["config"] is None:
            error = click.UsageError("--kubernetes needs --executor", click.get_current_context())
            error.add_note(
                "`--executor Kubernetes` runs jobs as Pods; `--executor Local` lets everybody who may create a ScheduledJob run programs as this user, on this host"
            )
            raise error
        return KubernetesOptions(
            context=given["kube_context"], namespaces=given["namespaces"], lease=_lease(given["lease"])
        )
    for option, value in (("--watch-namespace", given["namespaces"]), ("--lease", given["lease"])):
        if value:
            raise click.UsageError(f"{option} needs --kubernetes", click.get_current_context())
    if given["kube_context"] and "Kubernetes" not in given["executors"] and given["config"] is None:
        raise click.UsageError("--context needs --kubernetes or --executor Kubernetes", click.get_current_context())
    return None


def _lease(given: str | None) -> str:
    lease = given or KubernetesOptions().lease
    if _LEASE.fullmatch(lease) is None:
        raise click.UsageError(
            f"--lease {lease}: give the name of a Lease, or namespace/name, in lower case", click.get_current_context()
        )
    return lease


def _absolute(path: str | Path | None) -> Path | None:
    return Path(path).absolute() if path else None
