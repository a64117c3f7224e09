"""The least versions of rows in the main database that are accepted."""

import sqlalchemy as sa
from alembic import op

from vault.storage.columns import Id

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "row_version",
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("table_name", sa.String(64), nullable=False),
        sa.Column("row_id", Id(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "table_name", "row_id", name="pk_row_version"),
    )
