"""Definitions carried out of vault.requests.store."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - SQLModel reads the annotations
from uuid import UUID  # noqa: TC003 - as above

from sqlalchemy import Index, Integer, LargeBinary, String

from vault.storage.columns import DataTable, Id, Moment, column, table_of


class IdentityCodeRow(DataTable, table=True):
    """A one-time code, sent or not; only its keyed digest is stored.

    ``claim`` is a keyed digest of the claimed identity, by which codes are limited, whether or not the claim matches a
    person. ``contact`` names the profile field with the address of the letter.
    """

    __tablename__ = "identity_code"
    __table_args__ = (
        Index("ix_identity_code_request", "tenant_id", "request_id"),
        Index("ix_identity_code_subject", "tenant_id", "subject_id"),
        Index("ix_identity_code_claim", "tenant_id", "claim"),
    )

    tenant_id: str = column(String(64), primary_key=True)
    id: UUID = column(Id, primary_key=True)
    subject_id: UUID | None = column(Id, nullable=True)
    request_id: UUID | None = column(Id, nullable=True)
    intent: str = column(String(16))
    claim: bytes = column(LargeBinary(32))
    digest: bytes = column(LargeBinary(32))
    created_at: datetime = column(Moment)
    expires_at: datetime = column(Moment)
    attempts: int = column(Integer)
    used_at: datetime | None = column(Moment, nullable=True)
    contact: str | None = column(String(64), nullable=True)


class SubjectSessionRow(DataTable, table=True):
    """A person who signed in; the token itself is not kept."""

    __tablename__ = "subject_session"
    __table_args__ = (Index("ix_subject_session_subject", "tenant_id", "subject_id"),)

    tenant_id: str = column(String(64), primary_key=True)
    id: UUID = column(Id, primary_key=True)
    subject_id: UUID = column(Id)
    token_hash: bytes = column(LargeBinary(32))
    created_at: datetime = column(Moment)
    authenticated_at: datetime = column(Moment)
    expires_at: datetime = column(Moment)
    ended_at: datetime | None = column(Moment, nullable=True)


IDENTITY_CODE = table_of(IdentityCodeRow)


SUBJECT_SESSION = table_of(SubjectSessionRow)
