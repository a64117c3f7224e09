"""To whom the letter about an erasure goes, sealed, until it is sent."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("erasure", sa.Column("addressee", sa.LargeBinary(), nullable=True))
