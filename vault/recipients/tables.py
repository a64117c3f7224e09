"""Definitions carried out of vault.requests.tables."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - SQLModel reads the annotations
from uuid import UUID  # noqa: TC003 - as above

from sqlalchemy import Column, Index, Integer, LargeBinary, String
from sqlmodel import Field

from vault.storage.columns import DataTable, Id, Moment


class RecipientNoticeRow(DataTable, table=True):
    """What an app that read something is to be told: ids and names of fields, and whether it has acknowledged."""

    __tablename__ = "recipient_notice"
    __table_args__ = (
        Index("ix_recipient_notice_principal", "tenant_id", "principal_id", "state"),
        Index("ix_recipient_notice_subject", "tenant_id", "subject_id"),
        Index("ix_recipient_notice_next", "state", "next_at"),
    )

    tenant_id: str = Field(sa_column=Column(String(64), primary_key=True))
    id: UUID = Field(sa_column=Column(Id, primary_key=True))
    principal_id: UUID = Field(sa_column=Column(Id, nullable=False))
    subject_id: UUID = Field(sa_column=Column(Id, nullable=False))
    request_id: UUID | None = Field(sa_column=Column(Id, nullable=True))
    kind: str = Field(sa_column=Column(String(32), nullable=False))
    state: str = Field(sa_column=Column(String(16), nullable=False))
    created_at: datetime = Field(sa_column=Column(Moment, nullable=False))
    round: int = Field(sa_column=Column(Integer, nullable=False))
    attempts: int = Field(sa_column=Column(Integer, nullable=False))
    next_at: datetime | None = Field(sa_column=Column(Moment, nullable=True))
    last_status: int | None = Field(sa_column=Column(Integer, nullable=True))
    last_code: str | None = Field(sa_column=Column(String(32), nullable=True))
    delivered_at: datetime | None = Field(sa_column=Column(Moment, nullable=True))
    acknowledged_at: datetime | None = Field(sa_column=Column(Moment, nullable=True))
    acknowledged_by: UUID | None = Field(sa_column=Column(Id, nullable=True))
    chased_at: datetime | None = Field(sa_column=Column(Moment, nullable=True))
    chases: int = Field(sa_column=Column(Integer, nullable=False))
    body: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class WebhookRow(DataTable, table=True):
    """Where an app wants its notices sent; secrets are derived and not kept."""

    __tablename__ = "webhook"

    tenant_id: str = Field(sa_column=Column(String(64), primary_key=True))
    principal_id: UUID = Field(sa_column=Column(Id, primary_key=True))
    url: str = Field(sa_column=Column(String(2000), nullable=False))
    state: str = Field(sa_column=Column(String(16), nullable=False))
    secret_version: int = Field(sa_column=Column(Integer, nullable=False))
    previous_until: datetime | None = Field(sa_column=Column(Moment, nullable=True))
    created_at: datetime = Field(sa_column=Column(Moment, nullable=False))
    updated_at: datetime = Field(sa_column=Column(Moment, nullable=False))
    why: str | None = Field(sa_column=Column(String(32), nullable=True))


RECIPIENT_NOTICE = RecipientNoticeRow.__table__  # type: ignore[attr-defined]


WEBHOOK = WebhookRow.__table__  # type: ignore[attr-defined]
