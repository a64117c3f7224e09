"""Changes of e-mail addresses, and the letters about them that are still to be sent."""

import sqlalchemy as sa
from alembic import op

from vault.storage.columns import Id, Moment

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "contact_change",
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("subject_id", Id(), nullable=False),
        sa.Column("id", Id(), nullable=False),
        sa.Column("field", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("changed_at", Moment(), nullable=False),
        sa.Column("told_at", Moment(), nullable=True),
        sa.Column("former", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "subject_id", "id", name="pk_contact_change"),
    )
    untold = sa.text("told_at IS NULL")
    op.create_index(
        "ix_contact_change_untold",
        "contact_change",
        ["tenant_id", "id"],
        sqlite_where=untold,
        postgresql_where=untold,
    )
