"""What a person has in the tables, taken away or laid down anew: within a transaction, with the person's row locked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, select, update

from vault.ids import random_id
from vault.subjects.tables import BLIND_INDEX, EXTERNAL_REF, RECORD, SUBJECT, SUBJECT_ALIAS

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.ids import SubjectId, TenantId
    from vault.subjects.store import State


async def person(connection: AsyncConnection, tenant: TenantId, subject: SubjectId) -> Any | None:
    """Fetch a person's row, unlocked; none where there is none."""
    statement = select(SUBJECT).where(SUBJECT.c.tenant_id == tenant, SUBJECT.c.id == subject)
    return (await connection.execute(statement)).one_or_none()


async def records_of(connection: AsyncConnection, tenant: TenantId, subject: SubjectId) -> list[Any]:
    """Fetch every record of a person, to look at: by collection, the oldest first."""
    statement = select(RECORD).where(RECORD.c.tenant_id == tenant, RECORD.c.subject_id == subject)
    return list((await connection.execute(statement.order_by(RECORD.c.collection, RECORD.c.id))).all())


async def aliases_of(connection: AsyncConnection, tenant: TenantId, subject: SubjectId) -> list[UUID]:
    """List the ids of people who were merged into this one."""
    statement = select(SUBJECT_ALIAS.c.alias_id).where(
        SUBJECT_ALIAS.c.tenant_id == tenant, SUBJECT_ALIAS.c.subject_id == subject
    )
    return list((await connection.execute(statement)).scalars())


async def clear_records(connection: AsyncConnection, tenant: TenantId, subject: SubjectId) -> None:
    """Delete all of a person's records and the digests that lead to them; what stays is then laid down anew."""
    for table in (RECORD, BLIND_INDEX):
        await connection.execute(delete(table).where(table.c.tenant_id == tenant, table.c.subject_id == subject))


async def clear_external(connection: AsyncConnection, tenant: TenantId, subject: SubjectId) -> None:
    """Delete what leads from other systems' ids to a person."""
    await connection.execute(
        delete(EXTERNAL_REF).where(EXTERNAL_REF.c.tenant_id == tenant, EXTERNAL_REF.c.subject_id == subject)
    )


async def clear_aliases(connection: AsyncConnection, tenant: TenantId, subject: SubjectId) -> None:
    """Delete what leads from people who were merged into this one; their own bare rows stay."""
    await connection.execute(
        delete(SUBJECT_ALIAS).where(SUBJECT_ALIAS.c.tenant_id == tenant, SUBJECT_ALIAS.c.subject_id == subject)
    )


async def close_person(
    connection: AsyncConnection, tenant: TenantId, subject: SubjectId, *, state: State, standing: bytes | None
) -> None:
    """Give an erased person the state, and a pseudonym that leads to nothing: the old one is nowhere but on the log."""
    await connection.execute(
        update(SUBJECT)
        .where(SUBJECT.c.tenant_id == tenant, SUBJECT.c.id == subject)
        .values(state=state, standing=standing, pseudonym=random_id())
    )


async def count_left(connection: AsyncConnection, tenant: TenantId, subject: SubjectId) -> dict[str, int]:
    """Count what still leads to a person, by table."""
    found = {}
    for table in (RECORD, BLIND_INDEX, EXTERNAL_REF, SUBJECT_ALIAS):
        statement = select(func.count()).select_from(table)
        statement = statement.where(table.c.tenant_id == tenant, table.c.subject_id == subject)
        found[str(table.name)] = (await connection.execute(statement)).scalar_one()
    return found
