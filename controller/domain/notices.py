"""What one notification is about: the facts that finalise and the sweeps know when something happens, kept as the payload of an outbox item.

Whoever enqueues makes a `Notice`; notifications turn it into text for people and JSON for programs when they send it. Invariant: it holds no
secret, and nothing is looked up later: a notice that is sent tomorrow tells what was true today.
"""

from datetime import datetime

import msgspec


class Notice(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """Facts of one event. Everything that does not apply is left out.

    `event` is a NotificationEvent, `reason` and `state` are the words of rows; `count` and `through` belong to a range of missed instants
    that begins with `scheduled_for`; `output` is the end of what the run printed, at most a few KiB.
    """

    event: str
    at: datetime
    namespace: str
    job: str
    description: str = ""
    run: str | None = None
    cause: str | None = None
    state: str | None = None
    reason: str | None = None
    message: str | None = None
    attempt: int = 1
    root: str | None = None
    scheduled_for: datetime | None = None
    through: datetime | None = None
    count: int = 1
    started_at: datetime | None = None
    finished_at: datetime | None = None
    exit_code: int | None = None
    signal: str | None = None
    failures_in_a_row: int = 0
    failing_since: datetime | None = None
    approval: str | None = None
    requested_by: str | None = None
    expires_at: datetime | None = None
    output: str = ""


_encoder = msgspec.json.Encoder(order="deterministic")
_decoder = msgspec.json.Decoder(Notice)


def encode(notice: Notice) -> bytes:
    """JSON bytes, camelCase. Pure."""
    return _encoder.encode(notice)


def decode(data: bytes) -> Notice:
    """Inverse of `encode`. Pure. Errors: msgspec.ValidationError or DecodeError means a damaged row."""
    return _decoder.decode(data)
