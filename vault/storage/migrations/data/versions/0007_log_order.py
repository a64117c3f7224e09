"""The audit log gets an order of its own: each entry has a number, which no clock can change."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("audit_entry", sa.Column("number", sa.BigInteger(), nullable=True))
    op.execute(
        "UPDATE audit_entry SET number = numbered.number FROM"
        " (SELECT tenant_id, id, row_number() OVER (ORDER BY id) AS number FROM audit_entry) AS numbered"
        " WHERE audit_entry.tenant_id = numbered.tenant_id AND audit_entry.id = numbered.id"
    )
    with op.batch_alter_table("audit_entry") as table:
        table.alter_column("number", existing_type=sa.BigInteger(), nullable=False)
    op.create_index("ix_audit_entry_tenant_id_number", "audit_entry", ["tenant_id", "number"], unique=True)
    if op.get_bind().dialect.name == "postgresql":
        _number_in_postgresql()


def _number_in_postgresql() -> None:
    op.execute("CREATE SEQUENCE audit_entry_number AS bigint OWNED BY audit_entry.number")
    # It begins as one that was used, so that a transaction's numbers are always greater than its lock says.
    op.execute("SELECT setval('audit_entry_number', (SELECT coalesce(max(number), 0) + 1 FROM audit_entry))")
    op.execute("ALTER TABLE audit_entry ALTER COLUMN number SET DEFAULT nextval('audit_entry_number')")
    # Before a statement draws its first number, it takes a shared lock for as long as its transaction lasts. The key
    # of the lock holds the last number that was drawn until then; see `vault/audit/order.py`, which reads the locks.
    op.execute(
        "CREATE OR REPLACE FUNCTION audit_entry_numbering() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " PERFORM pg_advisory_xact_lock_shared((25444::bigint << 48) | last_value) FROM audit_entry_number;"
        " RETURN NULL; END $$"
    )
    op.execute(
        "CREATE TRIGGER audit_entry_numbering BEFORE INSERT ON audit_entry"
        " FOR EACH STATEMENT EXECUTE FUNCTION audit_entry_numbering()"
    )
