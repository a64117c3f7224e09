"""Entries of the audit log are found by caller, purpose and decision, each by an index in the order of the log."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

# As text: SQLite may take bytes for JSON of its binary form.
IN_SQLITE = "json_extract(CAST(body AS TEXT), '$.purpose')"


def upgrade() -> None:
    op.add_column("audit_entry", sa.Column("purpose", sa.String(64), nullable=True))
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    stated = "convert_from(body, 'UTF8')::json ->> 'purpose'" if is_postgresql else IN_SQLITE
    op.execute(f"UPDATE audit_entry SET purpose = {stated}")
    for column in ("principal_id", "purpose"):
        op.create_index(f"ix_audit_entry_tenant_id_{column}_number", "audit_entry", ["tenant_id", column, "number"])
    op.create_index(
        "ix_audit_entry_tenant_id_decision_number",
        "audit_entry",
        ["tenant_id", "decision", "number"],
        sqlite_where=sa.text("decision <> 'allowed'"),
        postgresql_where=sa.text("decision <> 'allowed'"),
    )
