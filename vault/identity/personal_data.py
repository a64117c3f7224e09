"""Sign-ins as personal data: one-time codes and sessions of subjects end with every erasure and merge."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, or_, select, update

from vault.identity.tables import IDENTITY_CODE, SUBJECT_SESSION
from vault.lifecycle.personal_data import count_rows, rows_of
from vault.requests.store import REQUEST

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Table
    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.ids import SubjectId, TenantId
    from vault.lifecycle.erasures import Erasure
    from vault.lifecycle.personal_data import ErasureContext, MergeContext


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
        unused = (*rows_of(IDENTITY_CODE, merge.tenant, both), IDENTITY_CODE.c.used_at.is_(None))
        await merge.connection.execute(update(IDENTITY_CODE).where(*unused).values(used_at=merge.now))

    async def remains(self, connection: AsyncConnection, tenant: TenantId, erasure: Erasure) -> int:
        """Count sessions and codes."""
        sessions = await count_rows(connection, tenant, erasure, SUBJECT_SESSION)
        return sessions + await count_rows(connection, tenant, erasure, IDENTITY_CODE, older="created_at")
