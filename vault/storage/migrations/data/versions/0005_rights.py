"""Rights of people: requests, identity, packages, erasures, tombstones, notices to recipients, rectifications."""

import sqlalchemy as sa
from alembic import op

from vault.storage.columns import Id, Moment

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "rights_request",
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("id", Id(), nullable=False),
        sa.Column("subject_id", Id(), nullable=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("regime", sa.String(8), nullable=False),
        sa.Column("received_at", Moment(), nullable=False),
        sa.Column("due_on", sa.String(10), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("details", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_rights_request"),
    )
    op.create_index(
        "ix_rights_request_subject",
        "rights_request",
        ["tenant_id", "subject_id"],
    )
    op.create_index(
        "ix_rights_request_due",
        "rights_request",
        ["tenant_id", "state", "due_on"],
    )
    op.create_table(
        "request_event",
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("request_id", Id(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("at", Moment(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "request_id", "number", name="pk_request_event"),
    )
    op.create_table(
        "identity_code",
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("id", Id(), nullable=False),
        sa.Column("subject_id", Id(), nullable=True),
        sa.Column("request_id", Id(), nullable=True),
        sa.Column("intent", sa.String(16), nullable=False),
        sa.Column("claim", sa.LargeBinary(32), nullable=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("created_at", Moment(), nullable=False),
        sa.Column("expires_at", Moment(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("used_at", Moment(), nullable=True),
        sa.Column("contact", sa.String(64), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_identity_code"),
    )
    op.create_index(
        "ix_identity_code_request",
        "identity_code",
        ["tenant_id", "request_id"],
    )
    op.create_index(
        "ix_identity_code_subject",
        "identity_code",
        ["tenant_id", "subject_id"],
    )
    op.create_index(
        "ix_identity_code_claim",
        "identity_code",
        ["tenant_id", "claim"],
    )
    op.create_table(
        "subject_session",
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("id", Id(), nullable=False),
        sa.Column("subject_id", Id(), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("created_at", Moment(), nullable=False),
        sa.Column("authenticated_at", Moment(), nullable=False),
        sa.Column("expires_at", Moment(), nullable=False),
        sa.Column("ended_at", Moment(), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_subject_session"),
    )
    op.create_index(
        "ix_subject_session_subject",
        "subject_session",
        ["tenant_id", "subject_id"],
    )
    op.create_table(
        "package",
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("id", Id(), nullable=False),
        sa.Column("request_id", Id(), nullable=False),
        sa.Column("subject_id", Id(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("created_at", Moment(), nullable=False),
        sa.Column("expires_at", Moment(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("chunks", sa.Integer(), nullable=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_package"),
    )
    op.create_index(
        "ix_package_subject",
        "package",
        ["tenant_id", "subject_id"],
    )
    op.create_index(
        "ix_package_request",
        "package",
        ["tenant_id", "request_id"],
    )
    op.create_index(
        "ix_package_expires",
        "package",
        ["tenant_id", "state", "expires_at"],
    )
    op.create_table(
        "package_chunk",
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("package_id", Id(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "package_id", "number", name="pk_package_chunk"),
    )
    op.create_table(
        "erasure",
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("id", Id(), nullable=False),
        sa.Column("request_id", Id(), nullable=True),
        sa.Column("subject_id", Id(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("started_at", Moment(), nullable=False),
        sa.Column("changed_at", Moment(), nullable=False),
        sa.Column("finished_at", Moment(), nullable=True),
        sa.Column("key_version", sa.Integer(), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("certificate", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_erasure"),
    )
    op.create_index(
        "ix_erasure_subject",
        "erasure",
        ["tenant_id", "subject_id"],
    )
    op.create_index(
        "ix_erasure_changed",
        "erasure",
        ["changed_at"],
    )
    op.create_index(
        "uq_erasure_open",
        "erasure",
        ["tenant_id", "subject_id"],
        unique=True,
        sqlite_where=sa.text("finished_at IS NULL"),
        postgresql_where=sa.text("finished_at IS NULL"),
    )
    op.create_table(
        "tombstone",
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("erasure_id", Id(), nullable=False),
        sa.Column("created_at", Moment(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "digest", name="pk_tombstone"),
    )
    op.create_table(
        "recipient_notice",
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("id", Id(), nullable=False),
        sa.Column("principal_id", Id(), nullable=False),
        sa.Column("subject_id", Id(), nullable=False),
        sa.Column("request_id", Id(), nullable=True),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("created_at", Moment(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", Moment(), nullable=True),
        sa.Column("last_status", sa.Integer(), nullable=True),
        sa.Column("last_code", sa.String(32), nullable=True),
        sa.Column("delivered_at", Moment(), nullable=True),
        sa.Column("acknowledged_at", Moment(), nullable=True),
        sa.Column("acknowledged_by", Id(), nullable=True),
        sa.Column("chased_at", Moment(), nullable=True),
        sa.Column("chases", sa.Integer(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_recipient_notice"),
    )
    op.create_index(
        "ix_recipient_notice_principal",
        "recipient_notice",
        ["tenant_id", "principal_id", "state"],
    )
    op.create_index(
        "ix_recipient_notice_subject",
        "recipient_notice",
        ["tenant_id", "subject_id"],
    )
    op.create_index(
        "ix_recipient_notice_next",
        "recipient_notice",
        ["state", "next_at"],
    )
    op.create_table(
        "webhook",
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("principal_id", Id(), nullable=False),
        sa.Column("url", sa.String(2000), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("secret_version", sa.Integer(), nullable=False),
        sa.Column("previous_until", Moment(), nullable=True),
        sa.Column("created_at", Moment(), nullable=False),
        sa.Column("updated_at", Moment(), nullable=False),
        sa.Column("why", sa.String(32), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "principal_id", name="pk_webhook"),
    )
    op.create_table(
        "rectification",
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("subject_id", Id(), nullable=False),
        sa.Column("id", Id(), nullable=False),
        sa.Column("request_id", Id(), nullable=True),
        sa.Column("collection", sa.String(64), nullable=False),
        sa.Column("record_id", Id(), nullable=False),
        sa.Column("field", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("at", Moment(), nullable=False),
        sa.Column("closed_at", Moment(), nullable=True),
        sa.Column("by_id", Id(), nullable=True),
        sa.Column("details", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "subject_id", "id", name="pk_rectification"),
    )
