"""The first schema.

Expand, then contract: released code must run on the schema that this leaves.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "approvals",
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("namespace", sa.String(length=63), nullable=False),
        sa.Column("job", sa.String(length=63), nullable=False),
        sa.Column("job_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("dispatch", sa.String(length=36), nullable=False),
        sa.Column("gate", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("digest", sa.String(length=80), nullable=False),
        sa.Column("policy", sa.Text(), nullable=True),
        sa.Column("rule", sa.String(length=63), nullable=True),
        sa.Column("scheduled_for", sa.BigInteger(), nullable=False),
        sa.Column("required", sa.Integer(), nullable=False),
        sa.Column("allow_self", sa.Boolean(), nullable=False),
        sa.Column("approvers", sa.LargeBinary(), nullable=True),
        sa.Column("requested_by", sa.String(length=255), nullable=True),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("parameters", sa.LargeBinary(), nullable=True),
        sa.Column("decisions", sa.LargeBinary(), nullable=True),
        sa.Column("on_timeout", sa.String(length=16), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("decided_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "state IN ('Pending', 'Approved', 'Rejected', 'TimedOut', 'Superseded', 'Cancelled')",
            name=op.f("ck_approvals_state_known"),
        ),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_approvals")),
    )
    op.create_index(
        "ix_approvals_expiry",
        "approvals",
        ["expires_at"],
        unique=False,
        sqlite_where=sa.text("state = 'Pending'"),
        postgresql_where=sa.text("state = 'Pending'"),
    )
    op.create_index(
        "ix_approvals_job",
        "approvals",
        ["job_id"],
        unique=False,
        sqlite_where=sa.text("state = 'Pending'"),
        postgresql_where=sa.text("state = 'Pending'"),
    )
    op.create_index(
        "uq_approvals_dispatch",
        "approvals",
        ["dispatch"],
        unique=True,
        sqlite_where=sa.text("state = 'Pending'"),
        postgresql_where=sa.text("state = 'Pending'"),
    )
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(length=255), nullable=False),
        sa.Column("verb", sa.String(length=32), nullable=False),
        sa.Column("namespace", sa.String(length=63), nullable=False),
        sa.Column("subject", sa.String(length=253), nullable=False),
        sa.Column("detail", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    op.create_index("ix_audit_subject", "audit", ["namespace", "subject"], unique=False)
    op.create_table(
        "cleanups",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("run", sa.String(length=63), nullable=False),
        sa.Column("provider", sa.String(length=253), nullable=False),
        sa.Column("provider_kind", sa.String(length=63), nullable=False),
        sa.Column("namespace", sa.String(length=63), nullable=False),
        sa.Column("handle", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("not_before", sa.BigInteger(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cleanups")),
    )
    op.create_index("ix_cleanups_due", "cleanups", ["not_before"], unique=False)
    op.create_index("ix_cleanups_run", "cleanups", ["run"], unique=False)
    op.create_table(
        "dispatches",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("job_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("namespace", sa.String(length=63), nullable=False),
        sa.Column("job", sa.String(length=63), nullable=False),
        sa.Column("cause", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.String(length=64), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("priority", sa.Integer(), server_default="0", nullable=False),
        sa.Column("scheduled_for", sa.BigInteger(), nullable=False),
        sa.Column("previous", sa.BigInteger(), nullable=True),
        sa.Column("through", sa.BigInteger(), nullable=True),
        sa.Column("instants", sa.Integer(), server_default="1", nullable=False),
        sa.Column("not_before", sa.BigInteger(), nullable=False),
        sa.Column("placement", sa.String(length=63), server_default="", nullable=False),
        sa.Column("attempt", sa.Integer(), server_default="1", nullable=False),
        sa.Column("replays", sa.Integer(), server_default="0", nullable=False),
        sa.Column("root", sa.String(length=63), nullable=True),
        sa.Column("retry_of", sa.String(length=63), nullable=True),
        sa.Column("parents", sa.LargeBinary(), nullable=True),
        sa.Column("parameters", sa.LargeBinary(), nullable=True),
        sa.Column("key", sa.Text(), nullable=True),
        sa.Column("approval", sa.String(length=63), nullable=True),
        sa.Column("escalation", sa.String(length=63), nullable=True),
        sa.Column("actor", sa.String(length=255), nullable=True),
        sa.Column("presented", sa.LargeBinary(), nullable=True),
        sa.Column("run", sa.String(length=63), nullable=True),
        sa.Column("owner", sa.String(length=64), nullable=True),
        sa.Column("catch_up", sa.Boolean(), server_default=sa.text("(false)"), nullable=False),
        sa.Column("deferrals", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "cause IN ('Schedule', 'Manual', 'Chain', 'Retry', 'Replay')", name=op.f("ck_dispatches_cause_known")
        ),
        sa.CheckConstraint(
            "state IN ('Pending', 'Claimed', 'AwaitingApproval', 'Done', 'Skipped', 'Missed', 'Cancelled')",
            name=op.f("ck_dispatches_state_known"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dispatches")),
    )
    op.create_index(
        "ix_dispatches_due",
        "dispatches",
        ["not_before"],
        unique=False,
        sqlite_where=sa.text("state = 'Pending'"),
        postgresql_where=sa.text("state = 'Pending'"),
    )
    op.create_index("ix_dispatches_job", "dispatches", ["namespace", "job", "scheduled_for"], unique=False)
    op.create_index(
        "ix_dispatches_root",
        "dispatches",
        ["root"],
        unique=False,
        sqlite_where=sa.text("root IS NOT NULL"),
        postgresql_where=sa.text("root IS NOT NULL"),
    )
    op.create_index(
        "ix_dispatches_waiting",
        "dispatches",
        ["job_id"],
        unique=False,
        sqlite_where=sa.text("state IN ('Pending', 'Claimed', 'AwaitingApproval')"),
        postgresql_where=sa.text("state IN ('Pending', 'Claimed', 'AwaitingApproval')"),
    )
    op.create_index(
        "uq_dispatches_instant",
        "dispatches",
        ["job_id", "scheduled_for", "placement"],
        unique=True,
        sqlite_where=sa.text("cause = 'Schedule'"),
        postgresql_where=sa.text("cause = 'Schedule'"),
    )
    op.create_table(
        "files",
        sa.Column("source", sa.String(length=63), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("digest", sa.String(length=80), nullable=False),
        sa.Column("documents", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("source", "path", name=op.f("pk_files")),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("namespace", sa.String(length=63), nullable=False),
        sa.Column("job", sa.String(length=63), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("dispatch", sa.String(length=36), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("namespace", "job", "key", name=op.f("pk_idempotency_keys")),
    )
    op.create_table(
        "instances",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("boot_id", sa.String(length=64), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("lease_until", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.String(length=16), server_default="Live", nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_instances")),
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("event", sa.String(length=32), nullable=False),
        sa.Column("namespace", sa.String(length=63), nullable=False),
        sa.Column("job", sa.String(length=63), nullable=False),
        sa.Column("run", sa.String(length=63), nullable=True),
        sa.Column("target", sa.String(length=253), nullable=False),
        sa.Column("target_kind", sa.String(length=63), nullable=False),
        sa.Column("to", sa.Text(), nullable=True),
        sa.Column("dedupe", sa.String(length=255), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("not_before", sa.BigInteger(), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.CheckConstraint("state IN ('Pending', 'Sent', 'Failed')", name=op.f("ck_outbox_state_known")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
        sa.UniqueConstraint("dedupe", name=op.f("uq_outbox_dedupe")),
    )
    op.create_index(
        "ix_outbox_due",
        "outbox",
        ["not_before"],
        unique=False,
        sqlite_where=sa.text("state = 'Pending'"),
        postgresql_where=sa.text("state = 'Pending'"),
    )
    op.create_table(
        "resources",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("kind", sa.String(length=63), nullable=False),
        sa.Column("namespace", sa.String(length=63), nullable=False),
        sa.Column("name", sa.String(length=253), nullable=False),
        sa.Column("uid", sa.String(length=36), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.String(length=63), nullable=False),
        sa.Column("path", sa.Text(), nullable=True),
        sa.Column("line", sa.Integer(), nullable=True),
        sa.Column("document", sa.LargeBinary(), nullable=False),
        sa.Column("digest", sa.String(length=80), nullable=False),
        sa.Column("references", sa.LargeBinary(), nullable=True),
        sa.Column("rejection", sa.LargeBinary(), nullable=True),
        sa.Column("conditions", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_resources")),
        sa.UniqueConstraint("kind", "namespace", "name", name=op.f("uq_resources_kind_namespace_name")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_resources_source", "resources", ["source"], unique=False)
    op.create_table(
        "runs",
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("job_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("job_uid", sa.String(length=36), nullable=False),
        sa.Column("namespace", sa.String(length=63), nullable=False),
        sa.Column("job", sa.String(length=63), nullable=False),
        sa.Column("dispatch", sa.String(length=36), nullable=False),
        sa.Column("cause", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.String(length=64), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("exclusive", sa.Boolean(), nullable=False),
        sa.Column("rerun", sa.Boolean(), nullable=False),
        sa.Column("spec", sa.LargeBinary(), nullable=True),
        sa.Column("root", sa.String(length=63), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("replays", sa.Integer(), server_default="0", nullable=False),
        sa.Column("retry_of", sa.String(length=63), nullable=True),
        sa.Column("parents", sa.LargeBinary(), nullable=True),
        sa.Column("parameters", sa.LargeBinary(), nullable=True),
        sa.Column("actor", sa.String(length=255), nullable=True),
        sa.Column("approval", sa.String(length=63), nullable=True),
        sa.Column("escalation", sa.String(length=63), nullable=True),
        sa.Column("scheduled_for", sa.BigInteger(), nullable=False),
        sa.Column("previous", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.Column("owner", sa.String(length=64), nullable=True),
        sa.Column("host", sa.String(length=255), nullable=True),
        sa.Column("boot_id", sa.String(length=64), nullable=True),
        sa.Column("pid", sa.Integer(), nullable=True),
        sa.Column("pid_start", sa.BigInteger(), nullable=True),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.Column("signal", sa.String(length=16), nullable=True),
        sa.Column("outputs", sa.LargeBinary(), nullable=True),
        sa.Column("stdout", sa.LargeBinary(), nullable=True),
        sa.Column("stderr", sa.LargeBinary(), nullable=True),
        sa.Column("output_bytes", sa.BigInteger(), nullable=True),
        sa.Column("output_truncated", sa.Boolean(), nullable=True),
        sa.Column("cancel_requested_by", sa.String(length=255), nullable=True),
        sa.Column("effective_digest", sa.String(length=80), nullable=True),
        sa.Column("grant", sa.LargeBinary(), nullable=True),
        sa.CheckConstraint(
            "cause IN ('Schedule', 'Manual', 'Chain', 'Retry', 'Replay')", name=op.f("ck_runs_cause_known")
        ),
        sa.CheckConstraint(
            "state IN ('Running', 'Succeeded', 'Failed', 'TimedOut', 'Cancelled', 'Crashed', 'Denied')",
            name=op.f("ck_runs_state_known"),
        ),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_runs")),
    )
    op.create_index("ix_runs_job", "runs", ["namespace", "job", "created_at"], unique=False)
    op.create_index(
        "ix_runs_live",
        "runs",
        ["job_id"],
        unique=False,
        sqlite_where=sa.text("state = 'Running'"),
        postgresql_where=sa.text("state = 'Running'"),
    )
    op.create_index("ix_runs_root", "runs", ["root"], unique=False)
    op.create_index(
        "uq_runs_exclusive",
        "runs",
        ["job_id"],
        unique=True,
        sqlite_where=sa.text("state = 'Running' AND exclusive"),
        postgresql_where=sa.text("state = 'Running' AND exclusive"),
    )
    op.create_table(
        "sources",
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("location", sa.Text(), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=True),
        sa.Column("served", sa.Boolean(), server_default=sa.text("(true)"), nullable=False),
        sa.Column("revision", sa.Text(), nullable=True),
        sa.Column("signer", sa.Text(), nullable=True),
        sa.Column("attempted_revision", sa.Text(), nullable=True),
        sa.Column("applied_at", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.String(length=64), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("failing_since", sa.BigInteger(), nullable=True),
        sa.Column("errors", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_sources")),
    )
    op.create_table(
        "spent_proofs",
        sa.Column("once", sa.String(length=80), nullable=False),
        sa.Column("use", sa.String(length=36), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("once", name=op.f("pk_spent_proofs")),
    )
    op.create_index("ix_spent_proofs_expires", "spent_proofs", ["expires_at"], unique=False)
    op.create_table(
        "tombstones",
        sa.Column("kind", sa.String(length=63), nullable=False),
        sa.Column("namespace", sa.String(length=63), nullable=False),
        sa.Column("name", sa.String(length=253), nullable=False),
        sa.Column("fire_digest", sa.String(length=80), nullable=False),
        sa.Column("completed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "namespace", "name", "fire_digest", name=op.f("pk_tombstones")),
    )
    op.create_table(
        "jobs",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("uid", sa.String(length=36), nullable=False),
        sa.Column("namespace", sa.String(length=63), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("source", sa.String(length=63), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("spec", sa.LargeBinary(), nullable=False),
        sa.Column("labels", sa.LargeBinary(), nullable=True),
        sa.Column("schedule_text", sa.Text(), nullable=False),
        sa.Column("target", sa.String(length=16), nullable=False),
        sa.Column("suspend", sa.Boolean(), nullable=False),
        sa.Column("fire_digest", sa.String(length=80), nullable=False),
        sa.Column("effective_digest", sa.String(length=80), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("anchor_at", sa.BigInteger(), nullable=False),
        sa.Column("fired_through", sa.BigInteger(), nullable=False),
        sa.Column("next_fire_at", sa.BigInteger(), nullable=True),
        sa.Column("last_instant", sa.BigInteger(), nullable=True),
        sa.Column("backoff_until", sa.BigInteger(), nullable=True),
        sa.Column("completed_at", sa.BigInteger(), nullable=True),
        sa.Column("blocked_reason", sa.String(length=64), nullable=True),
        sa.Column("blocked_message", sa.Text(), nullable=True),
        sa.Column("hold_reason", sa.Text(), nullable=True),
        sa.Column("hold_by", sa.String(length=255), nullable=True),
        sa.Column("hold_since", sa.BigInteger(), nullable=True),
        sa.Column("hold_until", sa.BigInteger(), nullable=True),
        sa.Column("hold_annotation", sa.Text(), nullable=True),
        sa.Column("consecutive_errors", sa.Integer(), server_default="0", nullable=False),
        sa.Column("last_run", sa.String(length=63), nullable=True),
        sa.Column("last_state", sa.String(length=16), nullable=True),
        sa.Column("last_reason", sa.String(length=64), nullable=True),
        sa.Column("last_exit_code", sa.Integer(), nullable=True),
        sa.Column("last_started_at", sa.BigInteger(), nullable=True),
        sa.Column("last_finished_at", sa.BigInteger(), nullable=True),
        sa.Column("last_success_at", sa.BigInteger(), nullable=True),
        sa.Column("healthy", sa.Boolean(), nullable=True),
        sa.Column("overdue_reason", sa.String(length=64), nullable=True),
        sa.Column("overdue_message", sa.Text(), nullable=True),
        sa.Column("overdue_since", sa.BigInteger(), nullable=True),
        sa.Column("alert_at", sa.BigInteger(), nullable=True),
        sa.Column("alert_episode", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["id"], ["resources.id"], name=op.f("fk_jobs_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
        sa.UniqueConstraint("namespace", "name", name=op.f("uq_jobs_namespace_name")),
    )
    op.create_index(
        "ix_jobs_alert",
        "jobs",
        ["alert_at"],
        unique=False,
        sqlite_where=sa.text("alert_at IS NOT NULL"),
        postgresql_where=sa.text("alert_at IS NOT NULL"),
    )
    op.create_index(
        "ix_jobs_due",
        "jobs",
        ["next_fire_at"],
        unique=False,
        sqlite_where=sa.text("next_fire_at IS NOT NULL"),
        postgresql_where=sa.text("next_fire_at IS NOT NULL"),
    )
    op.create_index(
        "ix_jobs_hold",
        "jobs",
        ["hold_until"],
        unique=False,
        sqlite_where=sa.text("hold_until IS NOT NULL"),
        postgresql_where=sa.text("hold_until IS NOT NULL"),
    )
    op.create_table(
        "pools",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("namespace", sa.String(length=63), nullable=False),
        sa.Column("name", sa.String(length=253), nullable=False),
        sa.Column("slots", sa.Integer(), nullable=False),
        sa.Column("held", sa.Integer(), server_default="0", nullable=False),
        sa.Column("allowed_namespaces", sa.LargeBinary(), nullable=True),
        sa.CheckConstraint("held >= 0", name=op.f("ck_pools_held_positive")),
        sa.ForeignKeyConstraint(["id"], ["resources.id"], name=op.f("fk_pools_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pools")),
        sa.UniqueConstraint("namespace", "name", name=op.f("uq_pools_namespace_name")),
    )
    op.create_table(
        "targets",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("namespace", sa.String(length=63), nullable=False),
        sa.Column("name", sa.String(length=253), nullable=False),
        sa.Column("spec", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["id"], ["resources.id"], name=op.f("fk_targets_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_targets")),
        sa.UniqueConstraint("namespace", "name", name=op.f("uq_targets_namespace_name")),
    )
    op.create_table(
        "waits",
        sa.Column("dispatch", sa.String(length=36), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.ForeignKeyConstraint(["dispatch"], ["dispatches.id"], name=op.f("fk_waits_dispatch"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("dispatch", "key", name=op.f("pk_waits")),
    )
    op.create_index("ix_waits_key", "waits", ["key"], unique=False)
    op.create_table(
        "pool_holds",
        sa.Column("run", sa.String(length=63), nullable=False),
        sa.Column("pool", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("slots", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["pool"], ["pools.id"], name=op.f("fk_pool_holds_pool"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run", "pool", name=op.f("pk_pool_holds")),
    )
    op.create_table(
        "triggers",
        sa.Column("child_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("namespace", sa.String(length=63), nullable=False),
        sa.Column("parent", sa.String(length=63), nullable=False),
        sa.Column("when", sa.String(length=16), nullable=False),
        sa.ForeignKeyConstraint(["child_id"], ["jobs.id"], name=op.f("fk_triggers_child_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("child_id", "parent", name=op.f("pk_triggers")),
    )
    op.create_index("ix_triggers_parent", "triggers", ["namespace", "parent"], unique=False)
    op.create_table(
        "evidence_chains",
        sa.Column("chain", sa.String(length=127), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("chain", name=op.f("pk_evidence_chains")),
    )
    op.create_table(
        "evidence",
        sa.Column("chain", sa.String(length=127), nullable=False),
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("namespace", sa.String(length=63), nullable=False),
        sa.Column("run", sa.String(length=63), nullable=False),
        sa.Column("statement", sa.LargeBinary(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("previous", sa.String(length=64), nullable=True),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.Column("signer", sa.String(length=320), nullable=True),
        sa.Column("signature", sa.LargeBinary(), nullable=True),
        sa.Column("key_id", sa.String(length=80), nullable=True),
        sa.Column("signed_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("chain", "sequence", name=op.f("pk_evidence")),
        sa.UniqueConstraint("run", name=op.f("uq_evidence_run")),
    )
    op.create_index("ix_evidence_recorded", "evidence", ["recorded_at"], unique=False)
    op.create_index(
        "ix_evidence_unsigned",
        "evidence",
        ["namespace", "signer"],
        unique=False,
        sqlite_where=sa.text("signature IS NULL AND signer IS NOT NULL"),
        postgresql_where=sa.text("signature IS NULL AND signer IS NOT NULL"),
    )
    op.create_table(
        "checkpoints",
        sa.Column("chain", sa.String(length=127), nullable=False),
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("why", sa.String(length=16), nullable=False),
        sa.Column("namespace", sa.String(length=63), nullable=False),
        sa.Column("statement", sa.LargeBinary(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.Column("signer", sa.String(length=320), nullable=True),
        sa.Column("signature", sa.LargeBinary(), nullable=True),
        sa.Column("key_id", sa.String(length=80), nullable=True),
        sa.Column("signed_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("why IN ('Head', 'Pruned', 'Restored')", name=op.f("ck_checkpoints_why_known")),
        sa.PrimaryKeyConstraint("chain", "sequence", "why", name=op.f("pk_checkpoints")),
    )
    op.create_index(
        "ix_checkpoints_unsigned",
        "checkpoints",
        ["namespace", "signer"],
        unique=False,
        sqlite_where=sa.text("signature IS NULL AND signer IS NOT NULL"),
        postgresql_where=sa.text("signature IS NULL AND signer IS NOT NULL"),
    )
