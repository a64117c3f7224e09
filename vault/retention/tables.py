"""Tables of retention: clocks, holds and reviews."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - SQLModel reads the annotations
from uuid import UUID  # noqa: TC003 - as above

from sqlalchemy import Column, Index, LargeBinary, String

from vault.storage.columns import DataTable, Id, Moment, column, table_of


class SubjectClockRow(DataTable, table=True):
    """The newest moment of one thing from which a subject's periods count.

    ``kind`` is ``record:purchase`` for the newest record of a collection, and ``event:contract-ended`` for an event.
    It outlives the record: deleting an order does not make the last order older.
    """

    __tablename__ = "subject_clock"

    tenant_id: str = column(String(64), primary_key=True)
    subject_id: UUID = column(Id, primary_key=True)
    kind: str = column(String(80), primary_key=True)
    at: datetime = column(Moment)


class HoldRow(DataTable, table=True):
    """A legal hold; it contains no value of a subject."""

    __tablename__ = "hold"
    __table_args__ = (Index("ix_hold_review", "tenant_id", "state", "review_on"),)

    tenant_id: str = column(String(64), primary_key=True)
    id: UUID = column(Id, primary_key=True)
    state: str = column(String(16))
    review_on: str = column(String(10))
    placed_at: datetime = column(Moment)
    lifted_at: datetime | None = column(Moment, nullable=True)
    body: bytes = column(LargeBinary)


class HoldSubjectRow(DataTable, table=True):
    """A subject that a hold covers.

    ``erasure_id`` is empty while the hold covers the subject. Once the hold has released a subject whose erasure waited
    for it, it is the erasure that continues; the row is deleted when that has ended.
    """

    __tablename__ = "hold_subject"
    __table_args__ = (
        Index("ix_hold_subject_subject", "tenant_id", "subject_id"),
        Index(
            "ix_hold_subject_waiting",
            "tenant_id",
            "erasure_id",
            sqlite_where=Column("erasure_id").is_not(None),
            postgresql_where=Column("erasure_id").is_not(None),
        ),
    )

    tenant_id: str = column(String(64), primary_key=True)
    hold_id: UUID = column(Id, primary_key=True)
    subject_id: UUID = column(Id, primary_key=True)
    erasure_id: UUID | None = column(Id, nullable=True)


class RetentionReviewRow(DataTable, table=True):
    """A value whose retention has ended and that an action retains; ``kind`` is the name of the action.

    ``state`` is ``open``, ``erase`` (decided, and for the next sweep) or ``keep`` (until ``keep_until``, a day).
    """

    __tablename__ = "retention_review"
    __table_args__ = (
        Index("ix_retention_review_state", "tenant_id", "state", "id"),
        Index(
            "uq_retention_review_value",
            "tenant_id",
            "subject_id",
            "collection",
            "record_id",
            "field",
            unique=True,
        ),
    )

    tenant_id: str = column(String(64), primary_key=True)
    id: UUID = column(Id, primary_key=True)
    subject_id: UUID = column(Id)
    collection: str = column(String(64))
    record_id: UUID = column(Id)
    field: str = column(String(130))
    kind: str = column(String(16))
    state: str = column(String(16))
    ended_on: str = column(String(10))
    keep_until: str | None = column(String(10), nullable=True)
    created_at: datetime = column(Moment)
    decided_at: datetime | None = column(Moment, nullable=True)
    decided_by: UUID | None = column(Id, nullable=True)


SUBJECT_CLOCK = table_of(SubjectClockRow)
HOLD = table_of(HoldRow)
HOLD_SUBJECT = table_of(HoldSubjectRow)
RETENTION_REVIEW = table_of(RetentionReviewRow)
