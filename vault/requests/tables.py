"""Tables of requests, of what they need and of what they leave behind. No value lies here but sealed ones."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - SQLModel reads the annotations
from uuid import UUID  # noqa: TC003 - as above

from sqlalchemy import Column, Index, Integer, LargeBinary, String
from sqlmodel import Field

from vault.storage.columns import DataTable, Id, Moment


class RequestRow(DataTable, table=True):
    """One request: its body, the columns by which it is looked for, and what was written about it, sealed."""

    __tablename__ = "rights_request"
    __table_args__ = (
        Index("ix_rights_request_subject", "tenant_id", "subject_id"),
        Index("ix_rights_request_due", "tenant_id", "state", "due_on"),
    )

    tenant_id: str = Field(sa_column=Column(String(64), primary_key=True))
    id: UUID = Field(sa_column=Column(Id, primary_key=True))
    subject_id: UUID | None = Field(sa_column=Column(Id, nullable=True))
    kind: str = Field(sa_column=Column(String(16), nullable=False))
    state: str = Field(sa_column=Column(String(16), nullable=False))
    regime: str = Field(sa_column=Column(String(8), nullable=False))
    received_at: datetime = Field(sa_column=Column(Moment, nullable=False))
    due_on: str = Field(sa_column=Column(String(10), nullable=False))
    revision: int = Field(sa_column=Column(Integer, nullable=False))
    body: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    details: bytes | None = Field(sa_column=Column(LargeBinary, nullable=True))


class RequestEventRow(DataTable, table=True):
    """One move of a request. Rows are only ever added."""

    __tablename__ = "request_event"

    tenant_id: str = Field(sa_column=Column(String(64), primary_key=True))
    request_id: UUID = Field(sa_column=Column(Id, primary_key=True))
    number: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    at: datetime = Field(sa_column=Column(Moment, nullable=False))
    body: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


REQUEST = RequestRow.__table__  # type: ignore[attr-defined]
REQUEST_EVENT = RequestEventRow.__table__  # type: ignore[attr-defined]
