"""Entry point of the `jobwarden` command: the list of verbs, and how every one of them ends.

Invariant: whatever happens, the process ends with one of four codes and at most one message, and never with a traceback of a foreseeable error:
0 fine, 1 the answer is no, 2 wrong usage, 3 the controller or the database cannot be reached.
"""

import os
import sys
from collections.abc import Sequence

import click

from controller.base.errors import JobwardenError
from controller.cli.failures import BROKEN_PIPE, INTERRUPTED, report, report_usage
from controller.cli.lazy import LazyGroup, Verb
from controller.cli.settings import Settings, place_options

VERBS = {
    "run": Verb("controller.cli.run", "run", "Run the controller on manifests."),
    "validate": Verb("controller.cli.check", "validate", "Check manifests without applying them."),
    "plan": Verb("controller.cli.check", "plan", "Show what applying manifests would change."),
    "get": Verb(
        "controller.cli.get", "get", "List jobs, runs, the queue, approvals, pools, documents of trust or sources."
    ),
    "describe": Verb("controller.cli.describe", "describe", "Show everything about one thing."),
    "logs": Verb("controller.cli.logs", "logs", "Print what a run printed."),
    "history": Verb("controller.cli.history", "history", "List what a job did, newest first."),
    "tree": Verb("controller.cli.history", "tree", "Show a chain of runs as one thing."),
    "explain": Verb(
        "controller.cli.explain", "explain", "Say when a job runs next, and why each recent instant ran or did not."
    ),
    "trust": Verb("controller.cli.trust", "trust", "Show what the gates of trust decide, and why."),
    "trigger": Verb("controller.cli.trigger", "trigger", "Run a job now."),
    "cancel": Verb("controller.cli.act", "cancel", "Cancel a run or a whole chain."),
    "approve": Verb("controller.cli.act", "approve", "Say yes to what waits for a decision."),
    "reject": Verb("controller.cli.act", "reject", "Say no to what waits for a decision."),
    "hold": Verb("controller.cli.act", "hold", "Pause a job until it is released."),
    "release": Verb("controller.cli.act", "release", "Lift the hold of a job."),
    "reconcile": Verb("controller.cli.act", "reconcile", "Read a source again now."),
    "evidence": Verb("controller.cli.evidence", "evidence", "Show, verify or export what is on record about runs."),
    "import": Verb("controller.cli.importing", "import_", "Turn CronJobs of Kubernetes into manifests."),
    "egress-proxy": Verb(
        "controller.cli.egress_proxy", "egress_proxy", "Let Pods out to the hosts of their contract, and nowhere else."
    ),
    "fence-check": Verb(
        "controller.cli.fence_check", "fence_check", "See that a Pod whose network is limited is kept in."
    ),
    "db": Verb("controller.cli.db", "db", "Upgrade, back up, restore or check the database."),
    "schema": Verb("controller.cli.schema", "schema", "Write the schemas of the resources."),
    "completion": Verb("controller.cli.completion", "completion", "Print a completion script for a shell."),
    "version": Verb("controller.cli.completion", "version", "Print the version."),
}


def _version(ctx: click.Context, _option: click.Parameter, asked: bool) -> None:  # noqa: FBT001 - click calls it
    if asked:
        ctx.invoke(jobwarden.get_command(ctx, "version"), output="text")  # type: ignore[arg-type]
        ctx.exit()


@click.group(
    cls=LazyGroup,
    verbs=VERBS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Example: jobwarden run manifests/",
)
@place_options
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_version,
    help="Print the version and exit.",
)
def jobwarden() -> None:
    """Declarative jobs: YAML in, runs out, and an account of every one of them.

    Exit codes: 0 fine, 1 the answer is no (invalid, not found, failed), 2 wrong usage, 3 the controller or the database cannot be reached.
    """


def main(arguments: Sequence[str] | None = None, *, program: str = "jobwarden", cluster: bool = False) -> int:
    """Run the command; gives its exit code. `cluster`: verbs ask a cluster unless they are told otherwise."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = jobwarden.main(given, prog_name=program, standalone_mode=False, obj=Settings(cluster=cluster))
        sys.stdout.flush()
    except click.UsageError as error:
        return report_usage(error, given)
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        _silence_stdout()
        return BROKEN_PIPE
    except (JobwardenError, click.ClickException) as error:
        return report(error, given)
    return code if isinstance(code, int) else 0


def _silence_stdout() -> None:
    """Whoever read our output has gone; what Python still wants to flush at exit goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
