"""MACs of the rows that say where notices are posted."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("webhook", sa.Column("mac", sa.LargeBinary(), nullable=True))
