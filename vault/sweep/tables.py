"""Definitions carried out of vault.retention.tables."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - SQLModel reads the annotations
from uuid import UUID  # noqa: TC003 - as above

from sqlalchemy import Column, Index, LargeBinary, String
from sqlmodel import Field

from vault.storage.columns import DataTable, Id, Moment


class RetentionSweepRow(DataTable, table=True):
    """One sweep: under which policies, how far it has come, and what it did; counts lie in ``body``.

    ``cursor`` is the person up to whom a sweep over everybody has come, ``runner`` who is at it. A tenant has one at a
    time that is not finished.
    """

    __tablename__ = "retention_sweep"
    __table_args__ = (
        Index("ix_retention_sweep_finished", "tenant_id", "finished_at"),
        Index(
            "uq_retention_sweep_open",
            "tenant_id",
            unique=True,
            sqlite_where=Column("finished_at").is_(None),
            postgresql_where=Column("finished_at").is_(None),
        ),
    )

    tenant_id: str = Field(sa_column=Column(String(64), primary_key=True))
    id: UUID = Field(sa_column=Column(Id, primary_key=True))
    kind: str = Field(sa_column=Column(String(16), nullable=False))
    policy: str = Field(sa_column=Column(String(80), nullable=False))
    started_at: datetime = Field(sa_column=Column(Moment, nullable=False))
    changed_at: datetime = Field(sa_column=Column(Moment, nullable=False))
    finished_at: datetime | None = Field(sa_column=Column(Moment, nullable=True))
    cursor: UUID | None = Field(sa_column=Column(Id, nullable=True))
    runner: UUID | None = Field(sa_column=Column(Id, nullable=True))
    body: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


RETENTION_SWEEP = RetentionSweepRow.__table__  # type: ignore[attr-defined]
