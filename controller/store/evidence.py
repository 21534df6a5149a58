"""What is on record about runs: statements in a chain for each job, their signatures, and checkpoints of the chains.

The dispatcher appends in the transaction that ends or refuses a run; `loops.evidence` signs what is unsigned and asks for checkpoints; retention prunes.

Invariant: numbers of a chain have no gap, each statement names the digest of the one before, a run has one at most. On PostgreSQL the row of the chain is locked from the
reading of its head to the commit, so replicas append one after the other; the keys of the table guarantee it.
Invariant: nothing is pruned that is not signed by whoever was to sign it, nor before a checkpoint of it is.
"""

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Table,
    and_,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from controller.domain.records import Approval, Run
from controller.domain.trust import Ref
from controller.evidence import checkpoint
from controller.evidence.checkpoint import Why
from controller.evidence.dsse import Envelope, Signature
from controller.evidence.statement import Facts, Place, digest, of_run, wanted
from controller.store import approvals
from controller.store.schema import checkpoints, evidence, evidence_chains, jobs, runs, sources
from controller.store.statement import Statement, among, insertion
from controller.store.store import Tx

_PORTION = 500


# Appending

_OPEN = insertion(evidence_chains, unless_there=True)
_HEADS = Statement(
    select(evidence_chains)
    .where(among(evidence_chains.c.chain, "chains"))
    .order_by(evidence_chains.c.chain)
    .with_for_update()
)
_RECORDED = Statement(select(evidence.c.run).where(among(evidence.c.run, "runs")))
_FACTS = Statement(
    select(
        runs.c.name,
        runs.c.effective_digest,
        jobs.c.effective_digest.label("current"),
        jobs.c.source,
        sources.c.revision,
    )
    .outerjoin(jobs, jobs.c.id == runs.c.job_id)
    .outerjoin(sources, sources.c.name == jobs.c.source)
    .where(among(runs.c.name, "runs"))
)
_ADD = insertion(evidence)
_MOVE = Statement(
    update(evidence_chains)
    .where(evidence_chains.c.chain == bindparam("of"))
    .values(sequence=bindparam("number"), digest=bindparam("hash"))
)


class _Head(NamedTuple):
    """The newest statement of a chain; 0 and None before the first."""

    sequence: int
    digest: str | None


def append(tx: Tx, ended: Sequence[Run], now: datetime) -> int:
    """Put runs on record that have ended or were denied, in their order, as far as their contracts ask for it; give how many.

    Effect: rows in the caller's transaction, in which the runs are written already; a run that is on record stays as it is there. Call it last: on PostgreSQL the chains stay
    locked until the commit, and whoever holds them should want nothing more. Errors: StoreUnavailable.
    """
    asked = [run for run in ended if wanted(run)]
    if not asked:
        return 0
    heads = _heads(tx, {chain_of(run.namespace, run.job) for run in asked})
    names = {run.name for run in asked}
    recorded = set(_RECORDED.scalars(tx, {"runs": names}))
    facts = {row.name: row for row in _FACTS.rows(tx, {"runs": names})}
    decided = approvals.get(tx, {run.approval for run in asked if run.approval is not None})
    rows = []
    for run in asked:
        if run.name in recorded:
            continue
        recorded.add(run.name)
        chain = chain_of(run.namespace, run.job)
        row = _row(run, chain, heads[chain], _facts(run, now, facts.get(run.name), decided))
        heads[chain] = _Head(row["sequence"], row["digest"])
        rows.append(row)
    _ADD.run_all(tx, rows)
    moved = {row["chain"] for row in rows}
    _MOVE.run_all(tx, [{"of": chain, "number": heads[chain].sequence, "hash": heads[chain].digest} for chain in moved])
    return len(rows)


def chain_of(namespace: str, job: str) -> str:
    """How tables name a chain. Pure."""
    return f"{namespace}/{job}"


def _heads(tx: Tx, chains: Collection[str]) -> dict[str, _Head]:
    """The heads of chains, locked in one order; a chain that is new begins."""
    found = _HEADS.rows(tx, {"chains": chains})
    if len(found) < len(chains):
        new = sorted(set(chains) - {row.chain for row in found})
        _OPEN.run_all(tx, [{"chain": chain, "sequence": 0, "digest": ""} for chain in new])
        found = _HEADS.rows(tx, {"chains": chains})
    return {row.chain: _Head(row.sequence, row.digest or None) for row in found}


def _facts(run: Run, now: datetime, row: Any, decided: dict[str, Approval]) -> Facts:
    approval = decided.get(run.approval) if run.approval is not None else None
    if row is None:
        return Facts(run, now, approval=approval)
    # A job that changed meanwhile is not what the source's revision says now.
    same = row.current is not None and row.current == row.effective_digest
    return Facts(run, now, row.effective_digest, row.source, row.revision if same else None, approval)


def _row(run: Run, chain: str, head: _Head, facts: Facts) -> dict[str, Any]:
    assert run.grant is not None
    sequence = head.sequence + 1
    said = of_run(facts, Place(run.namespace, run.job, sequence, head.digest))
    signer = run.grant.contract.evidence.signing_key
    return {
        "chain": chain,
        "sequence": sequence,
        "namespace": run.namespace,
        "run": run.name,
        "statement": said,
        "digest": digest(said),
        "previous": head.digest,
        "recorded_at": facts.recorded_at,
        "signer": f"{signer.kind}/{signer.name}" if signer is not None else None,
    }


# Signing


class Signer(NamedTuple):
    """Who is to sign: a CredentialProvider, named by jobs of a namespace."""

    namespace: str
    ref: Ref


class Unsigned(msgspec.Struct, frozen=True):
    """Something that waits for its signature; `why` None: a statement about a run, else a checkpoint. `digest` is of the statement, or of what the checkpoint saw."""

    chain: str
    sequence: int
    why: Why | None
    digest: str
    statement: bytes


def _waits(table: Table) -> ColumnElement[bool]:
    return and_(table.c.signature.is_(None), table.c.signer.is_not(None))


_SIGNERS = [
    Statement(select(table.c.namespace, table.c.signer).where(_waits(table)).distinct())
    for table in (evidence, checkpoints)
]


def signers(tx: Tx) -> list[Signer]:
    """Whoever has something to sign."""
    found = {(row.namespace, row.signer) for each in _SIGNERS for row in each.rows(tx)}
    return [Signer(namespace, _ref(signer)) for namespace, signer in sorted(found)]


def _ref(signer: str) -> Ref:
    kind, _, name = signer.partition("/")
    return Ref(name, kind)


def waiting(tx: Tx) -> int:
    """How many statements and checkpoints wait for their signature."""
    counts = (select(func.count()).select_from(table).where(_waits(table)) for table in (evidence, checkpoints))
    return sum(int(tx.execute(count).scalar_one()) for count in counts)


def unsigned(tx: Tx, signer: Signer, limit: int) -> list[Unsigned]:
    """What waits for a signer, the oldest of each chain first; checkpoints when no statement waits."""
    named = f"{signer.ref.kind}/{signer.ref.name}"
    found: list[Unsigned] = []
    for table in (evidence, checkpoints):
        mine = and_(_waits(table), table.c.namespace == signer.namespace, table.c.signer == named)
        query = select(table).where(mine).order_by(table.c.chain, table.c.sequence).limit(limit - len(found))
        for row in tx.execute(query):
            why = Why(row.why) if table is checkpoints else None
            found.append(Unsigned(row.chain, row.sequence, why, row.digest, row.statement))
    return found


def _signing(table: Table, *keys: str) -> Statement:
    """What is signed is what was read, and nobody has signed it meanwhile."""
    same = [table.c[key] == bindparam(f"of_{key}") for key in keys]
    return Statement(
        update(table)
        .where(*same, table.c.statement == bindparam("said"), table.c.signature.is_(None))
        .values(signature=bindparam("sig"), key_id=bindparam("key"), signed_at=bindparam("at"))
    )


_SIGN = _signing(evidence, "chain", "sequence")
_SIGN_CHECKPOINT = _signing(checkpoints, "chain", "sequence", "why")


def sign(tx: Tx, signed: Sequence[tuple[Unsigned, Signature]], now: datetime) -> None:
    """Keep signatures. What another replica has signed meanwhile stays, and so does what is not any more what was signed."""
    rows: dict[bool, list[dict[str, Any]]] = {False: [], True: []}
    for one, signature in signed:
        row = {"of_chain": one.chain, "of_sequence": one.sequence, "said": one.statement}
        row |= {"sig": signature.sig, "key": signature.keyid, "at": now}
        rows[one.why is not None].append(row if one.why is None else {**row, "of_why": one.why.value})
    _SIGN.run_all(tx, rows[False])
    _SIGN_CHECKPOINT.run_all(tx, rows[True])


# Checkpoints


def mark_heads(tx: Tx, now: datetime, every: timedelta) -> int:
    """Make a checkpoint of each chain that has gone on and has had none for so long; give how many were made."""
    marked = (
        select(
            checkpoints.c.chain,
            func.max(checkpoints.c.sequence).label("sequence"),
            func.max(checkpoints.c.recorded_at).label("at"),
        )
        .group_by(checkpoints.c.chain)
        .subquery()
    )
    due = or_(
        marked.c.chain.is_(None), and_(evidence_chains.c.sequence > marked.c.sequence, marked.c.at <= now - every)
    )
    heads = (
        select(evidence.c.chain, evidence.c.sequence, evidence.c.digest, evidence.c.signer)
        .join(
            evidence_chains,
            and_(evidence_chains.c.chain == evidence.c.chain, evidence_chains.c.sequence == evidence.c.sequence),
        )
        .outerjoin(marked, marked.c.chain == evidence.c.chain)
        .where(due)
        .limit(_PORTION)
    )
    found = tx.execute(heads).all()
    for row in found:
        _mark(tx, row.chain, row.sequence, row.digest, Why.Head, row.signer, now)
    return len(found)


def _mark(tx: Tx, chain: str, sequence: int, seen: str, why: Why, signer: str | None, now: datetime) -> None:
    """Make a checkpoint, unless there is one."""
    namespace, _, job = chain.partition("/")
    _CHECKPOINT.run(
        tx,
        {
            "chain": chain,
            "sequence": sequence,
            "why": why.value,
            "namespace": namespace,
            "statement": checkpoint.of_chain(namespace, job, sequence, seen, why, now),
            "digest": seen,
            "recorded_at": now,
            "signer": signer,
        },
    )


_CHECKPOINT = insertion(checkpoints, unless_there=True)


# Retention


def aged(tx: Tx, before: datetime) -> list[str]:
    """The chains that have statements of before that instant."""
    return list(tx.execute(select(evidence.c.chain).where(evidence.c.recorded_at < before).distinct()).scalars())


def cover(tx: Tx, chains: Collection[str], before: datetime, now: datetime) -> None:
    """Make the checkpoints that have to be signed before anything of these chains is pruned, up to what was recorded before that instant.

    Nothing is covered that waits for its signature, and nothing after it.
    """
    for chain in chains:
        _cover(tx, chain, before, now)


def prune(tx: Tx) -> int:
    """Forget one portion of what checkpoints cover that nobody has to sign any more; how many rows went."""
    covered = (
        select(checkpoints.c.chain, func.max(checkpoints.c.sequence).label("sequence"))
        .where(checkpoints.c.why == Why.Pruned.value, _settled(checkpoints))
        .group_by(checkpoints.c.chain)
        .subquery()
    )
    doomed = (
        select(evidence.c.chain, evidence.c.sequence)
        .join(covered, and_(covered.c.chain == evidence.c.chain, covered.c.sequence >= evidence.c.sequence))
        .order_by(evidence.c.chain, evidence.c.sequence)
    )
    return _forget(tx, evidence, doomed) + _forget_checkpoints(tx)


def _forget(tx: Tx, table: Table, doomed: Select[Any]) -> int:
    """Delete a portion of rows by their keys."""
    rows = [dict(row._mapping) for row in tx.execute(doomed.limit(_PORTION))]  # noqa: SLF001 - SQLAlchemy's public name for it
    if rows:
        keys = [table.c[key] == bindparam(f"of_{key}") for key in rows[0]]
        tx.execute(delete(table).where(*keys), [{f"of_{key}": value for key, value in row.items()} for row in rows])
    return len(rows)


def _settled(table: Table) -> ColumnElement[bool]:
    """Nobody has to sign it any more."""
    return or_(table.c.signer.is_(None), table.c.signature.is_not(None))


def _cover(tx: Tx, chain: str, before: datetime, now: datetime) -> None:
    """Make the checkpoint that pruning a chain needs."""
    mine = evidence.c.chain == chain
    # The first that has to stay: not the age of each counts, because a clock may have been set back.
    stays = select(func.min(evidence.c.sequence)).where(mine, or_(evidence.c.recorded_at >= before, _waits(evidence)))
    first = tx.execute(stays).scalar_one()
    old = (
        select(evidence).where(mine, evidence.c.sequence < first) if first is not None else select(evidence).where(mine)
    )
    last = tx.execute(old.order_by(evidence.c.sequence.desc()).limit(1)).first()
    if last is None:
        return
    # By whom the newest statement is to be signed: who signed the old ones may be gone.
    newest = select(evidence.c.signer).where(mine).order_by(evidence.c.sequence.desc()).limit(1)
    _mark(tx, chain, last.sequence, last.digest, Why.Pruned, tx.execute(newest).scalar_one(), now)


def _forget_checkpoints(tx: Tx) -> int:
    """Of each kind the newest that is settled says all that the ones before it said."""
    newest = (
        select(checkpoints.c.chain, checkpoints.c.why, func.max(checkpoints.c.sequence).label("sequence"))
        .where(checkpoints.c.why != Why.Restored.value, _settled(checkpoints))
        .group_by(checkpoints.c.chain, checkpoints.c.why)
        .subquery()
    )
    same = and_(newest.c.chain == checkpoints.c.chain, newest.c.why == checkpoints.c.why)
    older = select(checkpoints.c.chain, checkpoints.c.sequence, checkpoints.c.why).join(
        newest, and_(same, newest.c.sequence > checkpoints.c.sequence)
    )
    return _forget(tx, checkpoints, older)


# Reading


class Record(msgspec.Struct, frozen=True):
    """One statement about a run as it is kept. `digest` is what was noted when it was recorded; `signer` who is to sign it, as kind/name."""

    chain: str
    sequence: int
    run: str
    envelope: Envelope
    digest: str
    recorded_at: datetime
    signer: str | None
    signed_at: datetime | None


class Head(msgspec.Struct, frozen=True):
    """How far a chain has come."""

    sequence: int
    digest: str


def of_name(tx: Tx, namespace: str, run: str) -> Record | None:
    """What is on record about one run; namespace "" is any."""
    query = select(evidence).where(evidence.c.run == run)
    if namespace:
        query = query.where(evidence.c.namespace == namespace)
    row = tx.execute(query).one_or_none()
    return _record(row) if row is not None else None


def page(tx: Tx, namespace: str, job: str, after: int, limit: int) -> list[Record]:
    """Statements of one chain beyond a number, in order."""
    mine = and_(evidence.c.chain == chain_of(namespace, job), evidence.c.sequence > after)
    return [_record(row) for row in tx.execute(select(evidence).where(mine).order_by(evidence.c.sequence).limit(limit))]


def marks(tx: Tx, namespace: str, job: str) -> list[Envelope]:
    """The checkpoints of one chain, in order."""
    query = select(checkpoints).where(checkpoints.c.chain == chain_of(namespace, job))
    return [_envelope(row) for row in tx.execute(query.order_by(checkpoints.c.sequence, checkpoints.c.why))]


def head(tx: Tx, namespace: str, job: str) -> Head | None:
    """How far the chain of a job has come; None where nothing was ever recorded."""
    query = select(evidence_chains).where(evidence_chains.c.chain == chain_of(namespace, job))
    row = tx.execute(query).one_or_none()
    return Head(row.sequence, row.digest) if row is not None and row.sequence else None


def names(tx: Tx, namespace: str) -> list[str]:
    """The jobs of a namespace ("": of all) that have evidence, sorted: also those that are no more."""
    query = select(evidence_chains.c.chain).order_by(evidence_chains.c.chain)
    found = [chain.partition("/") for chain in tx.execute(query).scalars()]
    return [job for space, _, job in found if namespace in ("", space)]


def _record(row: Any) -> Record:
    return Record(
        row.chain,
        row.sequence,
        row.run,
        _envelope(row),
        row.digest,
        row.recorded_at,
        row.signer,
        row.signed_at,
    )


def _envelope(row: Any) -> Envelope:
    return Envelope(row.statement, (Signature(row.signature, row.key_id),) if row.signature is not None else ())


# Backup and check

TABLES = (evidence_chains, evidence, checkpoints)


def outlives(tx: Tx, of: Connection) -> set[str]:
    """Chains of the database that a restore leaves alone: those that the backup does not know, and those that go on from where they end in the backup."""
    ends = {row.chain: row for row in of.execute(select(evidence_chains))}
    pruned = _pruned(tx)
    kept = set()
    for row in tx.execute(select(evidence_chains)).all():
        end = ends.get(row.chain)
        if end is None or _goes_on(tx, row, end, pruned.get(row.chain, 0)):
            kept.add(row.chain)
    return kept


def _goes_on(tx: Tx, here: Any, end: Any, pruned: int) -> bool:
    """Whether a chain has, at the number where it ends in the backup, the same statement; what was pruned cannot be compared any more."""
    if here.sequence <= end.sequence:
        return (here.sequence, here.digest) == (end.sequence, end.digest)
    return end.sequence <= pruned or end.digest in _seen(tx, here.chain, end.sequence)


def _pruned(tx: Tx) -> dict[str, int]:
    """Up to which number each chain was, or is to be, pruned; chains that never were are left out."""
    query = select(checkpoints.c.chain, func.max(checkpoints.c.sequence).label("sequence"))
    query = query.where(checkpoints.c.why == Why.Pruned.value).group_by(checkpoints.c.chain)
    return {row.chain: row.sequence for row in tx.execute(query)}


def _seen(tx: Tx, chain: str, sequence: int) -> set[str]:
    """The digests that the database knows for one number of a chain."""
    return {
        seen
        for table in (evidence, checkpoints)
        for seen in tx.execute(
            select(table.c.digest).where(table.c.chain == chain, table.c.sequence == sequence)
        ).scalars()
    }


def replace(tx: Tx, of: Connection, now: datetime) -> None:
    """Take the chains of a backup, but for those that outlive it; where a chain is set back, a checkpoint says so."""
    kept = outlives(tx, of)
    for table in TABLES:
        gone = [chain for chain in tx.execute(select(table.c.chain).distinct()).scalars() if chain not in kept]
        if gone:
            tx.execute(delete(table).where(table.c.chain == bindparam("of")), [{"of": chain} for chain in gone])
        for rows in _chunks(of, table):
            taken = [row for row in rows if row["chain"] not in kept]
            if taken:
                tx.execute(insert(table), taken)
    for row in of.execute(select(evidence_chains)):
        if row.chain not in kept and row.sequence:
            _mark(tx, row.chain, row.sequence, row.digest, Why.Restored, _signer_of(tx, row.chain), now)


def _chunks(of: Connection, table: Table) -> Iterator[list[dict[str, Any]]]:
    found = of.execute(select(table))
    while rows := found.fetchmany(_PORTION):
        yield [dict(row._mapping) for row in rows]  # noqa: SLF001 - SQLAlchemy's public name for it


def _signer_of(tx: Tx, chain: str) -> str | None:
    """Who is to sign for a chain: whoever was to sign the newest statement that is left, or the newest checkpoint."""
    for table in (evidence, checkpoints):
        query = select(table.c.signer).where(table.c.chain == chain).order_by(table.c.sequence.desc()).limit(1)
        row = tx.execute(query).first()
        if row is not None:
            signer: str | None = row.signer
            return signer
    return None


def faults(tx: Tx) -> Iterator[str]:
    """What is wrong with the chains as far as rows alone can say; `jobwarden evidence verify` looks closer."""
    ends = _pruned(tx)
    numbers = select(
        evidence.c.chain,
        func.min(evidence.c.sequence).label("first"),
        func.max(evidence.c.sequence).label("last"),
        func.count().label("number"),
    ).group_by(evidence.c.chain)
    found = {row.chain: row for row in tx.execute(numbers)}
    for chain, sequence in tx.execute(select(evidence_chains.c.chain, evidence_chains.c.sequence)):
        row, gone = found.pop(chain, None), ends.get(chain, 0)
        last = row.last if row is not None else gone
        if last != sequence:
            yield f"the evidence of {chain} ends at sequence {last}, and should end at {sequence}"
        if row is not None and (row.last - row.first + 1 != row.number or row.first > gone + 1):
            yield f"the evidence of {chain} has gaps; `jobwarden evidence verify` says where"
    for chain in found:
        yield f"the evidence of {chain} has no head"
    later = evidence.alias()
    broken = (
        select(evidence.c.chain, evidence.c.sequence)
        .join(later, and_(later.c.chain == evidence.c.chain, later.c.sequence == evidence.c.sequence + 1))
        .where(later.c.previous != evidence.c.digest)
    )
    for row in tx.execute(broken.limit(10)):
        yield f"the evidence of {row.chain} is broken after sequence {row.sequence}"
