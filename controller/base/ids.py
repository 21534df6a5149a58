"""Names and identifiers that jobwarden gives: run names, uids of resources, sortable ids of rows.

Every layer takes them from here; time and entropy come from the caller. Invariant: a run's name follows from its job, occurrence
and attempt alone, so that a second attempt to create the same run meets the first one.
"""

import base64
import hashlib
import os
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

MAX_JOB_NAME = 54
"""With a hyphen and 8 characters behind it a name is still a DNS-1123 label (63). Kinds allow 52."""

Entropy = Callable[[int], bytes]
"""Gives that many random bytes; `os.urandom` unless a test wants otherwise."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def run_name(job: str, job_uid: str, occurrence: str, attempt: int) -> str:
    """`<job>-<8 characters of a-z2-7>`: the name of one attempt, and of its Pods' Job. Pure.

    Shape:  occurrence is the scheduled instant or the dispatch id, attempt counts from 1; a DNS-1123 label.
    Errors: ValueError when the job's name leaves no room.
    """
    if not job or len(job) > MAX_JOB_NAME:
        raise ValueError(f"a job's name has 1 to {MAX_JOB_NAME} characters: {job!r}")
    # Lengths in front keep ("ab", "c") and ("a", "bc") apart.
    facts = "".join(f"{len(part)}:{part}" for part in (job_uid, occurrence, str(attempt)))
    suffix = base64.b32encode(hashlib.sha256(facts.encode()).digest())[:8].decode().lower()
    return f"{job}-{suffix}"


def new_uid(entropy: Entropy = os.urandom) -> str:
    """A random UUID (version 4), for a resource."""
    return str(uuid.UUID(bytes=entropy(16), version=4))


def new_id(now: datetime, entropy: Entropy = os.urandom) -> str:
    """A UUID (version 7) that sorts as text by `now`, to about a quarter of a microsecond.

    Shape:  48 bits of Unix milliseconds, 12 bits of their fraction, 62 random bits.
    Errors: ValueError for a naive instant or one before 1970.
    Source: RFC 9562, sections 5.7 and 6.2 (method 3).
    """
    if now.tzinfo is None or now < _EPOCH:
        raise ValueError(f"an id needs an aware instant since 1970: {now!r}")
    micros = (now - _EPOCH) // timedelta(microseconds=1)
    millis, rest = divmod(micros, 1000)
    head = (millis & ((1 << 48) - 1)).to_bytes(6, "big")
    fraction = (0x7000 | (rest * 4096 // 1000)).to_bytes(2, "big")
    tail = bytearray(entropy(8))
    tail[0] = 0x80 | (tail[0] & 0x3F)
    return str(uuid.UUID(bytes=head + fraction + bytes(tail)))
