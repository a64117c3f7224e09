"""Retention: clocks, holds, reviews, sweeps, restores; and when each record is to be looked at next."""

import sqlalchemy as sa
from alembic import op

from vault.storage.columns import Id, Moment

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "subject_clock",
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("subject_id", Id(), nullable=False),
        sa.Column("kind", sa.String(80), nullable=False),
        sa.Column("at", Moment(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "subject_id", "kind", name="pk_subject_clock"),
    )
    op.create_table(
        "hold",
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("id", Id(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("review_on", sa.String(10), nullable=False),
        sa.Column("placed_at", Moment(), nullable=False),
        sa.Column("lifted_at", Moment(), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_hold"),
    )
    op.create_index("ix_hold_review", "hold", ["tenant_id", "state", "review_on"])
    op.create_table(
        "hold_subject",
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("hold_id", Id(), nullable=False),
        sa.Column("subject_id", Id(), nullable=False),
        sa.Column("erasure_id", Id(), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "hold_id", "subject_id", name="pk_hold_subject"),
    )
    op.create_index("ix_hold_subject_subject", "hold_subject", ["tenant_id", "subject_id"])
    op.create_index(
        "ix_hold_subject_waiting",
        "hold_subject",
        ["tenant_id", "erasure_id"],
        sqlite_where=sa.text("erasure_id IS NOT NULL"),
        postgresql_where=sa.text("erasure_id IS NOT NULL"),
    )
    op.create_table(
        "retention_review",
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("id", Id(), nullable=False),
        sa.Column("subject_id", Id(), nullable=False),
        sa.Column("collection", sa.String(64), nullable=False),
        sa.Column("record_id", Id(), nullable=False),
        sa.Column("field", sa.String(130), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("ended_on", sa.String(10), nullable=False),
        sa.Column("keep_until", sa.String(10), nullable=True),
        sa.Column("created_at", Moment(), nullable=False),
        sa.Column("decided_at", Moment(), nullable=True),
        sa.Column("decided_by", Id(), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_retention_review"),
    )
    op.create_index("ix_retention_review_state", "retention_review", ["tenant_id", "state", "id"])
    value = ["tenant_id", "subject_id", "collection", "record_id", "field"]
    op.create_index("uq_retention_review_value", "retention_review", value, unique=True)
    sweeps()
    looks()


def sweeps() -> None:
    op.create_table(
        "retention_sweep",
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("id", Id(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("policy", sa.String(80), nullable=False),
        sa.Column("started_at", Moment(), nullable=False),
        sa.Column("changed_at", Moment(), nullable=False),
        sa.Column("finished_at", Moment(), nullable=True),
        sa.Column("cursor", Id(), nullable=True),
        sa.Column("runner", Id(), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_retention_sweep"),
    )
    op.create_index("ix_retention_sweep_finished", "retention_sweep", ["tenant_id", "finished_at"])
    unfinished = sa.text("finished_at IS NULL")
    op.create_index(
        "uq_retention_sweep_open",
        "retention_sweep",
        ["tenant_id"],
        unique=True,
        sqlite_where=unfinished,
        postgresql_where=unfinished,
    )
    op.create_table(
        "restore",
        sa.Column("id", Id(), nullable=False),
        sa.Column("backup_id", Id(), nullable=False),
        sa.Column("backed_up_at", Moment(), nullable=False),
        sa.Column("restored_at", Moment(), nullable=False),
        sa.Column("replayed_at", Moment(), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_restore"),
    )


def looks() -> None:
    """Let the first sweep look at every record, and set the clocks by the records that there are."""
    op.execute("UPDATE record SET due_at = created_at")
    op.create_index("ix_record_due", "record", ["tenant_id", "due_at"])
    op.execute(
        "INSERT INTO subject_clock (tenant_id, subject_id, kind, at) "
        "SELECT tenant_id, subject_id, 'record:' || collection, max(coalesce(occurred_at, created_at)) "
        "FROM record WHERE collection <> 'profile' GROUP BY tenant_id, subject_id, collection"
    )
