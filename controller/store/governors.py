"""The documents of trust as the gates read them: all at once, out of what was last accepted of each.

Dispatch keeps a `Registry`, which reads again only when something has changed. Invariant: a Cluster document that was rejected and has no earlier
version is told as broken, never left out.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from sqlalchemy import func, select

from controller.domain import resolve_trust
from controller.domain.governors import NOBODY, Document, Governed, Governor, Governors, governing
from controller.domain.records import Job
from controller.domain.trust import Match
from controller.store.schema import resources, sources
from controller.store.statement import Statement, among
from controller.store.store import Tx

_READERS: Mapping[str, Callable[[Mapping[str, Any]], Document]] = {
    "IdentityProfile": resolve_trust.identity,
    "CredentialPolicy": resolve_trust.credentials,
    "TrustContract": resolve_trust.contract,
    "ClusterTrustContract": resolve_trust.contract,
    "AuthorizationPolicy": resolve_trust.authorization,
    "ClusterAuthorizationPolicy": resolve_trust.authorization,
    "CredentialProvider": resolve_trust.provider,
    "ClusterCredentialProvider": resolve_trust.provider,
}
KINDS = tuple(_READERS)
WAIT_KEY = "governors"
"""What a dispatch waits for whose governors are not wholly known: whoever writes documents of trust wakes it."""
CLUSTER_KINDS = frozenset({"ClusterTrustContract", "ClusterAuthorizationPolicy"})
"""Those that bind whoever they match."""

_OURS = among(resources.c.kind, "kinds")
_KINDS = {"kinds": KINDS}
_VERSION = Statement(
    select(
        select(func.count()).select_from(resources).where(_OURS).scalar_subquery().label("documents"),
        select(func.max(resources.c.id)).where(_OURS).scalar_subquery().label("newest"),
        select(func.sum(resources.c.generation)).where(_OURS).scalar_subquery().label("generations"),
        select(func.sum(func.length(sources.c.errors))).where(sources.c.served).scalar_subquery().label("errors"),
        select(func.max(sources.c.applied_at))
        .where(sources.c.served, sources.c.errors.is_not(None))
        .scalar_subquery()
        .label("applied_at"),
    )
)
_DOCUMENTS = Statement(
    select(resources.c.kind, resources.c.namespace, resources.c.name, resources.c.digest, resources.c.document)
    .where(_OURS)
    .order_by(resources.c.kind, resources.c.namespace, resources.c.name)
)
_MOST = 4096
"""Ways to be governed that are kept."""
_ERRORS = Statement(select(sources.c.errors).where(sources.c.served, sources.c.errors.is_not(None)))


class _Error(msgspec.Struct, frozen=True):
    """As much of a manifest error as says whose it is."""

    kind: str | None = None
    name: str | None = None


_errors = msgspec.json.Decoder(list[_Error])


def read(tx: Tx) -> Governors:
    """Everything that may govern a job now. Errors: StoreUnavailable."""
    documents = tuple(_governor(row) for row in _DOCUMENTS.rows(tx, _KINDS))
    known = {(one.kind, one.name) for one in documents}
    rejected = {
        (error.kind, error.name) for row in _ERRORS.rows(tx) for error in _errors.decode(row.errors) if error.name
    }
    broken = sorted(f"{kind} {name}" for kind, name in rejected - known if kind in CLUSTER_KINDS)
    return Governors(documents, tuple(broken))


class Registry:
    """What `read` gave last, read again when something has changed. `latest` is for any thread, the rest for one."""

    def __init__(self) -> None:
        self._version: Any = None
        self._governors: Governors | None = None
        self._governed: dict[Any, Governed | None] = {}

    @property
    def latest(self) -> Governors | None:
        """What `current` gave last; None: nobody has asked yet."""
        return self._governors

    def current(self, tx: Tx) -> Governors:
        """What `read` would give. Errors: StoreUnavailable."""
        [version] = _VERSION.rows(tx, _KINDS)
        if self._governors is None or version != self._version:
            self._governors = read(tx)
            self._version = version
            self._governed.clear()
        return self._governors

    def governing(self, job: Job) -> Governed | None:
        """What holds for a job by what `current` gave last; worked out once for all jobs that say the same."""
        same = (job.namespace, job.spec.trust, frozenset(job.labels.items()))
        if same not in self._governed:
            if len(self._governed) >= _MOST:
                self._governed.clear()
            self._governed[same] = governing(job.spec.trust, job.namespace, job.labels, self._governors or NOBODY)
        return self._governed[same]


def _governor(row: Any) -> Governor:
    spec = msgspec.json.decode(row.document)["spec"]
    match: Match | None = resolve_trust.match(spec) if row.kind in CLUSTER_KINDS else None
    return Governor(row.kind, row.namespace, row.name, row.digest, _READERS[row.kind](spec), match)
