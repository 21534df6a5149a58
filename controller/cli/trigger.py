"""`jobwarden trigger`: ask for a run, and with `--wait` stay until it has ended.

Invariant: with `--wait` the exit code is that of the work: 0 only if its last attempt succeeded.
"""

import json
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from controller.cli import asking, nouns, printing
from controller.cli.completing import names
from controller.cli.failures import NO
from controller.cli.settings import Settings, current, note, output_option, verb
from controller.cli.types import instant, key_value

_SHORTEST_SECONDS, _LONGEST_SECONDS = 0.05, 0.5


@verb(
    """
jobwarden trigger backup
jobwarden trigger report -p day=2026-01-31 -p format=pdf --wait
jobwarden trigger import --key batch-4711
jobwarden trigger deploy --proof-file /run/proofs/deploy.jwt
"""
)
@click.argument("name", metavar="NAME", shell_complete=names("jobs"))
@click.option(
    "-p",
    "--parameter",
    "parameters",
    type=key_value,
    multiple=True,
    metavar="KEY=VALUE",
    help="A parameter of the job; may be repeated.",
)
@click.option("--key", metavar="KEY", help="Idempotency key: a second request with it does not run again.")
@click.option(
    "--scheduled-for", type=instant, metavar="INSTANT", help="The nominal instant that the run sees, for a backfill."
)
@click.option(
    "--proof-file",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="File with the proof of authority that a policy asks for; the controller reads it when it decides, if its settings allow that.",
)
@click.option(
    "--proof-secret",
    metavar="NAME/KEY",
    help="The same in a key of a Secret of the namespace, for a controller in a cluster.",
)
@click.option(
    "--wait", is_flag=True, help="Wait until it has ended, retries included; exit with 0 only if it succeeded."
)
@output_option("text", "json", "yaml")
def trigger(name: str, parameters: tuple[tuple[str, str], ...], output: str, **asked: Any) -> int:
    """Run a job now, beside its schedule. The run passes every guard: holds, approval, pools, overlap."""
    instant_: datetime | None = asked["scheduled_for"]
    body = {
        "name": nouns.bare(name),
        "parameters": dict(parameters),
        "key": asked["key"],
        "scheduledFor": instant_.isoformat() if instant_ else None,
        "proofFrom": _proof(asked["proof_file"], asked["proof_secret"]),
    }
    dispatch = asking.act(current(), "trigger", body)
    identity, status = dispatch["metadata"]["name"], dispatch.get("status") or {}
    request = dispatch["kind"] == "RunRequest"
    if status.get("state") == "Skipped":
        printing.answer(dispatch, output, f"dispatch {identity} is Skipped: {status['message'] or status['reason']}")
        return 0 if status["reason"] == "DuplicateKey" else NO
    if not asked["wait"]:
        what = f"run request {identity}" if request else f"dispatch {identity}"
        text = f"{what} of job {nouns.bare(name)} is {'made' if request else 'Pending'}"
        printing.answer(dispatch, output, text)
        return 0
    return _wait(current(), identity, output)


def _proof(file: Path | None, secret: str | None) -> dict[str, Any] | None:
    """Where the proof is: its place is stored, never what is there."""
    if file is not None and secret is not None:
        raise click.UsageError(
            "a request has one proof: use --proof-file or --proof-secret", click.get_current_context()
        )
    if file is not None:
        return {"fileRef": {"path": str(file.absolute())}}
    if secret is None:
        return None
    name, _, key = secret.partition("/")
    if not name or not key or "/" in key:
        raise click.UsageError("--proof-secret is NAME/KEY, as in deploy-proof/token", click.get_current_context())
    return {"secretKeyRef": {"name": name, "key": key}}


def _wait(settings: Settings, dispatch: str, output: str) -> int:
    """Follow a dispatch to the end of its last attempt; gives the exit code."""
    pause, said = _SHORTEST_SECONDS, ""
    while not (outcome := asking.ask(settings, "outcome", name=dispatch))["ended"]:
        why = outcome["message"] or outcome["reason"]
        waits = f"{outcome['state']}: {why}" if why and why != outcome["state"] else ""
        if waits and waits != said and outcome["run"] is None:
            note(f"waiting: {waits}")
            said = waits
        time.sleep(pause)
        pause = min(pause * 1.3, _LONGEST_SECONDS)
    ended = outcome["run"] or f"{'run request' if settings.in_cluster else 'dispatch'} {dispatch}"
    if output in printing.DOCUMENTS and outcome["run"] and not settings.in_cluster:
        printing.show(asking.view(settings, "runs", name=outcome["run"]), output)
    elif output in printing.DOCUMENTS:
        printing.show(json.dumps(outcome).encode(), output)
    else:
        why = outcome["message"] or outcome["reason"]
        sys.stdout.write(f"{ended} {outcome['state']}{f': {why}' if why and not outcome['succeeded'] else ''}\n")
    return 0 if outcome["succeeded"] else NO
