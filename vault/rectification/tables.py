"""The table of rectifications."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - SQLModel reads the annotations
from uuid import UUID  # noqa: TC003 - as above

from sqlalchemy import LargeBinary, String

from vault.storage.columns import DataTable, Id, Moment, column, table_of


class RectificationRow(DataTable, table=True):
    """A value that was corrected or is disputed; before and after lie in ``details``, sealed."""

    __tablename__ = "rectification"

    tenant_id: str = column(String(64), primary_key=True)
    subject_id: UUID = column(Id, primary_key=True)
    id: UUID = column(Id, primary_key=True)
    request_id: UUID | None = column(Id, nullable=True)
    collection: str = column(String(64))
    record_id: UUID = column(Id)
    field: str = column(String(64))
    state: str = column(String(16))
    at: datetime = column(Moment)
    closed_at: datetime | None = column(Moment, nullable=True)
    by_id: UUID | None = column(Id, nullable=True)
    details: bytes | None = column(LargeBinary, nullable=True)


RECTIFICATION = table_of(RectificationRow)
