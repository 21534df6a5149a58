"""Conditions, and how they carry their transition times over from what was shown before.

`project` makes them from facts. Invariant: a condition's `lastTransitionTime` changes exactly when its `status` does.
Source: Kubernetes API conventions ("Typical status properties"); kstatus for Ready, Reconciling, Stalled.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from controller.domain.reasons import Reason
from controller.status.text import to_second

MOST_MESSAGE = 256
"""Characters of a message: a status has a bound, whatever an expression or a path has in it."""


class Verdict(NamedTuple):
    """One condition before it has times. `since` is when it came to be, where the rows tell; None: they do not."""

    type: str
    status: bool | None
    reason: str
    message: str = ""
    since: datetime | None = None


def yes(type_: str, reason: str, message: str = "", since: datetime | None = None) -> Verdict:
    """The condition holds."""
    return Verdict(type_, status=True, reason=reason, message=message, since=since)


def no(type_: str, reason: str, message: str = "", since: datetime | None = None) -> Verdict:
    """The condition does not hold."""
    return Verdict(type_, status=False, reason=reason, message=message, since=since)


class Condition(msgspec.Struct, frozen=True, rename="camel"):
    """One condition as it is shown and stored."""

    type: str
    status: str
    reason: str
    message: str
    last_transition_time: str
    observed_generation: int


_decoder = msgspec.json.Decoder(tuple[Condition, ...])


def decode(data: bytes | None) -> tuple[Condition, ...]:
    """Conditions as `encode` wrote them; none when there are none or when they cannot be read, for they are only a memory. Pure."""
    try:
        return _decoder.decode(data) if data else ()
    except msgspec.MsgspecError:
        return ()


def encode(conditions: Iterable[Condition]) -> bytes:
    """JSON bytes. Pure."""
    return msgspec.json.encode(tuple(conditions))


def settle(
    verdicts: Iterable[Verdict], previous: Iterable[Condition], generation: int, now: datetime
) -> tuple[Condition, ...]:
    """Verdicts with their times: kept where the status is what it was, else when the rows say, else now. Pure."""
    before = {one.type: one for one in previous}
    settled = []
    for verdict in verdicts:
        status = {True: "True", False: "False", None: "Unknown"}[verdict.status]
        known = before.get(verdict.type)
        changed = to_second(min(verdict.since or now, now))
        settled.append(
            Condition(
                type=verdict.type,
                status=status,
                reason=str(verdict.reason),
                message=bounded(verdict.message),
                last_transition_time=known.last_transition_time if known and known.status == status else changed,
                observed_generation=generation,
            )
        )
    return tuple(settled)


def plain(conditions: Iterable[Condition]) -> list[dict[str, Any]]:
    """Conditions as JSON values. Pure."""
    return [msgspec.to_builtins(one) for one in conditions]


def sentence(reason: str | None) -> str:
    """What a reason means, "" for one that is not ours. Pure."""
    return _SENTENCES.get(str(reason), "")


def bounded(text: str) -> str:
    """`text` within the bound of a message. Pure."""
    return text if len(text) <= MOST_MESSAGE else text[: MOST_MESSAGE - 1] + "…"


_SENTENCES: Mapping[str, str] = {reason.value: reason.sentence for reason in Reason}
