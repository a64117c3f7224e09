"""Batches on the audit log: one row and an inverted index instead of a row for each of a thousand people."""

import sqlalchemy as sa
from alembic import op

from vault.storage.columns import Id, Ids

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audit_batch",
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("entry_id", Id(), nullable=False),
        sa.Column("pseudonyms", Ids(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "entry_id", name="pk_audit_batch"),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE audit_batch ALTER COLUMN pseudonyms SET STORAGE EXTERNAL")
    # New ids wait in a list until it holds 1 MB, then they are sorted in together: a quarter of the work and of the
    # log. The list is short, because whoever fills it waits while it is sorted in.
    op.create_index(
        "ix_audit_batch_pseudonyms",
        "audit_batch",
        ["pseudonyms"],
        postgresql_using="gin",
        postgresql_with={"gin_pending_list_limit": 1024},
    )
