"""Tables of the audit log. Rows are only ever added."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - SQLModel reads the annotations
from uuid import UUID  # noqa: TC003 - as above

from sqlalchemy import Column, Index, LargeBinary, String
from sqlmodel import Field

from vault.storage.columns import DataTable, Id, Ids, Moment


class AuditEntry(DataTable, table=True):
    """One entry: its canonical bytes, and the few columns by which people look for it."""

    __tablename__ = "audit_entry"

    tenant_id: str = Field(sa_column=Column(String(64), primary_key=True))
    id: UUID = Field(sa_column=Column(Id, primary_key=True))
    at: datetime = Field(sa_column=Column(Moment, nullable=False))
    principal_id: UUID | None = Field(sa_column=Column(Id, nullable=True))
    action: str = Field(sa_column=Column(String(32), nullable=False))
    decision: str = Field(sa_column=Column(String(16), nullable=False))
    body: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    leaf: bytes = Field(sa_column=Column(LargeBinary(32), nullable=False))


class AuditSubject(DataTable, table=True):
    """Leads from a pseudonym to its entries; on SQLite to batches too."""

    __tablename__ = "audit_subject"
    tenant_id: str = Field(sa_column=Column(String(64), primary_key=True))
    pseudonym: UUID = Field(sa_column=Column(Id, primary_key=True))
    entry_id: UUID = Field(sa_column=Column(Id, primary_key=True))


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
    tenant_id: str = Field(sa_column=Column(String(64), primary_key=True))
    entry_id: UUID = Field(sa_column=Column(Id, primary_key=True))
    pseudonyms: list[UUID] = Field(sa_column=Column(Ids, nullable=False))


ENTRY = AuditEntry.__table__  # type: ignore[attr-defined]
SUBJECT = AuditSubject.__table__  # type: ignore[attr-defined]
BATCH = AuditBatch.__table__  # type: ignore[attr-defined]
