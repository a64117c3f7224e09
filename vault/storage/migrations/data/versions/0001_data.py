"""The main database: subjects and records, principals, policies, audit log."""

import sqlalchemy as sa
from alembic import op

from vault.storage.columns import Id, Moment

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    subjects()
    principals()
    policies()
    audit()
    calls()
    if op.get_bind().dialect.name == "postgresql":
        # Sealed values and random ids do not get smaller: PostgreSQL need not spend a millisecond a row on trying.
        op.execute("ALTER TABLE record ALTER COLUMN body SET STORAGE EXTERNAL")
        op.execute("ALTER TABLE audit_entry ALTER COLUMN body SET STORAGE EXTERNAL")


def subjects() -> None:
    op.create_table(
        "subject",
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("id", Id(), nullable=False),
        sa.Column("pseudonym", Id(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("created_at", Moment(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_subject"),
    )
    op.create_table(
        "record",
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("subject_id", Id(), nullable=False),
        sa.Column("collection", sa.String(64), nullable=False),
        sa.Column("id", Id(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("created_at", Moment(), nullable=False),
        sa.Column("updated_at", Moment(), nullable=False),
        sa.Column("occurred_at", Moment(), nullable=True),
        sa.Column("due_at", Moment(), nullable=True),
        sa.Column("external_digest", sa.LargeBinary(32), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "subject_id", "collection", "id", name="pk_record"),
    )
    has_external_id = sa.text("external_digest IS NOT NULL")
    op.create_index(
        "uq_record_external",
        "record",
        ["tenant_id", "subject_id", "collection", "external_digest"],
        unique=True,
        sqlite_where=has_external_id,
        postgresql_where=has_external_id,
    )
    op.create_table(
        "external_ref",
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("subject_id", Id(), nullable=False),
        sa.Column("version", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "digest", name="pk_external_ref"),
    )
    op.create_table(
        "blind_index",
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("subject_id", Id(), nullable=False),
        sa.Column("record_id", Id(), nullable=False),
        sa.Column("version", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "digest", "subject_id", "record_id", name="pk_blind_index"),
    )


def principals() -> None:
    op.create_table(
        "principal",
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("id", Id(), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("roles", sa.Text(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("created_at", Moment(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_principal"),
        sa.UniqueConstraint("tenant_id", "name", name="uq_principal_tenant_id_name"),
    )
    op.create_table(
        "api_key",
        sa.Column("id", Id(), nullable=False),
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("principal_id", Id(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", Moment(), nullable=False),
        sa.Column("expires_at", Moment(), nullable=False),
        sa.Column("revoked_at", Moment(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_api_key"),
        sa.ForeignKeyConstraint(["tenant_id", "principal_id"], ["principal.tenant_id", "principal.id"]),
    )
    op.create_index("ix_api_key_tenant_id_principal_id", "api_key", ["tenant_id", "principal_id"])
    op.create_table(
        "rate_window",
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("principal_id", Id(), nullable=False),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("window_start", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("used", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "principal_id", "kind", "window_start", name="pk_rate_window"),
    )
    op.create_index("ix_rate_window_window_start", "rate_window", ["window_start"])


def policies() -> None:
    op.create_table(
        "policy_version",
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("id", Id(), nullable=False),
        sa.Column("version", sa.String(80), nullable=False),
        sa.Column("files", sa.Text(), nullable=False),
        sa.Column("applied_at", Moment(), nullable=False),
        sa.Column("applied_by", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_policy_version"),
    )


def audit() -> None:
    op.create_table(
        "audit_entry",
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("id", Id(), nullable=False),
        sa.Column("at", Moment(), nullable=False),
        sa.Column("principal_id", Id(), nullable=True),
        sa.Column("action", sa.String(32), nullable=False),
        sa.Column("decision", sa.String(16), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("leaf", sa.LargeBinary(32), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_audit_entry"),
    )
    op.create_table(
        "audit_subject",
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("pseudonym", Id(), nullable=False),
        sa.Column("entry_id", Id(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "pseudonym", "entry_id", name="pk_audit_subject"),
    )


def calls() -> None:
    op.create_table(
        "idempotency",
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("principal_id", Id(), nullable=False),
        sa.Column("key_digest", sa.LargeBinary(32), nullable=False),
        sa.Column("call_digest", sa.LargeBinary(32), nullable=False),
        sa.Column("started_at", Moment(), nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=True),
        sa.Column("answer", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "principal_id", "key_digest", name="pk_idempotency"),
    )
    op.create_index("ix_idempotency_started_at", "idempotency", ["started_at"])
