"""Projects resources a batch at a time: what is shown of each, and whether its conditions have changed since they were last remembered.

The status loop calls it on a reader's transaction. Invariant: a batch is read in one transaction, so no status mixes two moments.
"""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from controller.kinds.catalog import TRUST
from controller.status import conditions, project, shapes
from controller.status.project import Status
from controller.status.shapes import Shape
from controller.store import observed
from controller.store.observed import ResourceFacts
from controller.store.store import Tx


class Report(msgspec.Struct, frozen=True):
    """One resource as it is now. `conditions` are the bytes to remember, None when they are remembered already."""

    id: int
    shape: Shape
    conditions: bytes | None


def jobs(tx: Tx, ids: Sequence[int], now: datetime) -> list[Report]:
    """The jobs among `ids` that exist."""
    return [_report(one.resource, project.job_status(one, now)) for one in observed.job_facts(tx, ids)]


def others(tx: Tx, now: datetime) -> list[Report]:
    """All pools, notification targets and documents of trust."""
    pools = [_report(one.resource, project.pool_status(one, now)) for one in observed.pool_facts(tx, "")]
    targets = [_report(one.resource, project.target_status(one, now)) for one in observed.target_facts(tx, "")]
    trust = [_report(one, project.document_status(one, now)) for one in observed.document_facts(tx, TRUST)]
    return [*pools, *targets, *trust]


def _report(facts: ResourceFacts, status: Status) -> Report:
    encoded = conditions.encode(status.conditions)
    return Report(facts.id, shapes.resource(facts, status.value), None if encoded == facts.conditions else encoded)
