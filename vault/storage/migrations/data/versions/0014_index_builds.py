"""Indexes that do not lead to all people yet, because their fields were written before they were declared."""

import sqlalchemy as sa
from alembic import op

from vault.storage.columns import Id, Moment

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "index_build",
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("id", Id(), nullable=False),
        sa.Column("started_at", Moment(), nullable=False),
        sa.Column("cursor", Id(), nullable=True),
        sa.Column("people", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "name", name="pk_index_build"),
    )
