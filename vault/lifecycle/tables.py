"""Definitions carried out of vault.requests.tables."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - SQLModel reads the annotations
from uuid import UUID  # noqa: TC003 - as above

from sqlalchemy import Column, Index, Integer, LargeBinary, String
from sqlmodel import Field

from vault.storage.columns import DataTable, Id, LedgerTable, Moment


class ErasureRow(DataTable, table=True):
    """An erasure: how far it has come, what it took and what it kept, and the certificate at its end.

    ``key_version`` is that of the data key under which what stayed was sealed anew: whoever still holds an older one
    has missed the erasure, and must not write with it.
    """

    __tablename__ = "erasure"
    __table_args__ = (
        Index("ix_erasure_subject", "tenant_id", "subject_id"),
        Index("ix_erasure_changed", "changed_at"),
        Index(
            "uq_erasure_open",
            "tenant_id",
            "subject_id",
            unique=True,
            sqlite_where=Column("finished_at").is_(None),
            postgresql_where=Column("finished_at").is_(None),
        ),
    )

    tenant_id: str = Field(sa_column=Column(String(64), primary_key=True))
    id: UUID = Field(sa_column=Column(Id, primary_key=True))
    request_id: UUID | None = Field(sa_column=Column(Id, nullable=True))
    subject_id: UUID = Field(sa_column=Column(Id, nullable=False))
    state: str = Field(sa_column=Column(String(16), nullable=False))
    started_at: datetime = Field(sa_column=Column(Moment, nullable=False))
    changed_at: datetime = Field(sa_column=Column(Moment, nullable=False))
    finished_at: datetime | None = Field(sa_column=Column(Moment, nullable=True))
    key_version: int | None = Field(sa_column=Column(Integer, nullable=True))
    body: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    certificate: bytes | None = Field(sa_column=Column(LargeBinary, nullable=True))


class TombstoneRow(DataTable, table=True):
    """A keyed digest of an id or address of somebody erased, so that nobody brings them back unnoticed."""

    __tablename__ = "tombstone"

    tenant_id: str = Field(sa_column=Column(String(64), primary_key=True))
    digest: bytes = Field(sa_column=Column(LargeBinary(32), primary_key=True))
    kind: str = Field(sa_column=Column(String(16), nullable=False))
    erasure_id: UUID = Field(sa_column=Column(Id, nullable=False))
    created_at: datetime = Field(sa_column=Column(Moment, nullable=False))


ERASURE = ErasureRow.__table__  # type: ignore[attr-defined]


TOMBSTONE = TombstoneRow.__table__  # type: ignore[attr-defined]


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
