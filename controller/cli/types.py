"""Option types that several verbs read: durations, instants, `key=value`, addresses. Functions that click calls with the text.

Invariant: a value that makes no sense is wrong usage, with a message that shows what would make sense.
"""

from datetime import UTC, datetime, timedelta

import click

from controller.base import durations


def duration(text: str) -> timedelta:
    """`90s`, `5m`, `1h30m`; longer than 0. Errors: click.BadParameter."""
    try:
        found = durations.parse(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    if found <= timedelta(0):
        raise click.BadParameter("it must be longer than 0")
    return found


def instant(text: str) -> datetime:
    """An RFC 3339 instant, or a duration from now (`2h`), in UTC. Errors: click.BadParameter."""
    try:
        return datetime.now(UTC) + durations.parse(text)
    except ValueError:
        pass
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        message = f"{text!r} is neither an instant (2026-01-31T18:00:00Z) nor a duration from now (2h)"
        raise click.BadParameter(message) from None
    if found.tzinfo is None:
        raise click.BadParameter(f"{text!r} names no time zone; end it with Z or an offset such as +02:00")
    return found.astimezone(UTC)


def key_value(text: str) -> tuple[str, str]:
    """`key=value`; the value may be empty and may hold further equals signs. Errors: click.BadParameter."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise click.BadParameter(f"{text!r} is not key=value")
    return key, value


def address(text: str) -> tuple[str, int]:
    """`HOST:PORT`, `:PORT` for every address of the host, `[::1]:PORT` for IPv6. Errors: click.BadParameter."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise click.BadParameter(f"{text!r} is not HOST:PORT, such as 127.0.0.1:9090")
    return host.removeprefix("[").removesuffix("]") or "0.0.0.0", int(port)  # noqa: S104 - as asked for
