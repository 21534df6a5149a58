"""Option types that several verbs read: durations, instants, `key=value`, addresses."""

from datetime import UTC, datetime, timedelta
from typing import Any

import click

from controller.base import durations


class Duration(click.ParamType):
    """`90s`, `5m`, `1h30m`."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        try:
            found = value if isinstance(value, timedelta) else durations.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if found <= timedelta(0):
            self.fail("it must be longer than 0", param, ctx)
        return found


class Instant(click.ParamType):
    """An RFC 3339 instant, or a duration from now (`2h`)."""

    name = "instant"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            return datetime.now(UTC) + durations.parse(value)
        except ValueError:
            pass
        try:
            found = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is neither an instant (2026-01-31T18:00:00Z) nor a duration from now (2h)", param, ctx)
        if found.tzinfo is None:
            self.fail(f"{value!r} names no time zone; end it with Z or an offset such as +02:00", param, ctx)
        return found.astimezone(UTC)


class KeyValue(click.ParamType):
    """`key=value`; the value may be empty and may hold further equals signs."""

    name = "key=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        key, equals, rest = str(value).partition("=")
        if not equals or not key:
            self.fail(f"{value!r} is not key=value", param, ctx)
        return key, rest


class Address(click.ParamType):
    """`HOST:PORT`, `:PORT` for every address of the host, `[::1]:PORT` for IPv6."""

    name = "host:port"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        if isinstance(value, tuple):
            return value
        host, _, port = str(value).rpartition(":")
        if not port.isascii() or not port.isdigit() or int(port) > 65535 or ":" not in str(value):
            self.fail(f"{value!r} is not HOST:PORT, such as 127.0.0.1:9090", param, ctx)
        return host.removeprefix("[").removesuffix("]") or "0.0.0.0", int(port)  # noqa: S104 - as asked for
