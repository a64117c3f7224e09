"""An index by which the entries of one action are found in the audit log, however rare they are."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_audit_entry_tenant_id_action_number", "audit_entry", ["tenant_id", "action", "number"])
