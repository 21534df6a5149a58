"""What every verb shares: which database or cluster, which namespace, which output format. Options that may stand before or after the verb.

Verbs take `settings(ctx)`. Invariant: what is written last on the command line wins, then the environment, then the default.
"""

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from controller.base import paths
from controller.base.errors import InvalidInput

F = TypeVar("F", bound=Callable[..., Any])


class Settings:
    """Filled by option callbacks while click parses."""

    def __init__(self, *, cluster: bool = False) -> None:
        """`cluster`: where nothing else is said, what kubectl would talk to is meant."""
        self.db: str | None = None
        self.context: str | None = None
        self.controller_namespace: str | None = None
        self.namespace: str | None = None
        self.all_namespaces = False
        self.patience = 60.0  # seconds that an API server has for an answer
        self._cluster = cluster

    @property
    def database(self) -> str:
        """The database URL, valid in every working directory. Errors: click.UsageError."""
        named = self.db or os.environ.get("JOBWARDEN_DB")
        try:
            return paths.absolute_url(named or paths.default_database(os.environ))
        except InvalidInput as error:
            raise click.UsageError(f"--db: {error}" if self.db else f"JOBWARDEN_DB: {error}") from error

    @property
    def scope(self) -> str:
        """The namespace that a verb is about; "" for all of them."""
        if self.all_namespaces:
            return ""
        named = self.namespace or os.environ.get("JOBWARDEN_NAMESPACE")
        return named or (self.cluster.namespace if self.in_cluster else "default")

    @property
    def in_cluster(self) -> bool:
        """Whether a cluster is asked, and no database. Errors: click.UsageError where both are named."""
        if self.context is not None and self.db is not None:
            raise click.UsageError("--db and --context exclude each other: name the database or the cluster")
        return self.context is not None or (self._cluster and self.db is None)

    @functools.cached_property
    def cluster(self) -> Any:
        """The cluster that is meant. Errors: InvalidInput where there is none."""
        # A third of a second of clients that other verbs do not owe.
        from controller.cli.cluster import Cluster  # noqa: PLC0415

        return Cluster(self.context, self.controller_namespace, self.patience)

    @property
    def socket(self) -> Path:
        """Where the controller of that database listens."""
        return paths.socket_to_ask(self.database, os.environ, os.getuid())


def settings(ctx: click.Context) -> Settings:
    """The settings of this command line."""
    root = ctx.find_root()
    if root.obj is None:
        root.obj = Settings()
    found: Settings = root.obj
    return found


def current() -> Settings:
    """The settings of the command that is being run."""
    return settings(click.get_current_context())


def _store(attribute: str) -> Callable[[click.Context, click.Parameter, Any], Any]:
    def callback(ctx: click.Context, _parameter: click.Parameter, value: Any) -> Any:
        # None and False mean "not given here": an earlier place may have said more.
        if value not in (None, False):
            setattr(settings(ctx), attribute, value)
        return value

    return callback


def database_option(function: F) -> F:
    """`--db URL`."""
    return click.option(
        "--db",
        metavar="URL",
        expose_value=False,
        callback=_store("db"),
        help="Database: sqlite:///FILE or postgresql://USER@HOST/NAME.  [env: JOBWARDEN_DB]",
    )(function)


def namespace_option(function: F) -> F:
    """`-n NAMESPACE`."""
    return click.option(
        "-n",
        "--namespace",
        metavar="NS",
        expose_value=False,
        callback=_store("namespace"),
        help="Namespace (default: default).  [env: JOBWARDEN_NAMESPACE]",
    )(function)


def place_options(function: F) -> F:
    """`--db URL`, `-n NAMESPACE`, and `--context NAME` with what belongs to it."""
    context = click.option(
        "--context",
        metavar="NAME",
        expose_value=False,
        callback=_store("context"),
        help="Ask the cluster of this context of the kubeconfig instead of a database.",
    )
    controller = click.option(
        "--controller-namespace",
        metavar="NS",
        expose_value=False,
        callback=_store("controller_namespace"),
        help="Where the controller lives in the cluster (default: jobwarden).",
    )
    return database_option(namespace_option(context(controller(function))))


def all_namespaces_option(function: F) -> F:
    """`-A`."""
    return click.option(
        "-A",
        "--all-namespaces",
        is_flag=True,
        expose_value=False,
        callback=_store("all_namespaces"),
        help="All namespaces.",
    )(function)


def output_option(*formats: str) -> Callable[[F], F]:
    """`-o FORMAT`, one of `formats`; the first is the default."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(formats),
        default=formats[0],
        metavar="|".join(formats),
        help=f"How to print it (default: {formats[0]}).",
    )


def verb(
    example: str, *, name: str | None = None, cls: type[click.Command] | None = None, local: bool = False
) -> Callable[[Callable[..., Any]], click.Command]:
    """Declare a verb that talks to one installation: `--db`, `-n`, `--context`, and an example in its help; `local`: never to a cluster."""

    def decorate(function: Callable[..., Any]) -> click.Command:
        command = click.command(name, cls=cls, epilog=f"\b\nExample:\n{_indented(example)}")
        return command(database_option(namespace_option(function)) if local else place_options(function))

    return decorate


def note(text: str) -> None:
    """Say something beside the answer, where scripts do not look."""
    sys.stderr.write(text + "\n")


def _indented(example: str) -> str:
    return "\n".join(f"  {line}" for line in example.strip().splitlines())
