"""The rule of the chain: numbers from 1 without a gap, and each statement names the digest of the one before.

`verify` hands over what statements and checkpoints say of themselves. Pure. Invariant: whatever was changed, left out, put in, renumbered or cut off below or
between checkpoints is a problem that says where; nothing else is.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

import msgspec

from controller.base.clock import rfc3339
from controller.evidence.checkpoint import Why


class Link(msgspec.Struct, frozen=True):
    """One statement: its own SHA-256 in hexadecimal, and what it says of its place."""

    sequence: int
    digest: str
    previous: str | None
    run: str


class Mark(msgspec.Struct, frozen=True):
    """One checkpoint: which statement it saw, why it was made, and when; None: no checkpoint, but the statement itself, as somebody kept it."""

    sequence: int
    digest: str
    why: Why = Why.Head
    at: datetime | None = None

    @property
    def witness(self) -> str:
        """Who saw it, for people."""
        return "what was kept earlier" if self.at is None else f"a checkpoint of {rfc3339(self.at)}"


class Problem(msgspec.Struct, frozen=True):
    """What is wrong, in words; and where: the number in the chain and the run, where that is known."""

    message: str
    sequence: int | None = None
    run: str | None = None


def problems(links: Iterable[Link], marks: Sequence[Mark]) -> list[Problem]:
    """Everything that is wrong with the chain of one job; nothing if it holds. The order of what is given does not count. Pure."""
    ordered = sorted(set(links), key=lambda link: (link.sequence, link.digest))
    return [
        *_doubles(ordered),
        *_beginning(ordered, marks),
        *(problem for before, link in itertools.pairwise(ordered) for problem in _step(before, link)),
        *_against(ordered, marks),
    ]


def _doubles(ordered: Sequence[Link]) -> Iterator[Problem]:
    """One run is told of once."""
    seen: dict[str, Link] = {}
    for link in ordered:
        first = seen.setdefault(link.run, link)
        if first is not link and first.sequence != link.sequence:
            words = f"it is about run {link.run}, which sequence {first.sequence} is about already"
            yield Problem(words, link.sequence, link.run)


def _beginning(ordered: Sequence[Link], marks: Sequence[Mark]) -> Iterator[Problem]:
    """The first statement is number 1, or follows what a checkpoint says was pruned."""
    if not ordered:
        return
    first = ordered[0]
    if first.sequence == 1:
        if first.previous is not None:
            yield Problem("it is the first of its chain and yet names one before it", 1, first.run)
        return
    if first.sequence < 1:
        yield Problem("numbers begin with 1", first.sequence, first.run)
        return
    before = [mark for mark in marks if mark.why is Why.Pruned and mark.sequence == first.sequence - 1]
    # Pruning may have stopped half way: what follows is held to the marks that were passed, see `_against`.
    further = [mark for mark in marks if mark.why is Why.Pruned and mark.sequence >= first.sequence]
    if not before and not further:
        words = f"{_span(1, first.sequence - 1)} missing, and no checkpoint says that they were pruned"
        yield Problem(words, first.sequence, first.run)
    elif before and all(mark.digest != first.previous for mark in before):
        words = "it does not follow what the checkpoint saw that was made before pruning: one of the two was changed"
        yield Problem(words, first.sequence, first.run)


def _step(before: Link, link: Link) -> Iterator[Problem]:
    """One statement follows another."""
    if link.sequence == before.sequence:
        yield Problem(
            f"two different statements have this number: about {before.run} and {link.run}", link.sequence, link.run
        )
    elif link.sequence > before.sequence + 1:
        where = f"between the runs {before.run} and {link.run}"
        words = f"{_span(before.sequence + 1, link.sequence - 1)} missing, {where}"
        yield Problem(words, link.sequence, link.run)
    elif link.previous != before.digest:
        words = f"it does not follow sequence {before.sequence} (run {before.run}): one of the two was changed after it was recorded"
        yield Problem(words, link.sequence, link.run)


def _against(ordered: Sequence[Link], marks: Sequence[Mark]) -> Iterator[Problem]:
    """The chain has what its checkpoints saw, and reaches as far."""
    pruned = max((mark.sequence for mark in marks if mark.why is Why.Pruned), default=0)
    last = ordered[-1].sequence if ordered else pruned
    by_number = {link.sequence: link for link in ordered}
    for mark in sorted(set(marks), key=lambda one: (one.sequence, one.digest)):
        link = by_number.get(mark.sequence)
        if mark.sequence > last:
            words = f"the chain ends at sequence {last}, but {mark.witness} has sequence {mark.sequence}: its end was cut off"
            yield Problem(words + _restored(marks, mark), mark.sequence)
        elif link is not None and link.digest != mark.digest:
            words = f"{mark.witness} has another statement with this number"
            yield Problem(words + _restored(marks, mark), mark.sequence, link.run)


def _restored(marks: Sequence[Mark], saw: Mark) -> str:
    """What a restored backup has to do with it: it takes back what came after the backup."""
    found = [(mark.at, mark.sequence) for mark in marks if mark.why is Why.Restored and mark.at is not None]
    back = [(at, end) for at, end in found if end < saw.sequence and (saw.at is None or at > saw.at)]
    if not back:
        return ""
    at, end = max(back)
    return f" (the database was restored at {rfc3339(at)} from a backup that ended at sequence {end})"


def _span(first: int, last: int) -> str:
    return f"sequence {first} is" if first == last else f"sequences {first} to {last} are"
