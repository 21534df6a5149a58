"""Verbs that decide or change something: cancel, approve, reject, hold, release, reconcile. Each is one request and one sentence back.

Invariant: nothing is said to have happened unless the answer says so.
"""

from datetime import datetime
from typing import Any

import click

from controller.cli import asking, nouns, printing
from controller.cli.completing import names
from controller.cli.settings import current, output_option, verb
from controller.cli.types import instant

_answer_form = output_option("text", "json", "yaml")
_reason = click.option("--reason", metavar="TEXT", default="", help="Why; it is kept with the decision.")


@verb(
    """
jobwarden cancel backup-7kq2mx4a
jobwarden cancel --root nightly-2f6hd3xz
"""
)
@click.argument("name", metavar="[RUN]", required=False, shell_complete=names("runs"))
@click.option("--root", metavar="RUN", help="Cancel the whole chain that goes back to this run.")
@_answer_form
def cancel(name: str | None, root: str | None, output: str) -> None:
    """End a run with everything it started, or a dispatch that waits. It triggers nothing after it."""
    if (name is None) is (root is None):
        raise click.UsageError("name either a run or, with --root, a chain", click.get_current_context())
    answer = asking.act(current(), "cancel", {"name": nouns.bare(name), "root": nouns.bare(root)})
    ended = [one["metadata"]["name"] for one in answer["items"]]
    word = "run" if answer["kind"] == "RunList" else "dispatch"
    text = (
        "\n".join(f"{word} {one} is being cancelled" for one in ended)
        or f"{f'chain {root}' if root else name}: what waited is cancelled"
    )
    printing.answer(answer, output, text)


@verb(
    """
jobwarden approve deploy
jobwarden approve deploy-a4k2 --reason "checked with the team"
"""
)
@click.argument("name", metavar="ID", shell_complete=names("approvals"))
@_reason
@_answer_form
def approve(name: str, reason: str, output: str) -> None:
    """Say yes to an approval, by its name or by the name of a job that has just one open."""
    _decide("approve", name, reason, output)


@verb(
    """
jobwarden reject deploy
jobwarden reject deploy-a4k2 --reason "not on a Friday"
"""
)
@click.argument("name", metavar="ID", shell_complete=names("approvals"))
@_reason
@_answer_form
def reject(name: str, reason: str, output: str) -> None:
    """Say no to an approval; one no is enough, and what it was asked for will not run."""
    _decide("reject", name, reason, output)


@verb(
    """
jobwarden hold backup --reason "the disk is being replaced"
jobwarden hold backup --reason maintenance --until 2h
jobwarden hold backup --reason maintenance --until 2026-01-31T18:00:00Z
"""
)
@click.argument("name", metavar="NAME", shell_complete=names("jobs"))
@click.option("--reason", metavar="TEXT", required=True, help="Why; everybody who asks about the job sees it.")
@click.option(
    "--until", type=instant, metavar="INSTANT", help="Release it by itself then (an instant, or a duration from now)."
)
@_answer_form
def hold(name: str, reason: str, until: datetime | None, output: str) -> None:
    """Pause a job: nothing of it starts until it is released. What runs goes on."""
    body = {"name": nouns.bare(name), "reason": reason, "until": until.isoformat() if until else None}
    answer = asking.act(current(), "hold", body)
    held = answer["status"]["hold"]
    ends = f" until {held['until']}" if held and held["until"] else ""
    printing.answer(answer, output, f"job {answer['metadata']['name']} is held{ends}")


@verb("jobwarden release backup")
@click.argument("name", metavar="NAME", shell_complete=names("jobs"))
@_answer_form
def release(name: str, output: str) -> None:
    """Lift the hold of a job. Its schedule goes on from now; what passed meanwhile is not caught up."""
    answer = asking.act(current(), "release", {"name": nouns.bare(name)})
    following = answer["status"]["nextRunAt"]
    text = f"job {answer['metadata']['name']} is released" + (f"; next at {following}" if following else "")
    printing.answer(answer, output, text)


@verb(
    """
jobwarden reconcile
jobwarden reconcile manifests
"""
)
@click.argument("name", metavar="[NAME]", required=False, shell_complete=names("sources"))
@_answer_form
def reconcile(name: str | None, output: str) -> None:
    """Have the controller read its sources again now: all, or the one called NAME, or the one that the job NAME is from."""
    answer = asking.act(current(), "reconcile", {"name": nouns.bare(name)})
    printing.answer(answer, output, "\n".join(f"source {one} is being read" for one in answer["sources"]))


def _decide(word: str, name: str, reason: str, output: str) -> None:
    answer: Any = asking.act(current(), word, {"name": nouns.bare(name), "reason": reason})
    # An object that was decided a moment ago has not been looked at yet.
    state, spec = (answer.get("status") or {}).get("state", "Pending"), answer["spec"]
    agreed = sum(one["decision"] == "Approved" for one in spec["decisions"].values())
    counted = f"{agreed} of {spec['approvals']} have agreed" if "approvals" in spec else "the decision is recorded"
    missing = f"; {counted}" if state == "Pending" else ""
    job = spec["jobRef"]["name"]
    printing.answer(answer, output, f"approval {answer['metadata']['name']} of job {job}: {state}{missing}")
