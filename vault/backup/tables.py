"""Definitions carried out of vault.retention.tables."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - SQLModel reads the annotations
from uuid import UUID  # noqa: TC003 - as above

from sqlalchemy import LargeBinary

from vault.storage.columns import DataTable, Id, Moment, column, table_of


class RestoreRow(DataTable, table=True):
    """A restore of this database from a backup. While ``replayed_at`` is empty, the vault does not open for readers."""

    __tablename__ = "restore"

    id: UUID = column(Id, primary_key=True)
    backup_id: UUID = column(Id)
    backed_up_at: datetime = column(Moment)
    restored_at: datetime = column(Moment)
    replayed_at: datetime | None = column(Moment, nullable=True)
    body: bytes = column(LargeBinary)


RESTORE = table_of(RestoreRow)
