"""Tables of the consent ledger. Events are only ever added."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - SQLModel reads the annotations
from uuid import UUID  # noqa: TC003 - as above

from sqlalchemy import Column, LargeBinary, String
from sqlmodel import Field

from vault.storage.columns import Id, Moment
from vault.storage.tables import DataTable


class ConsentEventRow(DataTable, table=True):
    """One event: its canonical bytes, and the few columns by which people look for it."""

    __tablename__ = "consent_event"

    tenant_id: str = Field(sa_column=Column(String(64), primary_key=True))
    subject_id: UUID = Field(sa_column=Column(Id, primary_key=True))
    id: UUID = Field(sa_column=Column(Id, primary_key=True))
    purpose: str | None = Field(sa_column=Column(String(64), nullable=True))
    kind: str = Field(sa_column=Column(String(32), nullable=False))
    occurred_at: datetime = Field(sa_column=Column(Moment, nullable=False))
    recorded_at: datetime = Field(sa_column=Column(Moment, nullable=False))
    body: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class ConfirmationRow(DataTable, table=True):
    """A double opt-in that waits for its link to be followed; the token itself is not kept."""

    __tablename__ = "consent_confirmation"

    tenant_id: str = Field(sa_column=Column(String(64), primary_key=True))
    event_id: UUID = Field(sa_column=Column(Id, primary_key=True))
    subject_id: UUID = Field(sa_column=Column(Id, nullable=False))
    token_hash: bytes = Field(sa_column=Column(LargeBinary(32), nullable=False))
    expires_at: datetime = Field(sa_column=Column(Moment, nullable=False))
    used_at: datetime | None = Field(sa_column=Column(Moment, nullable=True))


EVENT = ConsentEventRow.__table__  # type: ignore[attr-defined]
CONFIRMATION = ConfirmationRow.__table__  # type: ignore[attr-defined]
