"""What two people who are one have in the tables: locked, moved from one to the other, taken away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, insert, select, update

from vault.ids import SubjectId
from vault.subjects.store import GONE
from vault.subjects.tables import BLIND_INDEX, EXTERNAL_REF, RECORD, SUBJECT, SUBJECT_ALIAS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.ids import TenantId
    from vault.storage.database import Database

MOST_AT_ONCE = 1_000


async def locked_subjects(
    connection: AsyncConnection, tenant: TenantId, subjects: Sequence[SubjectId]
) -> dict[SubjectId, Any]:
    """Fetch subjects' rows that are about to be changed.

    They are locked by id: two that want the same people, named in whatever order, wait for each other and never both.
    """
    found = {}
    for start in range(0, len(subjects), MOST_AT_ONCE):
        statement = (
            select(SUBJECT)
            .where(SUBJECT.c.tenant_id == tenant, SUBJECT.c.id.in_(sorted(subjects)[start : start + MOST_AT_ONCE]))
            .order_by(SUBJECT.c.id)
            .with_for_update()
        )
        found.update({SubjectId(row.id): row for row in (await connection.execute(statement)).all()})
    return found


async def still_there(
    connection: AsyncConnection, tenant: TenantId, subjects: Sequence[SubjectId]
) -> frozenset[SubjectId]:
    """Tell which subjects are there, and keep them there until the transaction ends.

    Whoever adds something to a person asks this in the transaction that adds it: otherwise it could arrive right after
    the person was merged into another or erased, and lie there under a key that is gone.
    """
    found: set[SubjectId] = set()
    for start in range(0, len(subjects), MOST_AT_ONCE):
        statement = (
            select(SUBJECT.c.id)
            .where(
                SUBJECT.c.tenant_id == tenant,
                SUBJECT.c.id.in_(sorted(subjects)[start : start + MOST_AT_ONCE]),
                SUBJECT.c.state.not_in(sorted(GONE)),
            )
            .order_by(SUBJECT.c.id)
            .with_for_update(read=True, key_share=True)
        )
        found.update((await connection.execute(statement)).scalars())
    return frozenset(found)


async def all_records(connection: AsyncConnection, tenant: TenantId, subject: SubjectId) -> list[Any]:
    """Fetch every record of a person, to be changed: by collection, the oldest first."""
    statement = (
        select(RECORD)
        .where(RECORD.c.tenant_id == tenant, RECORD.c.subject_id == subject)
        .order_by(RECORD.c.collection, RECORD.c.id)
    )
    return list((await connection.execute(statement.with_for_update())).all())


async def records_by_external(
    connection: AsyncConnection, tenant: TenantId, subject: SubjectId, digests: Sequence[bytes]
) -> dict[tuple[str, bytes], Any]:
    """Fetch a person's records to which other systems' ids lead, by collection and digest."""
    found = {}
    for start in range(0, len(digests), MOST_AT_ONCE):
        statement = select(RECORD).where(
            RECORD.c.tenant_id == tenant,
            RECORD.c.subject_id == subject,
            RECORD.c.external_digest.in_(digests[start : start + MOST_AT_ONCE]),
        )
        for row in (await connection.execute(statement)).all():
            found[row.collection, row.external_digest] = row
    return found


async def take_away(connection: AsyncConnection, tenant: TenantId, subject: SubjectId) -> None:
    """Delete a person's records and what leads to them, and leave the bare row: its pseudonym is on the audit log."""
    for table in (RECORD, BLIND_INDEX):
        await connection.execute(delete(table).where(table.c.tenant_id == tenant, table.c.subject_id == subject))
    await connection.execute(
        update(SUBJECT)
        .where(SUBJECT.c.tenant_id == tenant, SUBJECT.c.id == subject)
        .values(state="erased", standing=None)
    )


async def lead_to(
    connection: AsyncConnection,
    tenant: TenantId,
    *,
    old: SubjectId,
    new: SubjectId,
    entry: UUID,
    now: datetime,
) -> None:
    """Let everything that led to one person lead to another: other systems' ids, the id itself, earlier aliases."""
    for table in (EXTERNAL_REF, SUBJECT_ALIAS):
        await connection.execute(
            update(table).where(table.c.tenant_id == tenant, table.c.subject_id == old).values(subject_id=new)
        )
    row = {"tenant_id": tenant, "alias_id": old, "subject_id": new, "entry_id": entry, "created_at": now}
    await connection.execute(insert(SUBJECT_ALIAS), [row])


async def merged_into(connection: AsyncConnection, tenant: TenantId, subject: SubjectId) -> SubjectId | None:
    """Tell into whom a person was merged; none for whoever was not."""
    statement = select(SUBJECT_ALIAS.c.subject_id).where(
        SUBJECT_ALIAS.c.tenant_id == tenant, SUBJECT_ALIAS.c.alias_id == subject
    )
    found = (await connection.execute(statement)).scalar_one_or_none()
    return None if found is None else SubjectId(found)


async def newest_aliases(database: Database, tenant: TenantId, *, most: int) -> list[SubjectId]:
    """List the people who were merged into others last."""
    statement = (
        select(SUBJECT_ALIAS.c.alias_id)
        .where(SUBJECT_ALIAS.c.tenant_id == tenant)
        .order_by(SUBJECT_ALIAS.c.created_at.desc())
        .limit(most)
    )
    async with database.reading() as connection:
        return [SubjectId(each) for each in (await connection.execute(statement)).scalars()]
