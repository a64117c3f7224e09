"""Definitions carried out of vault.requests.store."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - SQLModel reads the annotations
from uuid import UUID  # noqa: TC003 - as above

from sqlalchemy import Index, Integer, LargeBinary, String

from vault.storage.columns import DataTable, Id, Moment, column, table_of


class RecipientNoticeRow(DataTable, table=True):
    """What an app that read something is to be told: ids and names of fields, and whether it has acknowledged."""

    __tablename__ = "recipient_notice"
    __table_args__ = (
        Index("ix_recipient_notice_principal", "tenant_id", "principal_id", "state"),
        Index("ix_recipient_notice_subject", "tenant_id", "subject_id"),
        Index("ix_recipient_notice_next", "state", "next_at"),
    )

    tenant_id: str = column(String(64), primary_key=True)
    id: UUID = column(Id, primary_key=True)
    principal_id: UUID = column(Id)
    subject_id: UUID = column(Id)
    request_id: UUID | None = column(Id, nullable=True)
    kind: str = column(String(32))
    state: str = column(String(16))
    created_at: datetime = column(Moment)
    round: int = column(Integer)
    attempts: int = column(Integer)
    next_at: datetime | None = column(Moment, nullable=True)
    last_status: int | None = column(Integer, nullable=True)
    last_code: str | None = column(String(32), nullable=True)
    delivered_at: datetime | None = column(Moment, nullable=True)
    acknowledged_at: datetime | None = column(Moment, nullable=True)
    acknowledged_by: UUID | None = column(Id, nullable=True)
    chased_at: datetime | None = column(Moment, nullable=True)
    chases: int = column(Integer)
    body: bytes = column(LargeBinary)


class WebhookRow(DataTable, table=True):
    """Where an app wants its notices sent; secrets are derived and not kept."""

    __tablename__ = "webhook"

    tenant_id: str = column(String(64), primary_key=True)
    principal_id: UUID = column(Id, primary_key=True)
    url: str = column(String(2000))
    state: str = column(String(16))
    secret_version: int = column(Integer)
    previous_until: datetime | None = column(Moment, nullable=True)
    created_at: datetime = column(Moment)
    updated_at: datetime = column(Moment)
    why: str | None = column(String(32), nullable=True)


RECIPIENT_NOTICE = table_of(RecipientNoticeRow)


WEBHOOK = table_of(WebhookRow)
