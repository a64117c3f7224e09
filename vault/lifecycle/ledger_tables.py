"""Definitions carried out of vault.retention.tables."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - SQLModel reads the annotations
from uuid import UUID  # noqa: TC003 - as above

from sqlalchemy import Column, Index, LargeBinary, String
from sqlmodel import Field

from vault.storage.columns import Id, Moment
from vault.storage.tables import LedgerTable


class LedgerRow(LedgerTable, table=True):
    """One thing that a restore must not undo: an erasure, a withdrawal, an objection, a restriction, a hold."""

    __tablename__ = "tombstone_ledger"
    __table_args__ = (Index("ix_tombstone_ledger_at", "at"),)

    tenant_id: str = Field(sa_column=Column(String(64), primary_key=True))
    id: UUID = Field(sa_column=Column(Id, primary_key=True))
    at: datetime = Field(sa_column=Column(Moment, nullable=False))
    kind: str = Field(sa_column=Column(String(16), nullable=False))
    subject_id: UUID | None = Field(sa_column=Column(Id, nullable=True))
    body: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


TOMBSTONE_LEDGER = LedgerRow.__table__  # type: ignore[attr-defined]
