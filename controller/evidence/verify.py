"""Everything that can be said of evidence without asking anybody: signatures, the chain of each job, checkpoints.

`cli.evidence` hands over envelopes, of a bundle or of a controller's answer, and public keys. Invariant: what nobody vouches for is never called verified: without
keys only the chain was checked, and the answer says so.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Annotated

import msgspec

from controller.evidence import chain, statement
from controller.evidence.bundle import Found
from controller.evidence.chain import Link, Mark, Problem
from controller.evidence.checkpoint import CHECKPOINT, Why
from controller.evidence.dsse import IN_TOTO, Envelope
from controller.evidence.keys import PublicKey
from controller.evidence.statement import RUN, TYPE


class Verdict(msgspec.Struct, frozen=True):
    """What became of one chain. `signed` counts statements with a good signature, `signers` are the keys that made them; both only where keys were given."""

    namespace: str
    job: str
    statements: int
    first: int | None
    last: int | None
    digest: str | None
    signed: int
    signers: tuple[str, ...]
    problems: tuple[Problem, ...]


class Verified(msgspec.Struct, frozen=True):
    """The verdict on each chain, and what belongs to none."""

    chains: tuple[Verdict, ...]
    problems: tuple[Problem, ...] = ()

    @property
    def good(self) -> bool:
        """Whether there is something, and nothing wrong with it."""
        return bool(self.chains) and not self.problems and not any(one.problems for one in self.chains)


class _Set(msgspec.Struct, frozen=True):
    sha256: str


class _Chain(msgspec.Struct, frozen=True):
    namespace: str
    job: str
    sequence: int
    previous: _Set | None = None
    digest: _Set | None = None


class _Run(msgspec.Struct, frozen=True):
    namespace: str
    name: str
    job: str


class _OfRun(msgspec.Struct, frozen=True):
    chain: _Chain
    run: _Run


class _OfChain(msgspec.Struct, frozen=True):
    chain: _Chain
    why: Why
    at: Annotated[datetime, msgspec.Meta(tz=True)]


class _Statement(msgspec.Struct, frozen=True, rename={"type": "_type", "predicate_type": "predicateType"}):
    type: str
    predicate_type: str
    predicate: msgspec.Raw


_statement = msgspec.json.Decoder(_Statement)
_of_run = msgspec.json.Decoder(_OfRun)
_of_chain = msgspec.json.Decoder(_OfChain)

_Key = tuple[str, str]


class _Gathered:
    """What was found of one chain."""

    def __init__(self) -> None:
        self.links: list[Link] = []
        self.marks: list[Mark] = []
        self.problems: list[Problem] = []
        self.signed = 0
        self.signers: dict[str, None] = {}


def verify(found: Iterable[Found], keys: Sequence[PublicKey] = (), against: Iterable[Found] = ()) -> Verified:
    """Check everything that was found. `against` is what was kept of the same chains earlier: they have to go on from there.

    Without `keys` signatures are not checked. Statements that are not ours are passed over.
    """
    reader = _Reader(keys)
    for one in found:
        reader.take(one)
    known = set(reader.chains)
    earlier = _Reader(keys)
    for one in against:
        earlier.take(one)
    for key, before in earlier.chains.items():
        # A statement that was kept is as good a witness as a checkpoint: it was there.
        seen = [Mark(link.sequence, link.digest) for link in before.links]
        reader.chains.setdefault(key, _Gathered()).marks += [*before.marks, *seen]
    problems = [
        *reader.problems,
        *(Problem(f"in what it was compared with: {one.message}") for one in earlier.problems),
    ]
    for key, before in earlier.chains.items():
        problems += [
            Problem(f"in what it was compared with, {'/'.join(key)}: {one.message}", one.sequence, one.run)
            for one in before.problems
        ]
        if key not in known:
            problems.append(Problem(f"nothing is left of the chain of {'/'.join(key)}, which was there earlier"))
    return Verified(tuple(_verdict(key, reader.chains[key]) for key in sorted(known)), tuple(problems))


def _verdict(key: _Key, gathered: _Gathered) -> Verdict:
    links = sorted(gathered.links, key=lambda link: link.sequence)
    return Verdict(
        namespace=key[0],
        job=key[1],
        statements=len(links),
        first=links[0].sequence if links else None,
        last=links[-1].sequence if links else None,
        digest=links[-1].digest if links else None,
        signed=gathered.signed,
        signers=tuple(gathered.signers),
        problems=(*gathered.problems, *chain.problems(links, gathered.marks)),
    )


class _Reader:
    """Sorts envelopes by chain, and checks what can be checked of each alone."""

    def __init__(self, keys: Sequence[PublicKey]) -> None:
        self._keys = keys
        self.chains: dict[_Key, _Gathered] = {}
        self.problems: list[Problem] = []

    def take(self, found: Found) -> None:
        """Read one envelope."""
        envelope = found.envelope
        if envelope is None:
            self.problems.append(Problem(f"{found.where}: {found.problem}"))
            return
        if envelope.payload_type != IN_TOTO:
            return
        try:
            said = _statement.decode(envelope.payload)
            if said.type != TYPE:
                return
            if said.predicate_type == RUN:
                self._run(envelope, _of_run.decode(said.predicate))
            elif said.predicate_type == CHECKPOINT:
                self._checkpoint(envelope, _of_chain.decode(said.predicate))
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            self.problems.append(Problem(f"{found.where}: it is no statement that can be read: {error}"))

    def _run(self, envelope: Envelope, said: _OfRun) -> None:
        place, run = said.chain, said.run
        gathered = self._of(place)
        previous = place.previous.sha256 if place.previous is not None else None
        gathered.links.append(Link(place.sequence, statement.digest(envelope.payload), previous, run.name))
        if (run.namespace, run.job) != (place.namespace, place.job):
            words = f"it is about run {run.name} of {run.namespace}/{run.job}, and yet in the chain of {place.namespace}/{place.job}"
            gathered.problems.append(Problem(words, place.sequence, run.name))
        self._signature(envelope, gathered, Problem("", place.sequence, run.name), "it")

    def _checkpoint(self, envelope: Envelope, said: _OfChain) -> None:
        place = said.chain
        if place.digest is None:
            raise msgspec.ValidationError("a checkpoint without a digest")
        gathered = self._of(place)
        gathered.marks.append(Mark(place.sequence, place.digest.sha256, said.why, said.at))
        self._signature(envelope, gathered, Problem("", place.sequence), f"its checkpoint ({said.why.value})")

    def _of(self, place: _Chain) -> _Gathered:
        return self.chains.setdefault((place.namespace, place.job), _Gathered())

    def _signature(self, envelope: Envelope, gathered: _Gathered, where: Problem, what: str) -> None:
        if not self._keys:
            return
        made = [(key, one) for one in envelope.signatures for key in self._keys if key.made(one, envelope)]
        if made:
            gathered.signed += where.run is not None
            gathered.signers[made[0][0].key_id] = None
            return
        if not envelope.signatures:
            words = f"{what} is not signed"
        elif any(one.keyid in {key.key_id for key in self._keys} for one in envelope.signatures):
            words = f"{what} is not what was signed: the statement or the signature was changed"
        else:
            claimed = ", ".join(one.keyid or "nobody says which" for one in envelope.signatures)
            words = f"{what} is not signed by a key that was given (it says by {claimed})"
        gathered.problems.append(Problem(words, where.sequence, where.run))
