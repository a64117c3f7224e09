"""Tables of requests, of what they need and of what they leave behind. No value lies here but sealed ones."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - SQLModel reads the annotations
from uuid import UUID  # noqa: TC003 - as above

from sqlalchemy import Column, Index, Integer, LargeBinary, String
from sqlmodel import Field

from vault.storage.columns import Id, Moment
from vault.storage.tables import DataTable


class RequestRow(DataTable, table=True):
    """One request: its body, the columns by which it is looked for, and what was written about it, sealed."""

    __tablename__ = "rights_request"
    __table_args__ = (
        Index("ix_rights_request_subject", "tenant_id", "subject_id"),
        Index("ix_rights_request_due", "tenant_id", "state", "due_on"),
    )

    tenant_id: str = Field(sa_column=Column(String(64), primary_key=True))
    id: UUID = Field(sa_column=Column(Id, primary_key=True))
    subject_id: UUID | None = Field(sa_column=Column(Id, nullable=True))
    kind: str = Field(sa_column=Column(String(16), nullable=False))
    state: str = Field(sa_column=Column(String(16), nullable=False))
    regime: str = Field(sa_column=Column(String(8), nullable=False))
    received_at: datetime = Field(sa_column=Column(Moment, nullable=False))
    due_on: str = Field(sa_column=Column(String(10), nullable=False))
    revision: int = Field(sa_column=Column(Integer, nullable=False))
    body: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    details: bytes | None = Field(sa_column=Column(LargeBinary, nullable=True))


class RequestEventRow(DataTable, table=True):
    """One move of a request. Rows are only ever added."""

    __tablename__ = "request_event"

    tenant_id: str = Field(sa_column=Column(String(64), primary_key=True))
    request_id: UUID = Field(sa_column=Column(Id, primary_key=True))
    number: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    at: datetime = Field(sa_column=Column(Moment, nullable=False))
    body: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


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


class PackageRow(DataTable, table=True):
    """A package for a person: how large, until when; its bytes lie in ``package_chunk``, sealed."""

    __tablename__ = "package"
    __table_args__ = (
        Index("ix_package_subject", "tenant_id", "subject_id"),
        Index("ix_package_request", "tenant_id", "request_id"),
        Index("ix_package_expires", "tenant_id", "state", "expires_at"),
    )

    tenant_id: str = Field(sa_column=Column(String(64), primary_key=True))
    id: UUID = Field(sa_column=Column(Id, primary_key=True))
    request_id: UUID = Field(sa_column=Column(Id, nullable=False))
    subject_id: UUID = Field(sa_column=Column(Id, nullable=False))
    state: str = Field(sa_column=Column(String(16), nullable=False))
    created_at: datetime = Field(sa_column=Column(Moment, nullable=False))
    expires_at: datetime = Field(sa_column=Column(Moment, nullable=False))
    size: int = Field(sa_column=Column(Integer, nullable=False))
    chunks: int = Field(sa_column=Column(Integer, nullable=False))
    digest: bytes | None = Field(sa_column=Column(LargeBinary(32), nullable=True))
    body: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class PackageChunkRow(DataTable, table=True):
    """A piece of a package, sealed under the person's data key."""

    __tablename__ = "package_chunk"

    tenant_id: str = Field(sa_column=Column(String(64), primary_key=True))
    package_id: UUID = Field(sa_column=Column(Id, primary_key=True))
    number: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    body: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class ErasureRow(DataTable, table=True):
    """An erasure: how far it has come, what it took and what it kept, and the certificate at its end.

    ``key_version`` is that of the data key under which what stayed was sealed anew: whoever still holds an older one
    has missed the erasure, and must not write with it.
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

    tenant_id: str = Field(sa_column=Column(String(64), primary_key=True))
    id: UUID = Field(sa_column=Column(Id, primary_key=True))
    request_id: UUID | None = Field(sa_column=Column(Id, nullable=True))
    subject_id: UUID = Field(sa_column=Column(Id, nullable=False))
    state: str = Field(sa_column=Column(String(16), nullable=False))
    started_at: datetime = Field(sa_column=Column(Moment, nullable=False))
    changed_at: datetime = Field(sa_column=Column(Moment, nullable=False))
    finished_at: datetime | None = Field(sa_column=Column(Moment, nullable=True))
    key_version: int | None = Field(sa_column=Column(Integer, nullable=True))
    body: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    certificate: bytes | None = Field(sa_column=Column(LargeBinary, nullable=True))


class TombstoneRow(DataTable, table=True):
    """A keyed digest of an id or address of somebody erased, so that nobody brings them back unnoticed."""

    __tablename__ = "tombstone"

    tenant_id: str = Field(sa_column=Column(String(64), primary_key=True))
    digest: bytes = Field(sa_column=Column(LargeBinary(32), primary_key=True))
    kind: str = Field(sa_column=Column(String(16), nullable=False))
    erasure_id: UUID = Field(sa_column=Column(Id, nullable=False))
    created_at: datetime = Field(sa_column=Column(Moment, nullable=False))


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


class RectificationRow(DataTable, table=True):
    """A value that was corrected or is disputed; before and after lie in ``details``, sealed."""

    __tablename__ = "rectification"

    tenant_id: str = Field(sa_column=Column(String(64), primary_key=True))
    subject_id: UUID = Field(sa_column=Column(Id, primary_key=True))
    id: UUID = Field(sa_column=Column(Id, primary_key=True))
    request_id: UUID | None = Field(sa_column=Column(Id, nullable=True))
    collection: str = Field(sa_column=Column(String(64), nullable=False))
    record_id: UUID = Field(sa_column=Column(Id, nullable=False))
    field: str = Field(sa_column=Column(String(64), nullable=False))
    state: str = Field(sa_column=Column(String(16), nullable=False))
    at: datetime = Field(sa_column=Column(Moment, nullable=False))
    closed_at: datetime | None = Field(sa_column=Column(Moment, nullable=True))
    by_id: UUID | None = Field(sa_column=Column(Id, nullable=True))
    details: bytes | None = Field(sa_column=Column(LargeBinary, nullable=True))


REQUEST = RequestRow.__table__  # type: ignore[attr-defined]
REQUEST_EVENT = RequestEventRow.__table__  # type: ignore[attr-defined]
IDENTITY_CODE = IdentityCodeRow.__table__  # type: ignore[attr-defined]
SUBJECT_SESSION = SubjectSessionRow.__table__  # type: ignore[attr-defined]
PACKAGE = PackageRow.__table__  # type: ignore[attr-defined]
PACKAGE_CHUNK = PackageChunkRow.__table__  # type: ignore[attr-defined]
ERASURE = ErasureRow.__table__  # type: ignore[attr-defined]
TOMBSTONE = TombstoneRow.__table__  # type: ignore[attr-defined]
RECIPIENT_NOTICE = RecipientNoticeRow.__table__  # type: ignore[attr-defined]
WEBHOOK = WebhookRow.__table__  # type: ignore[attr-defined]
RECTIFICATION = RectificationRow.__table__  # type: ignore[attr-defined]
