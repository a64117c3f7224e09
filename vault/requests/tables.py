"""Tables of requests, of what they need and of what they leave behind. No value lies here but sealed ones."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - SQLModel reads the annotations
from uuid import UUID  # noqa: TC003 - as above

from sqlalchemy import Index, Integer, LargeBinary, String

from vault.storage.columns import DataTable, Id, Moment, column, table_of


class RequestRow(DataTable, table=True):
    """One request: its body, the columns by which it is looked for, and what was written about it, sealed."""

    __tablename__ = "rights_request"
    __table_args__ = (
        Index("ix_rights_request_subject", "tenant_id", "subject_id"),
        Index("ix_rights_request_due", "tenant_id", "state", "due_on"),
    )

    tenant_id: str = column(String(64), primary_key=True)
    id: UUID = column(Id, primary_key=True)
    subject_id: UUID | None = column(Id, nullable=True)
    kind: str = column(String(16))
    state: str = column(String(16))
    regime: str = column(String(8))
    received_at: datetime = column(Moment)
    due_on: str = column(String(10))
    revision: int = column(Integer)
    body: bytes = column(LargeBinary)
    details: bytes | None = column(LargeBinary, nullable=True)


class RequestEventRow(DataTable, table=True):
    """One move of a request. Rows are only ever added."""

    __tablename__ = "request_event"

    tenant_id: str = column(String(64), primary_key=True)
    request_id: UUID = column(Id, primary_key=True)
    number: int = column(Integer, primary_key=True, autoincrement=False)
    at: datetime = column(Moment)
    body: bytes = column(LargeBinary)


REQUEST = table_of(RequestRow)
REQUEST_EVENT = table_of(RequestEventRow)
