"""`jobwarden explain`: when a job runs next, and what became of each recent instant, in sentences.

Invariant: the text and `-o json` come from the same account.
"""

from typing import Any

import click

from controller.cli import asking, nouns, printing
from controller.cli.completing import names
from controller.cli.settings import current, output_option, verb


@verb(
    """
jobwarden explain backup
jobwarden explain backup --limit 200 -o json
"""
)
@click.argument("name", metavar="NAME", shell_complete=names("jobs"))
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most N recent instants (default: 50).")
@output_option("text", "json", "yaml")
def explain(name: str, limit: int | None, output: str) -> None:
    """Say when a job runs next, and for each recent instant why it ran, waits, was skipped or was missed."""
    data = asking.view(current(), "explain", name=nouns.bare(name), limit=limit)
    if output in printing.DOCUMENTS:
        printing.show(data, output)
    else:
        click.echo("\n".join(account(printing.decoded(data)["status"])))


def account(status: Any) -> list[str]:
    """The account as lines of text. Pure."""
    lines = ["Next:"]
    lines += [f"  {one}" for one in status["next"]] or ["  no instant"]
    if status["note"]:
        lines += [f"  {status['note']}"]
    lines += ["", "Recent:"]
    lines += [_line(one) for one in status["recent"]] or ["  nothing yet"]
    return lines


def _line(one: Any) -> str:
    instant = one["scheduledFor"]
    if one["through"] and one["count"] > 1:
        instant = f"{instant} to {one['through']} (at least {one['count']} instants)"
    reason = f" {one['reason']}" if one["reason"] else ""
    return f"  {instant}  {one['runState'] or one['state']}{reason}  {one['cause']}: {one['why']}"
