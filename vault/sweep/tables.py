"""Table of sweeps."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - SQLModel reads the annotations
from uuid import UUID  # noqa: TC003 - as above

from sqlalchemy import Column, Index, LargeBinary, String

from vault.storage.columns import DataTable, Id, Moment, column, table_of


class RetentionSweepRow(DataTable, table=True):
    """One sweep: its policies, its progress, and what it did. The counts are stored in ``body``.

    ``cursor`` is the last subject that a full sweep has evaluated, ``runner`` the process that runs it. A tenant has at
    most one sweep that is not finished.
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

    tenant_id: str = column(String(64), primary_key=True)
    id: UUID = column(Id, primary_key=True)
    kind: str = column(String(16))
    policy: str = column(String(80))
    started_at: datetime = column(Moment)
    changed_at: datetime = column(Moment)
    finished_at: datetime | None = column(Moment, nullable=True)
    cursor: UUID | None = column(Id, nullable=True)
    runner: UUID | None = column(Id, nullable=True)
    body: bytes = column(LargeBinary)


RETENTION_SWEEP = table_of(RetentionSweepRow)
