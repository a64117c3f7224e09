"""The ledger of tombstones: what a restore from a backup must not undo."""

import sqlalchemy as sa
from alembic import op

from vault.storage.columns import Id, Moment

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tombstone_ledger",
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("id", Id(), nullable=False),
        sa.Column("at", Moment(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("subject_id", Id(), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_tombstone_ledger"),
    )
    op.create_index("ix_tombstone_ledger_at", "tombstone_ledger", ["at"])
