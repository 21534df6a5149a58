"""The tables, for SQLite and PostgreSQL alike. Alembic's history in `migrations/` leads here; a test compares the two.

Instants are microseconds since the epoch (UTC) in a BIGINT, so that both databases order and compare them alike. The CHECK constraints
come from the state tables, the partial unique indexes are the guarantees that the guards only explain.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ColumnElement,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    literal_column,
    text,
)
from sqlalchemy.sql.operators import OperatorType
from sqlalchemy.types import UserDefinedType

from controller.domain.states import ApprovalState, Cause, DispatchState, OutboxState, RunState
from controller.evidence.checkpoint import Why

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_micros(instant: datetime) -> int:
    """Microseconds since the epoch. Pure; exact."""
    return (instant - _EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """Inverse of `to_micros`. Pure."""
    return _EPOCH + timedelta(microseconds=micros)


class Instant(UserDefinedType[datetime]):
    """An aware UTC instant in a BIGINT of microseconds. Processors of its own, because a turn converts hundreds of them."""

    cache_ok = True

    def get_col_spec(self, **_kw: Any) -> str:
        return "BIGINT"

    def bind_processor(self, dialect: Dialect) -> Callable[[datetime | None], int | None]:  # noqa: ARG002 - SQLAlchemy's signature
        return _bound

    def result_processor(
        self,
        dialect: Dialect,  # noqa: ARG002 - SQLAlchemy's signature
        coltype: object,  # noqa: ARG002 - SQLAlchemy's signature
    ) -> Callable[[int | None], datetime | None]:
        return _read


def _bound(value: datetime | None) -> int | None:
    return None if value is None else (value - _EPOCH) // _MICROSECOND


def _read(value: int | None) -> datetime | None:
    return None if value is None else _EPOCH + timedelta(microseconds=value)


class Word(String):
    """One of a few fixed words. It is compared with constants as they are, not as parameters: a planner that does not see the word cannot use an
    index that holds only rows with that word, and would read all history instead.
    """

    class Comparator(String.Comparator[str]):
        """Writes words into the statement."""

        def operate(self, op: OperatorType, *other: Any, **kwargs: Any) -> ColumnElement[Any]:
            return super().operate(op, *(_written(value) for value in other), **kwargs)

    comparator_factory = Comparator


def _written(value: Any) -> Any:
    if isinstance(value, str):
        if not value.isalpha():  # it becomes part of the statement
            raise ValueError(f"{value!r} is not a word")
        return literal_column(f"'{value}'", String)
    return [_written(one) for one in value] if isinstance(value, list | tuple) else value


def _one_of(column: str, words: type[StrEnum]) -> CheckConstraint:
    listed = ", ".join(f"'{word}'" for word in words)
    return CheckConstraint(f"{column} IN ({listed})", name=f"{column}_known")


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite gives its fast rowid only to INTEGER PRIMARY KEY.
Id = BigInteger().with_variant(Integer, "sqlite")

instances = Table(
    "instances",
    metadata,
    Column("id", String(64), primary_key=True),  # owner token of one controller process
    Column("host", String(255), nullable=False),
    Column("boot_id", String(64), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("lease_until", Instant),  # by the database's clock; NULL on SQLite, where the file lock takes its place
    Column("state", Word(16), nullable=False, server_default="Live"),  # Live, Gone
)

sources = Table(
    "sources",
    metadata,
    Column("name", String(63), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("location", Text, nullable=False),
    Column("owner", String(64)),  # instance that reconciles it
    Column("served", Boolean, nullable=False, server_default=text("true")),
    Column("revision", Text),
    Column("signer", Text),  # who signed that revision, checked
    Column("attempted_revision", Text),
    Column("applied_at", Instant),
    Column("reason", String(64)),
    Column("message", Text),
    Column("failing_since", Instant),
    Column("errors", LargeBinary),  # JSON list of the manifest errors of the last attempt
)

files = Table(
    "files",
    metadata,
    Column("source", String(63), primary_key=True),
    Column("path", Text, primary_key=True),
    Column("digest", String(80), nullable=False),
    Column("documents", Integer, nullable=False),
)

resources = Table(
    "resources",
    metadata,
    Column("id", Id, primary_key=True),
    Column("kind", String(63), nullable=False),
    Column("namespace", String(63), nullable=False),
    Column("name", String(253), nullable=False),
    Column("uid", String(36), nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("source", String(63), nullable=False),
    Column("path", Text),
    Column("line", Integer),
    Column("document", LargeBinary, nullable=False),  # JSON of the document as written
    Column("digest", String(80), nullable=False),
    Column("references", LargeBinary),  # JSON: what it names, for checks across documents
    Column("rejection", LargeBinary),  # JSON: what is wrong with a newer version that was not accepted
    Column("conditions", LargeBinary),  # JSON: as last projected, for transition times
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    UniqueConstraint("kind", "namespace", "name"),
    Index("ix_resources_source", "source"),
    sqlite_autoincrement=True,  # an id is never given twice: history of deleted jobs must not become another job's
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", Id, ForeignKey("resources.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("uid", String(36), nullable=False),
    Column("namespace", String(63), nullable=False),
    Column("name", String(63), nullable=False),
    Column("source", String(63), nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("spec", LargeBinary, nullable=False),  # domain.job.encode
    Column("labels", LargeBinary),
    Column("schedule_text", Text, nullable=False),
    Column("target", String(16), nullable=False),
    Column("suspend", Boolean, nullable=False),
    Column("fire_digest", String(80), nullable=False),
    Column("effective_digest", String(80), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("anchor_at", Instant, nullable=False),
    Column("fired_through", Instant, nullable=False),
    Column("next_fire_at", Instant),
    Column("last_instant", Instant),  # the newest instant that fired: what the next run gets as the previous one
    Column("backoff_until", Instant),  # `errorBackoff` holds the schedule until then
    Column("completed_at", Instant),
    Column("blocked_reason", String(64)),
    Column("blocked_message", Text),
    Column("hold_reason", Text),
    Column("hold_by", String(255)),
    Column("hold_since", Instant),
    Column("hold_until", Instant),
    Column("hold_annotation", Text),  # value of the annotation that set the hold, so that a release is not undone by it
    Column("consecutive_errors", Integer, nullable=False, server_default="0"),
    Column("last_run", String(63)),
    Column("last_state", String(16)),
    Column("last_reason", String(64)),
    Column("last_exit_code", Integer),
    Column("last_started_at", Instant),
    Column("last_finished_at", Instant),
    Column("last_success_at", Instant),
    Column("healthy", Boolean),
    Column("overdue_reason", String(64)),
    Column("overdue_message", Text),
    Column("overdue_since", Instant),
    Column("alert_at", Instant),
    Column("alert_episode", Text),
    UniqueConstraint("namespace", "name"),
    Index(
        "ix_jobs_due",
        "next_fire_at",
        sqlite_where=text("next_fire_at IS NOT NULL"),
        postgresql_where=text("next_fire_at IS NOT NULL"),
    ),
    Index(
        "ix_jobs_alert",
        "alert_at",
        sqlite_where=text("alert_at IS NOT NULL"),
        postgresql_where=text("alert_at IS NOT NULL"),
    ),
    Index(
        "ix_jobs_hold",
        "hold_until",
        sqlite_where=text("hold_until IS NOT NULL"),
        postgresql_where=text("hold_until IS NOT NULL"),
    ),
)

triggers = Table(
    "triggers",
    metadata,
    Column("child_id", Id, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("namespace", String(63), nullable=False),
    Column("parent", String(63), primary_key=True),
    Column("when", String(16), nullable=False),
    Index("ix_triggers_parent", "namespace", "parent"),
)

dispatches = Table(
    "dispatches",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("job_id", Id, nullable=False),  # no foreign key: history outlives the job
    Column("namespace", String(63), nullable=False),
    Column("job", String(63), nullable=False),
    Column("cause", Word(16), _one_of("cause", Cause), nullable=False),
    Column("state", Word(16), _one_of("state", DispatchState), nullable=False),
    Column("reason", String(64)),
    Column("message", Text),
    Column("priority", Integer, nullable=False, server_default="0"),
    Column("scheduled_for", Instant, nullable=False),
    Column("previous", Instant),
    Column("through", Instant),  # a row that accounts for a range: its last instant
    Column("instants", Integer, nullable=False, server_default="1"),  # and how many instants at least
    Column("not_before", Instant, nullable=False),
    Column("placement", String(63), nullable=False, server_default=""),
    Column("attempt", Integer, nullable=False, server_default="1"),
    Column("replays", Integer, nullable=False, server_default="0"),
    Column("root", String(63)),
    Column("retry_of", String(63)),
    Column("parents", LargeBinary),
    Column("parameters", LargeBinary),
    Column("key", Text),
    Column("approval", String(63)),
    Column("escalation", String(63)),  # the approval that a policy asked for
    Column("actor", String(255)),
    Column("presented", LargeBinary),  # domain.trust.Presentation: where the proof is, never the proof
    Column("run", String(63)),
    Column("owner", String(64)),
    Column("catch_up", Boolean, nullable=False, server_default=text("false")),
    Column("deferrals", Integer, nullable=False, server_default="0"),
    Column("created_at", Instant, nullable=False),
    Column("ended_at", Instant),
    Index(
        "uq_dispatches_instant",
        "job_id",
        "scheduled_for",
        "placement",
        unique=True,
        sqlite_where=text("cause = 'Schedule'"),
        postgresql_where=text("cause = 'Schedule'"),
    ),
    # `All` joins fire once per root run.
    Index(
        "ix_dispatches_due",
        "not_before",
        sqlite_where=text("state = 'Pending'"),
        postgresql_where=text("state = 'Pending'"),
    ),
    Index(
        "ix_dispatches_waiting",
        "job_id",
        sqlite_where=text("state IN ('Pending', 'Claimed', 'AwaitingApproval')"),
        postgresql_where=text("state IN ('Pending', 'Claimed', 'AwaitingApproval')"),
    ),
    Index("ix_dispatches_job", "namespace", "job", "scheduled_for"),
    Index(
        "ix_dispatches_root", "root", sqlite_where=text("root IS NOT NULL"), postgresql_where=text("root IS NOT NULL")
    ),
)

# What a waiting dispatch waits for (`pool:ns/name`, `job:id`), so that whoever frees it can wake the first in line.
waits = Table(
    "waits",
    metadata,
    Column("dispatch", String(36), ForeignKey("dispatches.id", ondelete="CASCADE"), primary_key=True),
    Column("key", String(255), primary_key=True),
    Index("ix_waits_key", "key"),
)

runs = Table(
    "runs",
    metadata,
    Column("name", String(63), primary_key=True),
    Column("job_id", Id, nullable=False),
    Column("job_uid", String(36), nullable=False),
    Column("namespace", String(63), nullable=False),
    Column("job", String(63), nullable=False),
    Column("dispatch", String(36), nullable=False),
    Column("cause", Word(16), _one_of("cause", Cause), nullable=False),
    Column("state", Word(16), _one_of("state", RunState), nullable=False),
    Column("reason", String(64)),
    Column("message", Text),
    Column("exclusive", Boolean, nullable=False),
    Column("rerun", Boolean, nullable=False),  # onInterruption: Rerun when it was opened
    Column("spec", LargeBinary),  # the resolved spec while the run is open; NULL afterwards
    Column("root", String(63), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("replays", Integer, nullable=False, server_default="0"),
    Column("retry_of", String(63)),
    Column("parents", LargeBinary),
    Column("parameters", LargeBinary),
    Column("actor", String(255)),
    Column("approval", String(63)),
    Column("escalation", String(63)),
    Column("scheduled_for", Instant, nullable=False),
    Column("previous", Instant),
    Column("created_at", Instant, nullable=False),
    Column("started_at", Instant),
    Column("finished_at", Instant),
    Column("owner", String(64)),
    Column("host", String(255)),
    Column("boot_id", String(64)),
    Column("pid", Integer),
    Column("pid_start", BigInteger),
    Column("exit_code", Integer),
    Column("signal", String(16)),
    Column("outputs", LargeBinary),
    Column("stdout", LargeBinary),
    Column("stderr", LargeBinary),
    Column("output_bytes", BigInteger),
    Column("output_truncated", Boolean),
    Column("cancel_requested_by", String(255)),
    Column("effective_digest", String(80)),
    Column(
        "grant", LargeBinary
    ),  # domain.trust.encode_grant: what it was opened or refused under; NULL where nothing governs
    Index(
        "uq_runs_exclusive",
        "job_id",
        unique=True,
        sqlite_where=text("state = 'Running' AND exclusive"),
        postgresql_where=text("state = 'Running' AND exclusive"),
    ),
    Index("ix_runs_live", "job_id", sqlite_where=text("state = 'Running'"), postgresql_where=text("state = 'Running'")),
    Index("ix_runs_job", "namespace", "job", "created_at"),
    Index("ix_runs_root", "root"),
)

pools = Table(
    "pools",
    metadata,
    Column("id", Id, ForeignKey("resources.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("namespace", String(63), nullable=False),  # '' for a ClusterResourcePool
    Column("name", String(253), nullable=False),
    Column("slots", Integer, nullable=False),
    Column("held", Integer, CheckConstraint("held >= 0", name="held_positive"), nullable=False, server_default="0"),
    Column("allowed_namespaces", LargeBinary),
    UniqueConstraint("namespace", "name"),
)

pool_holds = Table(
    "pool_holds",
    metadata,
    Column("run", String(63), primary_key=True),
    Column("pool", Id, ForeignKey("pools.id", ondelete="CASCADE"), primary_key=True),
    Column("slots", Integer, nullable=False),
)

targets = Table(
    "targets",
    metadata,
    Column("id", Id, ForeignKey("resources.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("namespace", String(63), nullable=False),  # '' for a ClusterNotificationTarget
    Column("name", String(253), nullable=False),
    Column("spec", LargeBinary, nullable=False),  # JSON of the spec: references, never secrets
    UniqueConstraint("namespace", "name"),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("namespace", String(63), primary_key=True),
    Column("job", String(63), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("dispatch", String(36), nullable=False),
    Column("expires_at", Instant, nullable=False),
)

approvals = Table(
    "approvals",
    metadata,
    Column("name", String(63), primary_key=True),
    Column("namespace", String(63), nullable=False),
    Column("job", String(63), nullable=False),
    Column("job_id", Id, nullable=False),
    Column("dispatch", String(36), nullable=False),
    Column("gate", String(16), nullable=False),
    Column("state", Word(16), _one_of("state", ApprovalState), nullable=False),
    Column("digest", String(80), nullable=False),
    Column("policy", Text),  # `Kind namespace/name` of the policy whose rule asks
    Column("rule", String(63)),
    Column("scheduled_for", Instant, nullable=False),
    Column("required", Integer, nullable=False),
    Column("allow_self", Boolean, nullable=False),
    Column("approvers", LargeBinary),
    Column("requested_by", String(255)),
    Column("message", Text, nullable=False),
    Column("parameters", LargeBinary),
    Column("decisions", LargeBinary),
    Column("on_timeout", String(16), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("decided_at", Instant),
    Index(
        "ix_approvals_expiry",
        "expires_at",
        sqlite_where=text("state = 'Pending'"),
        postgresql_where=text("state = 'Pending'"),
    ),
    Index(
        "ix_approvals_job", "job_id", sqlite_where=text("state = 'Pending'"), postgresql_where=text("state = 'Pending'")
    ),
    # One question a dispatch at a time.
    Index(
        "uq_approvals_dispatch",
        "dispatch",
        unique=True,
        sqlite_where=text("state = 'Pending'"),
        postgresql_where=text("state = 'Pending'"),
    ),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("event", String(32), nullable=False),
    Column("namespace", String(63), nullable=False),
    Column("job", String(63), nullable=False),
    Column("run", String(63)),
    Column("target", String(253), nullable=False),
    Column("target_kind", String(63), nullable=False),
    Column("to", Text),
    Column("dedupe", String(255), nullable=False, unique=True),
    Column("payload", LargeBinary, nullable=False),
    Column("state", Word(16), _one_of("state", OutboxState), nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("created_at", Instant, nullable=False),
    Column("not_before", Instant, nullable=False),
    Column("owner", String(64)),
    Column("last_error", Text),
    Index(
        "ix_outbox_due",
        "not_before",
        sqlite_where=text("state = 'Pending'"),
        postgresql_where=text("state = 'Pending'"),
    ),
)

# Proofs of authority that have served: one with an id is good for one use.
spent_proofs = Table(
    "spent_proofs",
    metadata,
    Column("once", String(80), primary_key=True),  # digest of issuer and id
    Column("use", String(36), nullable=False),  # the dispatch that it came with; attempts at the same share it
    Column("expires_at", Instant, nullable=False),  # from when on it is no proof anyway
    Index("ix_spent_proofs_expires", "expires_at"),
)

# What providers did for runs and has to be undone; a row is there before that is done, and goes when nothing is left of it.
cleanups = Table(
    "cleanups",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("run", String(63), nullable=False),  # no foreign key: it may be forgotten, or never opened
    Column("provider", String(253), nullable=False),
    Column("provider_kind", String(63), nullable=False),
    Column("namespace", String(63), nullable=False),  # '' for a ClusterCredentialProvider
    Column("handle", LargeBinary, nullable=False),  # the provider's own name for it, never a secret
    Column("created_at", Instant, nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("not_before", Instant, nullable=False),
    Column("last_error", Text),
    Index("ix_cleanups_due", "not_before"),
    Index("ix_cleanups_run", "run"),
)

tombstones = Table(
    "tombstones",
    metadata,
    Column("kind", String(63), primary_key=True),
    Column("namespace", String(63), primary_key=True),
    Column("name", String(253), primary_key=True),
    Column("fire_digest", String(80), primary_key=True),
    Column("completed_at", Instant, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("id", Id, primary_key=True),
    Column("at", Instant, nullable=False),
    Column("actor", String(255), nullable=False),
    Column("verb", String(32), nullable=False),
    Column("namespace", String(63), nullable=False),
    Column("subject", String(253), nullable=False),
    Column("detail", Text, nullable=False, server_default=""),
    Index("ix_audit_subject", "namespace", "subject"),
)

# What is on record about runs, apart from them: it outlives runs and jobs. `chain` is namespace/name of the job.
evidence_chains = Table(
    "evidence_chains",
    metadata,
    Column("chain", String(127), primary_key=True),
    Column("sequence", BigInteger, nullable=False),  # of the newest statement
    Column("digest", String(64), nullable=False),  # SHA-256 of its bytes, in hexadecimal
)

evidence = Table(
    "evidence",
    metadata,
    Column("chain", String(127), primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("namespace", String(63), nullable=False),
    Column("run", String(63), nullable=False, unique=True),
    Column("statement", LargeBinary, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("previous", String(64)),
    Column("recorded_at", Instant, nullable=False),
    Column("signer", String(320)),  # kind/name of the CredentialProvider of the key; NULL: nobody signs it
    Column("signature", LargeBinary),
    Column("key_id", String(80)),
    Column("signed_at", Instant),
    Index("ix_evidence_recorded", "recorded_at"),
    Index(
        "ix_evidence_unsigned",
        "namespace",
        "signer",
        sqlite_where=text("signature IS NULL AND signer IS NOT NULL"),
        postgresql_where=text("signature IS NULL AND signer IS NOT NULL"),
    ),
)

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("chain", String(127), primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("why", String(16), _one_of("why", Why), primary_key=True),
    Column("namespace", String(63), nullable=False),
    Column("statement", LargeBinary, nullable=False),
    Column("digest", String(64), nullable=False),  # of the statement with that number
    Column("recorded_at", Instant, nullable=False),
    Column("signer", String(320)),
    Column("signature", LargeBinary),
    Column("key_id", String(80)),
    Column("signed_at", Instant),
    Index(
        "ix_checkpoints_unsigned",
        "namespace",
        "signer",
        sqlite_where=text("signature IS NULL AND signer IS NOT NULL"),
        postgresql_where=text("signature IS NULL AND signer IS NOT NULL"),
    ),
)
