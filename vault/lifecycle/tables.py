"""Tables of erasures, tombstones and the restore ledger."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - SQLModel reads the annotations
from uuid import UUID  # noqa: TC003 - as above

from sqlalchemy import Column, Index, Integer, LargeBinary, String

from vault.storage.columns import DataTable, Id, LedgerTable, Moment, column, table_of


class ErasureRow(DataTable, table=True):
    """An erasure: its state, what it erased and kept, and the certificate at its end.

    ``key_version`` is the version of the data key under which the rest was resealed. A writer with an older one has
    missed the erasure, and must not seal with it.
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

    tenant_id: str = column(String(64), primary_key=True)
    id: UUID = column(Id, primary_key=True)
    request_id: UUID | None = column(Id, nullable=True)
    subject_id: UUID = column(Id)
    state: str = column(String(16))
    started_at: datetime = column(Moment)
    changed_at: datetime = column(Moment)
    finished_at: datetime | None = column(Moment, nullable=True)
    key_version: int | None = column(Integer, nullable=True)
    body: bytes = column(LargeBinary)
    certificate: bytes | None = column(LargeBinary, nullable=True)


class TombstoneRow(DataTable, table=True):
    """A keyed digest of an id or address of an erased subject, so that no write recreates it unnoticed."""

    __tablename__ = "tombstone"

    tenant_id: str = column(String(64), primary_key=True)
    digest: bytes = column(LargeBinary(32), primary_key=True)
    kind: str = column(String(16))
    erasure_id: UUID = column(Id)
    created_at: datetime = column(Moment)


ERASURE = table_of(ErasureRow)


TOMBSTONE = table_of(TombstoneRow)


class LedgerRow(LedgerTable, table=True):
    """One thing that a restore must not undo: an erasure, a withdrawal, an objection, a restriction, a hold."""

    __tablename__ = "tombstone_ledger"
    __table_args__ = (Index("ix_tombstone_ledger_at", "at"),)

    tenant_id: str = column(String(64), primary_key=True)
    id: UUID = column(Id, primary_key=True)
    at: datetime = column(Moment)
    kind: str = column(String(16))
    subject_id: UUID | None = column(Id, nullable=True)
    body: bytes = column(LargeBinary)


TOMBSTONE_LEDGER = table_of(LedgerRow)
