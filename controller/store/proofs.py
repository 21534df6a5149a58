"""Statements on proofs of authority that have served: one with an id is good for one use, by a constraint."""

from collections.abc import Collection, Iterable, Mapping

from sqlalchemy import select

from controller.domain.proofs import Proven
from controller.gates.enquiries import Finding, ProofFinding
from controller.gates.facts import Spend
from controller.store.schema import spent_proofs
from controller.store.statement import dialect_insert
from controller.store.store import Tx


def of(findings: Iterable[Finding]) -> set[str]:
    """The proofs with an id among what was found out. Pure."""
    proven = (one.verdict for one in findings if isinstance(one, ProofFinding) and isinstance(one.verdict, Proven))
    return {one.once for one in proven if one.once is not None}


def uses(tx: Tx, once: Collection[str]) -> Mapping[str, str]:
    """What these were spent on, as far as they were."""
    if not once:
        return {}
    query = select(spent_proofs.c.once, spent_proofs.c.use).where(spent_proofs.c.once.in_(once))
    return {row.once: row.use for row in tx.execute(query)}


def spend(tx: Tx, spends: Collection[Spend]) -> bool:
    """Spend them; False when one was spent on something else, by somebody whom we did not see."""
    rows = [{"once": one.once, "use": one.use, "expires_at": one.until} for one in spends]
    tx.execute(dialect_insert(tx.dialect, spent_proofs).values(rows).on_conflict_do_nothing())
    known = uses(tx, [one.once for one in spends])
    return all(known.get(one.once) == one.use for one in spends)
