"""Definitions carried out of vault.requests.tables."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - SQLModel reads the annotations
from uuid import UUID  # noqa: TC003 - as above

from sqlalchemy import Column, LargeBinary, String
from sqlmodel import Field

from vault.storage.columns import DataTable, Id, Moment


class RectificationRow(DataTable, table=True):
    """A value that was corrected or is disputed; before and after lie in ``details``, sealed."""

    __tablename__ = "rectification"

    tenant_id: str = Field(sa_column=Column(String(64), primary_key=True))
    subject_id: UUID = Field(sa_column=Column(Id, primary_key=True))
    id: UUID = Field(sa_column=Column(Id, primary_key=True))
    request_id: UUID | None = Field(sa_column=Column(Id, nullable=True))
    collection: str = Field(sa_column=Column(String(64), nullable=False))
    record_id: UUID = Field(sa_column=Column(Id, nullable=False))
    field: str = Field(sa_column=Column(String(64), nullable=False))
    state: str = Field(sa_column=Column(String(16), nullable=False))
    at: datetime = Field(sa_column=Column(Moment, nullable=False))
    closed_at: datetime | None = Field(sa_column=Column(Moment, nullable=True))
    by_id: UUID | None = Field(sa_column=Column(Id, nullable=True))
    details: bytes | None = Field(sa_column=Column(LargeBinary, nullable=True))


RECTIFICATION = RectificationRow.__table__  # type: ignore[attr-defined]
