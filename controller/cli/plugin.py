"""`kubectl jobwarden …`: the same command, asking the cluster that kubectl would ask; and what kubectl offers while somebody types it.

kubectl starts programs called `kubectl-jobwarden` and `kubectl_complete-jobwarden`. Invariant: verbs, options and exit codes are those of `jobwarden`.
Source: kubectl, "Extend kubectl with plugins"; the answer of a completion is that of Cobra, candidates and then a directive.
"""

import sys

import click

from controller.cli.main import jobwarden, main
from controller.cli.settings import Settings

_NO_FILES = 4  # Cobra's ShellCompDirectiveNoFileComp


def plugin() -> int:
    """Run the command as kubectl's."""
    return main(program="kubectl jobwarden", cluster=True)


def complete() -> int:
    """Print what fits after the words of the command line, of which the last one may be unfinished."""
    from click.shell_completion import ShellComplete  # noqa: PLC0415 - as click does

    words = sys.argv[1:]
    made = ShellComplete(jobwarden, {"obj": Settings(cluster=True)}, "kubectl jobwarden", "")
    offered = made.get_completions(words[:-1], words[-1] if words else "")
    click.echo("".join(f"{one.value}\n" for one in offered if one.type == "plain") + f":{_NO_FILES}")
    return 0
