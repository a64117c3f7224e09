"""Addresses that several people share, codes that came with the letter of another one, and MACs of both.

Codes from before are deleted: they last for ten minutes, and nothing shows whether the vault wrote them.
"""

import sqlalchemy as sa
from alembic import op

from vault.storage.columns import Id, Moment

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("DELETE FROM identity_code")
    op.add_column("identity_code", sa.Column("mac", sa.LargeBinary(), nullable=True))
    op.add_column("identity_code", sa.Column("sent_with", Id(), nullable=True))
    op.create_index(
        "ix_identity_code_sent_with",
        "identity_code",
        ["tenant_id", "sent_with"],
        sqlite_where=sa.text("sent_with IS NOT NULL"),
        postgresql_where=sa.text("sent_with IS NOT NULL"),
    )
    op.create_table(
        "shared_contact",
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("id", Id(), nullable=False),
        sa.Column("subject_id", Id(), nullable=False),
        sa.Column("field", sa.String(64), nullable=False),
        sa.Column("since", Moment(), nullable=False),
        sa.Column("claimed_at", Moment(), nullable=False),
        sa.Column("settled_at", Moment(), nullable=True),
        sa.Column("settled_by", Id(), nullable=True),
        sa.Column("mac", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "id", "subject_id", name="pk_shared_contact"),
    )
    op.create_index("ix_shared_contact_subject", "shared_contact", ["tenant_id", "subject_id"])
