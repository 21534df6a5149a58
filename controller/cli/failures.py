"""How a failed command says so: one message on standard error, one exit code, and with `-o json` one JSON object on standard output.

`main` hands over what was raised. Invariant: the same error gives the same code whether it came from the controller or from here.
"""

import json
import sys
from collections.abc import Sequence

import click

from controller.base.errors import ControllerUnreachable, JobwardenError, StoreHeld, StoreUnavailable, hint_of
from controller.cli.paint import paint

NO, USAGE, UNREACHABLE = 1, 2, 3
INTERRUPTED, BROKEN_PIPE = 130, 141  # as a shell shows a death by SIGINT and by SIGPIPE

_UNREACHABLE = (ControllerUnreachable, StoreUnavailable, StoreHeld)


def exit_code(error: Exception) -> int:
    """The code of an error. Pure."""
    return UNREACHABLE if isinstance(error, _UNREACHABLE) else NO


def report(error: JobwardenError | click.ClickException, arguments: Sequence[str]) -> int:
    """Say what went wrong; gives the exit code."""
    message = error.format_message() if isinstance(error, click.ClickException) else str(error)
    _say(type(error).__name__, message, hint_of(error), arguments)
    return exit_code(error)


def report_usage(error: click.UsageError, arguments: Sequence[str]) -> int:
    """Say what is wrong with the arguments and where help is; gives the exit code."""
    command = error.ctx.command_path if error.ctx else "jobwarden"
    hint = hint_of(error) or f"`{command} --help` shows how it is used"
    _say("Usage", error.format_message(), hint, arguments)
    return USAGE


def wants_json(arguments: Sequence[str]) -> bool:
    """Whether the arguments ask for JSON, also when they cannot be parsed. Pure."""
    pairs = zip(arguments, [*arguments[1:], ""], strict=True)
    return any(
        argument in ("-ojson", "-o=json", "--output=json") or (argument in ("-o", "--output") and following == "json")
        for argument, following in pairs
    )


def _say(reason: str, message: str, hint: str, arguments: Sequence[str]) -> None:
    sys.stderr.write(f"{paint('error:', 'red', sys.stderr)} {message}\n")
    if hint:
        sys.stderr.write(f"{paint('hint:', 'yellow', sys.stderr)} {hint}\n")
    if wants_json(arguments):
        sys.stdout.write(json.dumps({"error": {"reason": reason, "message": message, "hint": hint}}) + "\n")
