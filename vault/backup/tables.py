"""Definitions carried out of vault.retention.tables."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - SQLModel reads the annotations
from uuid import UUID  # noqa: TC003 - as above

from sqlalchemy import Column, LargeBinary
from sqlmodel import Field

from vault.storage.columns import DataTable, Id, Moment


class RestoreRow(DataTable, table=True):
    """A restore of this database from a backup. While ``replayed_at`` is empty, the vault does not open for readers."""

    __tablename__ = "restore"

    id: UUID = Field(sa_column=Column(Id, primary_key=True))
    backup_id: UUID = Field(sa_column=Column(Id, nullable=False))
    backed_up_at: datetime = Field(sa_column=Column(Moment, nullable=False))
    restored_at: datetime = Field(sa_column=Column(Moment, nullable=False))
    replayed_at: datetime | None = Field(sa_column=Column(Moment, nullable=True))
    body: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


RESTORE = RestoreRow.__table__  # type: ignore[attr-defined]
