"""Imports of files: runs, and the chunks of those under way."""

import sqlalchemy as sa
from alembic import op

from vault.storage.columns import Id, Moment

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "import_run",
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("id", Id(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(32), nullable=False),
        sa.Column("chunk_lines", sa.Integer(), nullable=False),
        sa.Column("started_at", Moment(), nullable=False),
        sa.Column("finished_at", Moment(), nullable=True),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("updated", sa.BigInteger(), nullable=False),
        sa.Column("unchanged", sa.BigInteger(), nullable=False),
        sa.Column("refused", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_import_run"),
    )
    op.create_table(
        "import_chunk",
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("run_id", Id(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("created", sa.Integer(), nullable=False),
        sa.Column("updated", sa.Integer(), nullable=False),
        sa.Column("unchanged", sa.Integer(), nullable=False),
        sa.Column("refused", sa.Integer(), nullable=False),
        sa.Column("faults", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "run_id", "number", name="pk_import_chunk"),
    )
