"""Tables of the audit log. Rows are only ever added."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - SQLModel reads the annotations
from uuid import UUID  # noqa: TC003 - as above

from sqlalchemy import Index, LargeBinary, String

from vault.storage.columns import DataTable, Id, Ids, Moment, column, table_of


class AuditEntry(DataTable, table=True):
    """One entry: its canonical bytes, and the few columns by which people look for it."""

    __tablename__ = "audit_entry"

    tenant_id: str = column(String(64), primary_key=True)
    id: UUID = column(Id, primary_key=True)
    at: datetime = column(Moment)
    principal_id: UUID | None = column(Id, nullable=True)
    action: str = column(String(32))
    decision: str = column(String(16))
    body: bytes = column(LargeBinary)
    leaf: bytes = column(LargeBinary(32))


class AuditSubject(DataTable, table=True):
    """Leads from a pseudonym to its entries; on SQLite to batches too."""

    __tablename__ = "audit_subject"
    tenant_id: str = column(String(64), primary_key=True)
    pseudonym: UUID = column(Id, primary_key=True)
    entry_id: UUID = column(Id, primary_key=True)


class AuditBatch(DataTable, table=True):
    """Leads from pseudonyms to the entry of a batch: one row instead of a thousand. PostgreSQL only."""

    __tablename__ = "audit_batch"
    __table_args__ = (
        Index(
            "ix_audit_batch_pseudonyms",
            "pseudonyms",
            postgresql_using="gin",
            postgresql_with={"gin_pending_list_limit": 1024},
        ),
    )
    tenant_id: str = column(String(64), primary_key=True)
    entry_id: UUID = column(Id, primary_key=True)
    pseudonyms: list[UUID] = column(Ids)


ENTRY = table_of(AuditEntry)
SUBJECT = table_of(AuditSubject)
BATCH = table_of(AuditBatch)
