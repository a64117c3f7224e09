"""MACs of the rows of subjects. ``cdv db upgrade`` computes those of older rows with the tenant's keys."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("subject", sa.Column("mac", sa.LargeBinary(), nullable=True))
