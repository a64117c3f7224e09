"""Tables of sign-ins, and what an erasure and a merge do with them: one-time codes and sessions end with both."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - SQLModel reads the annotations
from typing import TYPE_CHECKING, Any
from uuid import UUID  # noqa: TC003 - as above

from sqlalchemy import Column, Index, Integer, LargeBinary, String, delete, or_, select, update

from vault.crypto.row_mac import MacedTable
from vault.lifecycle.personal_data import count_rows, rows_of
from vault.requests.store import REQUEST
from vault.storage.columns import DataTable, Id, Moment, column, table_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Table
    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.crypto.row_mac import RowKeys
    from vault.ids import SubjectId, TenantId
    from vault.lifecycle.erasures import Erasure
    from vault.lifecycle.personal_data import ErasureContext, ExportContext, MergeContext, Sections


class IdentityCodeRow(DataTable, table=True):
    """A one-time code, sent or not; only its keyed digest is stored.

    ``claim`` is a keyed digest of the claimed identity, by which codes are limited, whether or not the claim matches a
    person. ``contact`` names the profile field with the address of the letter. ``sent_with`` is the code whose letter
    went to an address that this person shares: it opens a session of this person too.
    """

    __tablename__ = "identity_code"
    __table_args__ = (
        Index("ix_identity_code_request", "tenant_id", "request_id"),
        Index("ix_identity_code_subject", "tenant_id", "subject_id"),
        Index("ix_identity_code_claim", "tenant_id", "claim"),
        Index(
            "ix_identity_code_sent_with",
            "tenant_id",
            "sent_with",
            sqlite_where=Column("sent_with").isnot(None),
            postgresql_where=Column("sent_with").isnot(None),
        ),
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
    sent_with: UUID | None = column(Id, nullable=True)
    mac: bytes | None = column(LargeBinary, nullable=True)


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
    mac: bytes | None = column(LargeBinary, nullable=True)


IDENTITY_CODE = table_of(IdentityCodeRow)
SUBJECT_SESSION = table_of(SubjectSessionRow)
CODES = MacedTable(
    IDENTITY_CODE,
    *("tenant_id", "id", "subject_id", "request_id", "intent", "claim", "digest", "created_at", "expires_at"),
    *("attempts", "used_at", "contact", "sent_with"),
)
SESSIONS = MacedTable(
    SUBJECT_SESSION,
    *("tenant_id", "id", "subject_id", "token_hash", "created_at", "authenticated_at", "expires_at", "ended_at"),
)


async def write_code(connection: AsyncConnection, keys: RowKeys, row: Any, **changes: object) -> None:
    """Change a code, which is locked, and whose row was selected by :data:`CODES` and checked."""
    this = IDENTITY_CODE.c.tenant_id == row.tenant_id, IDENTITY_CODE.c.id == row.id
    await connection.execute(update(IDENTITY_CODE).where(*this).values(CODES.reseal(keys, row, **changes)))


class IdentityData:
    """Codes that prove an identity, and sessions in which a subject is signed in."""

    tables: tuple[Table, ...] = (IDENTITY_CODE, SUBJECT_SESSION)
    retained: tuple[Table, ...] = ()

    async def erase(self, erasing: ErasureContext, subjects: Sequence[SubjectId]) -> None:
        """Delete sessions, and codes: also those for requests of the subjects, which may not name a subject."""
        tenant = erasing.tenant
        await erasing.connection.execute(delete(SUBJECT_SESSION).where(*rows_of(SUBJECT_SESSION, tenant, subjects)))
        requests = select(REQUEST.c.id).where(*rows_of(REQUEST, tenant, subjects))
        theirs = or_(IDENTITY_CODE.c.subject_id.in_(subjects), IDENTITY_CODE.c.request_id.in_(requests))
        await erasing.connection.execute(delete(IDENTITY_CODE).where(IDENTITY_CODE.c.tenant_id == tenant, theirs))

    async def reseal(self, erasing: ErasureContext, subjects: Sequence[SubjectId]) -> None:
        """Keep them; nothing in them is sealed, and the subjects go on."""

    async def move(self, merge: MergeContext) -> None:
        """Sign both subjects out and use up their codes.

        Codes are not deleted: they count towards the limit on codes for a subject.
        """
        both = [merge.survivor, merge.duplicate]
        await merge.connection.execute(delete(SUBJECT_SESSION).where(*rows_of(SUBJECT_SESSION, merge.tenant, both)))
        keys = await merge.services.keyring.row_keys(merge.tenant)
        unused = (*rows_of(IDENTITY_CODE, merge.tenant, both), IDENTITY_CODE.c.used_at.is_(None))
        statement = select(*CODES.columns).where(*unused).order_by(IDENTITY_CODE.c.id).with_for_update()
        for row in (await merge.connection.execute(statement)).all():
            if CODES.is_genuine(keys, row):  # the others are of no use as they are
                await write_code(merge.connection, keys, row, used_at=merge.now)

    async def export(self, package: ExportContext) -> Sections:  # noqa: ARG002 - the protocol's
        """Return nothing: codes and tokens are digests, which last for minutes."""
        return {}

    async def remains(self, connection: AsyncConnection, tenant: TenantId, erasure: Erasure) -> int:
        """Count sessions and codes."""
        sessions = await count_rows(connection, tenant, erasure, SUBJECT_SESSION)
        return sessions + await count_rows(connection, tenant, erasure, IDENTITY_CODE, older="created_at")
