"""`jobwarden trust`: what the gates would say of a job now, and what they said of a run.

Invariant: the text and `-o json` come from the same account, and nothing that either shows is a secret.
"""

import contextlib
import sys
import threading
from collections.abc import Iterator
from typing import Any

import click

from controller.cli import asking, nouns, printing
from controller.cli.completing import names
from controller.cli.failures import NO
from controller.cli.paint import paint
from controller.cli.settings import current, note, output_option, verb

_COLOURS = {"Permit": "green", "Warn": "yellow", "Escalate": "yellow", "Defer": "yellow", "Deny": "red", "Fail": "red"}
_CHECKED = {
    "Permit": "would run",
    "Escalate": "would wait for approval",
    "Defer": "would wait",
    "Deny": "would be refused",
    "Fail": "would be permitted, and could not be started",
}


@click.group(epilog="\b\nExample:\n  jobwarden trust check nightly\n  jobwarden trust explain nightly-7kq2mx4a")
def trust() -> None:
    """Show what the gates of trust decide, and why."""


@verb(
    """
jobwarden trust check nightly
jobwarden trust check nightly -o json
"""
)
@click.argument("name", metavar="NAME", shell_complete=names("jobs"))
@output_option("text", "json", "yaml")
def check(name: str, output: str) -> int:
    """Evaluate every gate for a job now, without running it; a controller that runs asks whomever they ask. Ends with 1 when it would not run at once."""
    with _told_when_slow("waiting for those whom the gates ask, for 20 seconds at most"):
        data = asking.view(current(), "trust-check", name=nouns.bare(name))
    answer = printing.decoded(data)
    if output in printing.DOCUMENTS:
        printing.show(data, output)
    else:
        status, metadata = answer["status"], answer["metadata"]
        click.echo("\n".join([_headline(metadata["name"], _CHECKED[status["decision"]], status), *account(status)]))
    return 0 if answer["status"]["decision"] == "Permit" else NO


@verb(
    """
jobwarden trust explain nightly-7kq2mx4a
jobwarden trust explain nightly-7kq2mx4a -o yaml
"""
)
@click.argument("run", metavar="RUN", shell_complete=names("runs"))
@output_option("text", "json", "yaml")
def explain(run: str, output: str) -> None:
    """Tell what was decided about a run before it started, gate by gate."""
    data = asking.view(current(), "trust-explain", name=nouns.bare(run))
    if output in printing.DOCUMENTS:
        printing.show(data, output)
        return
    answer = printing.decoded(data)
    status = answer["status"]
    ended = "was refused" if status["decision"] == "Deny" else "was permitted"
    click.echo("\n".join([_headline(answer["metadata"]["name"], ended, status), *account(status)]))


trust.add_command(check)
trust.add_command(explain)


def account(status: Any) -> list[str]:
    """The decisions as lines of text. Pure, but for the colours of a terminal."""
    lines = []
    if "identity" in status:
        lines += ["", f"Identity:   {_identity(status['identity'])}"]
    lines += [f"Digest:     {status['digest']}"] if "digest" in status else []
    if status.get("outcomes"):
        lines += ["", "Gates:", *(line for one in status["outcomes"] for line in _gate(one))]
    if status.get("governors"):
        lines += ["", "Governed by:", *(f"  {name}  {digest}" for name, digest in sorted(status["governors"].items()))]
    if "rule" in status:
        lines += ["", f"{status['approvals']} must approve, as the rule {status['rule']} of {status['policy']} says."]
    return lines


@contextlib.contextmanager
def _told_when_slow(text: str) -> Iterator[None]:
    timer = threading.Timer(1.0, note, (text,))
    timer.daemon = True
    if sys.stderr.isatty():
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _headline(name: str, what: str, status: Any) -> str:
    because = ": ".join(part for part in (status.get("reason"), status.get("message")) if part)
    said = paint(what, _COLOURS[status["decision"]], sys.stdout)
    return f"{name} {said}" + (f": {because}" if because else "")


def _identity(identity: Any) -> str:
    if identity is None:
        return "nobody (Untrusted)"
    scopes = f", scopes {' '.join(identity['scopes'])}" if identity["scopes"] else ""
    attested = f", attested {identity['attestation']}" if "attestation" in identity else ""
    return f"{identity['kind']} {identity['principal']} ({identity['trustLevel']}{scopes}{attested})"


def _gate(outcome: Any) -> list[str]:
    decision = paint(f"{outcome['decision']:<8}", _COLOURS[outcome["decision"]], sys.stdout)
    facts = [f"      {name}: {value}" for name, value in outcome.get("facts", {}).items()]
    return [f"  {outcome['gate']:<14} {decision} {outcome['reason']}: {outcome['message']}", *facts]
