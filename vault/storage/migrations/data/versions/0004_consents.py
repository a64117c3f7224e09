"""The consent ledger and what it stands on: standings, confirmations, notices by hash, aliases of merged people."""

import sqlalchemy as sa
from alembic import op

from vault.storage.columns import Id, Moment

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("subject", sa.Column("standing", sa.LargeBinary(), nullable=True))
    ledger()
    op.create_table(
        "notice_text",
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("digest", sa.String(71), nullable=False),
        sa.Column("notice", sa.String(80), nullable=False),
        sa.Column("language", sa.String(10), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("recorded_at", Moment(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "digest", name="pk_notice_text"),
    )
    op.create_table(
        "subject_alias",
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("alias_id", Id(), nullable=False),
        sa.Column("subject_id", Id(), nullable=False),
        sa.Column("entry_id", Id(), nullable=False),
        sa.Column("created_at", Moment(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "alias_id", name="pk_subject_alias"),
    )


def ledger() -> None:
    op.create_table(
        "consent_event",
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("subject_id", Id(), nullable=False),
        sa.Column("id", Id(), nullable=False),
        sa.Column("purpose", sa.String(64), nullable=True),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("occurred_at", Moment(), nullable=False),
        sa.Column("recorded_at", Moment(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "subject_id", "id", name="pk_consent_event"),
    )
    op.create_table(
        "consent_confirmation",
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("event_id", Id(), nullable=False),
        sa.Column("subject_id", Id(), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("expires_at", Moment(), nullable=False),
        sa.Column("used_at", Moment(), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "event_id", name="pk_consent_confirmation"),
    )
