"""The tables of subjects, their records and their indexes."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - SQLModel reads the annotations
from uuid import UUID  # noqa: TC003 - as above

from sqlalchemy import Column, Index, Integer, LargeBinary, SmallInteger, String

from vault.crypto.row_mac import MacedTable
from vault.storage.columns import DataTable, Id, Moment, column, table_of


class SubjectRow(DataTable, table=True):
    """A subject without values: its state, and its pseudonym in the audit log.

    ``standing`` is its consent state: consents, objections, restrictions and holds; see :mod:`vault.consent.model`.
    """

    __tablename__ = "subject"

    tenant_id: str = column(String(64), primary_key=True)
    id: UUID = column(Id, primary_key=True)
    pseudonym: UUID = column(Id)
    state: str = column(String(16))
    created_at: datetime = column(Moment)
    standing: bytes | None = column(LargeBinary, nullable=True)
    mac: bytes | None = column(LargeBinary, nullable=True)


class RecordRow(DataTable, table=True):
    """One record: all of its fields, each sealed on its own, in one row.

    The ``profile`` record of a subject has the subject's id, so that there cannot be two. ``due_at`` is when the next
    sweep evaluates the record; every write sets it to the current time.
    """

    __tablename__ = "record"
    __table_args__ = (
        Index(
            "uq_record_external",
            "tenant_id",
            "subject_id",
            "collection",
            "external_digest",
            unique=True,
            sqlite_where=Column("external_digest").isnot(None),
            postgresql_where=Column("external_digest").isnot(None),
        ),
        Index("ix_record_due", "tenant_id", "due_at"),
    )

    tenant_id: str = column(String(64), primary_key=True)
    subject_id: UUID = column(Id, primary_key=True)
    collection: str = column(String(64), primary_key=True)
    id: UUID = column(Id, primary_key=True)
    revision: int = column(Integer)
    created_at: datetime = column(Moment)
    updated_at: datetime = column(Moment)
    occurred_at: datetime | None = column(Moment, nullable=True)
    due_at: datetime | None = column(Moment, nullable=True)
    external_digest: bytes | None = column(LargeBinary(32), nullable=True)
    body: bytes = column(LargeBinary)


class ExternalRefRow(DataTable, table=True):
    """A reference from another system's id, as a keyed digest, to the subject."""

    __tablename__ = "external_ref"

    tenant_id: str = column(String(64), primary_key=True)
    digest: bytes = column(LargeBinary(32), primary_key=True)
    subject_id: UUID = column(Id)
    version: int = column(SmallInteger)


class BlindIndexRow(DataTable, table=True):
    """A reference from a keyed digest of a value to a record that has it. Each field has its own key."""

    __tablename__ = "blind_index"

    tenant_id: str = column(String(64), primary_key=True)
    digest: bytes = column(LargeBinary(32), primary_key=True)
    subject_id: UUID = column(Id, primary_key=True)
    record_id: UUID = column(Id, primary_key=True)
    version: int = column(SmallInteger)


class SubjectAliasRow(DataTable, table=True):
    """A reference from a subject that was merged into another to that other."""

    __tablename__ = "subject_alias"

    tenant_id: str = column(String(64), primary_key=True)
    alias_id: UUID = column(Id, primary_key=True)
    subject_id: UUID = column(Id)
    entry_id: UUID = column(Id)
    created_at: datetime = column(Moment)


SUBJECT = table_of(SubjectRow)
SUBJECTS = MacedTable(SUBJECT, "tenant_id", "id", "pseudonym", "state", "created_at", "standing")
"""Who exists, who is restricted, what was consented to, and what is held: every read decides by it."""
RECORD = table_of(RecordRow)
EXTERNAL_REF = table_of(ExternalRefRow)
SUBJECT_ALIAS = table_of(SubjectAliasRow)
BLIND_INDEX = table_of(BlindIndexRow)
