"""`jobwarden logs`: what a run printed, byte for byte.

Invariant: standard output carries exactly what was printed; everything else that there is to say goes to standard error.
"""

import sys

import click

from controller.cli import asking, nouns
from controller.cli.completing import names
from controller.cli.settings import current, verb


@verb(
    """
jobwarden logs backup-7kq2mx4a
jobwarden logs backup -f
"""
)
@click.argument("name", metavar="RUN", shell_complete=names("runs"))
@click.option("-f", "--follow", is_flag=True, help="Go on while the run prints.")
def logs(name: str, *, follow: bool) -> None:
    """Print what RUN printed; RUN may also be a job, which means its latest run."""
    for piece in asking.log(current(), nouns.bare(name) or name, follow=follow):
        sys.stdout.buffer.write(piece)
        if follow:
            sys.stdout.buffer.flush()
    sys.stdout.buffer.flush()
