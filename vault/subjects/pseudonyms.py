"""The name under which a person stands on the audit log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from vault.subjects.store import GONE
from vault.subjects.tables import SUBJECT

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.ids import TenantId


async def pseudonym_of(connection: AsyncConnection, tenant: TenantId, subject: UUID | None) -> UUID | None:
    """Return the pseudonym of a person who is there; none of one who is erased: nobody leads from one to the other."""
    if subject is None:
        return None
    statement = SUBJECT.select().where(SUBJECT.c.tenant_id == tenant, SUBJECT.c.id == subject)
    row = (await connection.execute(statement)).one_or_none()
    return None if row is None or row.state in GONE else row.pseudonym


async def is_erased(connection: AsyncConnection, tenant: TenantId, subject: UUID) -> bool:
    """Tell whether nothing at all is kept of a person: whatever keys of theirs a node still has are about to go."""
    statement = select(SUBJECT.c.state).where(SUBJECT.c.tenant_id == tenant, SUBJECT.c.id == subject)
    return (await connection.execute(statement)).scalar_one_or_none() in {None, "erased"}
