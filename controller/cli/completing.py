"""What the shell offers when somebody presses the tabulator: names of jobs, runs and other things that exist now.

Invariant: completion never prints, never fails and never waits long; it offers nothing instead.
"""

import json
from collections.abc import Callable
from urllib.parse import urlencode

import click

from controller.cli.client import Client
from controller.cli.nouns import known, noun_of
from controller.cli.settings import settings

_SECONDS = 1.0

Completer = Callable[[click.Context, click.Parameter, str], list[str]]


def names(kind: str) -> Completer:
    """A completer for names of one kind."""

    def complete(ctx: click.Context, _parameter: click.Parameter, part: str) -> list[str]:
        return _names(ctx, kind, part)

    return complete


def names_of_noun(ctx: click.Context, _parameter: click.Parameter, part: str) -> list[str]:
    """Names of the kind that the argument before says."""
    word = ctx.params.get("noun")
    return _names(ctx, noun_of(word, ctx), part) if isinstance(word, str) and known(word) else []


def _names(ctx: click.Context, kind: str, part: str) -> list[str]:
    try:
        found = settings(ctx)
        if found.in_cluster:
            found.patience = _SECONDS
            asked: list[str] = json.loads(found.cluster.view("names", {"namespace": found.scope, "kind": kind}))
            return [name for name in asked if name.startswith(part)]
        query = urlencode({"namespace": found.scope, "kind": kind})
        offered: list[str] = json.loads(Client(found.socket, timeout=_SECONDS).get(f"/v1/views/names?{query}"))
    except Exception:  # noqa: BLE001 - a shell that waits for a line must not get a traceback instead
        return []
    return [name for name in offered if name.startswith(part)]
