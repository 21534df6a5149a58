"""A click group whose verbs are imported when somebody names them, and which suggests the nearest verb for a misspelt one.

`main` gives it the table. Invariant: listing the verbs, as `--help` does, imports none of them.
"""

import difflib
import importlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import click


class Verb(NamedTuple):
    """Where a verb is defined, and one sentence about it."""

    module: str
    attribute: str
    summary: str


class LazyGroup(click.Group):
    """The group; `verbs` maps the name of each verb to its place, in the order of the help text."""

    def __init__(self, *args: Any, verbs: Mapping[str, Verb], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.verbs = verbs

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(self.verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        verb = self.verbs.get(cmd_name)
        if verb is None:
            return None
        command: click.Command = getattr(importlib.import_module(verb.module), verb.attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in self.verbs and not ctx.resilient_parsing:
            raise unknown("verb", args[0], self.verbs, ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        with formatter.section("Verbs"):
            formatter.write_dl([(name, verb.summary) for name, verb in self.verbs.items()])


def unknown(what: str, given: str, known: Mapping[str, Any] | list[str], ctx: click.Context) -> click.UsageError:
    """The error for a word that is not in a list, naming the nearest one that is."""
    near = difflib.get_close_matches(given, list(known), n=1, cutoff=0.6)
    hint = f"did you mean {near[0]!r}?" if near else f"one of: {', '.join(known)}"
    error = click.UsageError(f"there is no {what} {given!r}", ctx)
    error.add_note(hint)
    return error
