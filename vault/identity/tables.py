"""Definitions carried out of vault.requests.tables."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - SQLModel reads the annotations
from uuid import UUID  # noqa: TC003 - as above

from sqlalchemy import Column, Index, Integer, LargeBinary, String
from sqlmodel import Field

from vault.storage.columns import DataTable, Id, Moment


class IdentityCodeRow(DataTable, table=True):
    """A one-time code that was sent, or would have been if there were such a person; only its keyed digest is kept.

    ``claim`` is a keyed digest of what was said of the identity: so many codes are sent for each, whoever it is.
    ``contact`` names the field of the profile to whose value the code went.
    """

    __tablename__ = "identity_code"
    __table_args__ = (
        Index("ix_identity_code_request", "tenant_id", "request_id"),
        Index("ix_identity_code_subject", "tenant_id", "subject_id"),
        Index("ix_identity_code_claim", "tenant_id", "claim"),
    )

    tenant_id: str = Field(sa_column=Column(String(64), primary_key=True))
    id: UUID = Field(sa_column=Column(Id, primary_key=True))
    subject_id: UUID | None = Field(sa_column=Column(Id, nullable=True))
    request_id: UUID | None = Field(sa_column=Column(Id, nullable=True))
    intent: str = Field(sa_column=Column(String(16), nullable=False))
    claim: bytes = Field(sa_column=Column(LargeBinary(32), nullable=False))
    digest: bytes = Field(sa_column=Column(LargeBinary(32), nullable=False))
    created_at: datetime = Field(sa_column=Column(Moment, nullable=False))
    expires_at: datetime = Field(sa_column=Column(Moment, nullable=False))
    attempts: int = Field(sa_column=Column(Integer, nullable=False))
    used_at: datetime | None = Field(sa_column=Column(Moment, nullable=True))
    contact: str | None = Field(sa_column=Column(String(64), nullable=True))


class SubjectSessionRow(DataTable, table=True):
    """A person who signed in; the token itself is not kept."""

    __tablename__ = "subject_session"
    __table_args__ = (Index("ix_subject_session_subject", "tenant_id", "subject_id"),)

    tenant_id: str = Field(sa_column=Column(String(64), primary_key=True))
    id: UUID = Field(sa_column=Column(Id, primary_key=True))
    subject_id: UUID = Field(sa_column=Column(Id, nullable=False))
    token_hash: bytes = Field(sa_column=Column(LargeBinary(32), nullable=False))
    created_at: datetime = Field(sa_column=Column(Moment, nullable=False))
    authenticated_at: datetime = Field(sa_column=Column(Moment, nullable=False))
    expires_at: datetime = Field(sa_column=Column(Moment, nullable=False))
    ended_at: datetime | None = Field(sa_column=Column(Moment, nullable=True))


IDENTITY_CODE = IdentityCodeRow.__table__  # type: ignore[attr-defined]


SUBJECT_SESSION = SubjectSessionRow.__table__  # type: ignore[attr-defined]
