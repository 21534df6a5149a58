"""What the steps of reconciliation hand to each other.

An `Entry` is what is kept in memory of every document: who it is, where it is, what it names. A `Document` is an entry with its content and lives
only while it is being applied or waits for a conflict to end. Invariant: an entry weighs well under a kilobyte.
"""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from controller.domain.job import JobSpec
from controller.kinds.records import ManifestError

JOB = "ScheduledJob"
POOL = "ResourcePool"
CLUSTER_POOL = "ClusterResourcePool"
POOLS = (POOL, CLUSTER_POOL)
POLICIES = ("AuthorizationPolicy", "ClusterAuthorizationPolicy")
TARGETS = ("NotificationTarget", "ClusterNotificationTarget")


class Key(NamedTuple):
    """Who a resource is. Cluster kinds have the namespace ""."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


class Facts(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What other documents, and later versions, have to know of a document. Kept as JSON beside it (`resources.references`).

    `meta` is a digest of labels and annotations; `parents`, `outputs` (jobs whose outputs are parameters) and `watched` name jobs of the same
    namespace; `pools` are (kind, name, slots), `targets` (kind, name); `slots` and `namespaces` are what a pool or target offers;
    `trust` are (kind, name, pointer) of documents of trust;
    `hold` and `requests` are the values of the annotations that ask for something; in the database, the requests that were taken note of last.
    """

    meta: str = ""
    parents: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    watched: str | None = None
    pools: tuple[tuple[str, str, int], ...] = ()
    targets: tuple[tuple[str, str], ...] = ()
    trust: tuple[tuple[str, str, str], ...] = ()
    slots: int = 0
    namespaces: tuple[str, ...] = ()
    kept: bool = False
    hold: str | None = None
    requests: tuple[tuple[str, str], ...] = ()


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One document. `digest` is that of its spec; `path` None: it is kept although its source no longer has it. `id` 0: not stored yet."""

    key: Key
    source: str
    digest: str
    facts: Facts
    path: str | None
    line: int
    id: int = 0

    def same_content(self, other: "Entry") -> bool:
        """Whether both versions mean the same, wherever they are written."""
        return self.digest == other.digest and self.facts.meta == other.facts.meta and self.source == other.source


class Broken(msgspec.Struct, frozen=True, gc=False):
    """A document whose identity could be read, but which is not valid."""

    path: str
    line: int


Claim = Entry | Broken


class Document(msgspec.Struct, frozen=True):
    """A valid document with its content: `body` is its JSON, a tenth of what it takes as dicts while thousands wait to be applied.

    `spec` and the digests are those of a job; `data` is the whole file, for finding places in it.
    """

    entry: Entry
    body: bytes
    labels: Mapping[str, str]
    data: bytes
    spec: JobSpec | None = None
    fire_digest: str = ""
    effective_digest: str = ""


class Problem(msgspec.Struct, frozen=True):
    """Something wrong with what a document says together with others. `reason` is of `domain.reasons`."""

    pointer: str
    reason: str
    message: str
    hint: str = ""


class Blocked(msgspec.Struct, frozen=True, gc=False):
    """Why a job that is stored must not run."""

    reason: str
    message: str


class RunRequested(msgspec.Struct, frozen=True):
    """The annotation run-requested-at of a job has a new value."""

    namespace: str
    name: str
    value: str


class CancelRequested(msgspec.Struct, frozen=True):
    """The annotation cancel-requested-at of a job has a new value."""

    namespace: str
    name: str
    value: str


class ReconcileRequested(msgspec.Struct, frozen=True):
    """The annotation reconcile-requested-at of a job has a new value: its source is to be looked at as a whole."""

    namespace: str
    name: str
    value: str


Intent = RunRequested | CancelRequested | ReconcileRequested


class Plan(msgspec.Struct, frozen=True):
    """What has to change so that the database has what one source declares.

    Shape:  `create`, `update` have content; `move` are entries of which only the place in the files changed; `remove` and `orphan` (kept although
    gone) are entries as stored; `keep` counts the rest. `reject` gives the errors of whoever must stay as they are, `blocked` the jobs (of any
    source) whose references appeared or went: None unblocks.
    """

    source: str
    create: tuple[Document, ...] = ()
    update: tuple[Document, ...] = ()
    move: tuple[Entry, ...] = ()
    remove: tuple[Entry, ...] = ()
    orphan: tuple[Entry, ...] = ()
    keep: int = 0
    reject: Mapping[Key, tuple[ManifestError, ...]] = {}
    blocked: Mapping[Key, Blocked | None] = {}

    @property
    def changes(self) -> bool:
        """Whether applying it would change a resource."""
        return bool(self.create or self.update or self.move or self.remove or self.orphan or self.blocked)


class Counts(msgspec.Struct, frozen=True):
    """How many resources one application created, updated, removed and kept, and how many documents it rejected."""

    created: int = 0
    updated: int = 0
    removed: int = 0
    kept: int = 0
    rejected: int = 0


def as_json(errors: "tuple[ManifestError, ...] | list[ManifestError]") -> bytes:
    """Errors as the store keeps them. Pure."""
    return msgspec.json.encode(errors)


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Facts).decode


def encode_facts(facts: Facts) -> bytes:
    """JSON bytes of facts. Pure."""
    return _encode(facts)


def decode_facts(data: bytes | None) -> Facts:
    """Inverse of `encode_facts`; nothing stored gives no facts, which equal no document's. Pure."""
    return _decode(data) if data else Facts()
