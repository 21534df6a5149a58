"""`jobwarden history` and `jobwarden tree`: what a job did, and a chain of runs as one thing.

Invariant: with `-o json` nothing is left out that the text shows.
"""

import sys
from datetime import UTC, datetime
from typing import Any

import click

from controller.cli import asking, nouns, printing
from controller.cli.columns import align
from controller.cli.completing import names
from controller.cli.paint import paint
from controller.cli.settings import current, note, output_option, verb
from controller.status.text import NONE, since

_COLOURS = {
    "Succeeded": "green",
    "Done": "green",
    "Running": "blue",
    "Pending": "yellow",
    "Claimed": "yellow",
    "AwaitingApproval": "yellow",
    "Cancelled": "dim",
    "Skipped": "dim",
}


@verb(
    """
jobwarden history backup
jobwarden history backup --limit 200 -o json
"""
)
@click.argument("name", metavar="NAME", shell_complete=names("jobs"))
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most N entries (default: 50).")
@output_option("table", "json", "yaml")
def history(name: str, limit: int | None, output: str) -> None:
    """List the runs of a job and the dispatches that ended without one, newest first."""
    data = asking.view(current(), "history", name=nouns.bare(name), limit=limit)
    if output in printing.DOCUMENTS:
        printing.show(data, output)
        return
    items = printing.decoded(data)["items"]
    if not items:
        note(f"{name} has done nothing yet.")
        return
    now = datetime.now(UTC)
    rows = [_row(one, now) for one in items]
    columns = ["AGE", "STATE", "REASON", "CAUSE", "ATTEMPT", "DURATION", "NAME"]
    sys.stdout.write("".join(f"{line}\n" for line in align(columns, rows)))


@verb("jobwarden tree nightly-2f6hd3xz")
@click.argument("name", metavar="RUN", shell_complete=names("runs"))
@output_option("text", "json", "yaml")
def tree(name: str, output: str) -> None:
    """Show the chain that RUN belongs to as one tree: what it triggered, what is tried again, what still waits."""
    data = asking.view(current(), "tree", name=nouns.bare(name))
    if output in printing.DOCUMENTS:
        printing.show(data, output)
        return
    found = printing.decoded(data)
    status = found["status"]
    click.echo(f"{found['metadata']['name']}: {_state(status['state'])}, {status['runs']} runs")
    for number, node in enumerate(status["nodes"]):
        _branch(node, "", last=number == len(status["nodes"]) - 1)


def _row(one: Any, now: datetime) -> list[str]:
    spec, status = one["spec"], one["status"]
    started = status.get("startedAt")
    ended = status.get("finishedAt") or now.isoformat()
    duration = since(datetime.fromisoformat(started), datetime.fromisoformat(ended)) if started else NONE
    count = f" x{spec['count']}" if spec.get("count", 1) > 1 else ""
    created = datetime.fromisoformat(one["metadata"]["creationTimestamp"])
    return [
        since(created, now),
        status["state"] + count,
        status["reason"] or NONE,
        spec["cause"],
        str(spec["attempt"]),
        duration,
        one["metadata"]["name"],
    ]


def _branch(node: Any, indent: str, *, last: bool) -> None:
    corner, below = ("└─ ", "   ") if last else ("├─ ", "│  ")
    attempt = f", attempt {node['attempt']}" if node["attempt"] > 1 else ""
    reason = f" ({node['reason']})" if node["reason"] and node["state"] != "Succeeded" else ""
    name = node["name"] if node["kind"] == "Run" else f"{node['job']} (waits)"
    click.echo(f"{indent}{corner}{name}  {_state(node['state'])}{reason}  {node['cause']}{attempt}")
    for number, child in enumerate(node["children"]):
        _branch(child, indent + below, last=number == len(node["children"]) - 1)


def _state(state: str) -> str:
    return paint(state, _COLOURS.get(state, "red"), sys.stdout)
