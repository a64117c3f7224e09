"""MACs of the rows that say where notices are posted, and how far a request has come."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("webhook", "rights_request"):
        op.add_column(table, sa.Column("mac", sa.LargeBinary(), nullable=True))
