"""MACs of the rows that decide who may see what. ``cdv db upgrade`` computes those of older rows with the tenant's keys."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

VERSIONED = ("principal", "api_key", "policy_version")
MACED = (*VERSIONED, "subject_session", "consent_confirmation")


def upgrade() -> None:
    for table in MACED:
        op.add_column(table, sa.Column("mac", sa.LargeBinary(), nullable=True))
    for table in VERSIONED:
        op.add_column(table, sa.Column("row_version", sa.BigInteger(), nullable=False, server_default="1"))
