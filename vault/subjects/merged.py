"""Rows of subjects that are merged: lock them, move them from one subject to the other, delete them."""

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
    """Fetch and lock the rows of subjects, in the order of their ids, so that concurrent calls do not deadlock."""
    rows = {}
    for start in range(0, len(subjects), MOST_AT_ONCE):
        statement = (
            select(SUBJECT)
            .where(SUBJECT.c.tenant_id == tenant, SUBJECT.c.id.in_(sorted(subjects)[start : start + MOST_AT_ONCE]))
            .order_by(SUBJECT.c.id)
            .with_for_update()
        )
        rows.update({SubjectId(row.id): row for row in (await connection.execute(statement)).all()})
    return rows


async def still_there(
    connection: AsyncConnection, tenant: TenantId, subjects: Sequence[SubjectId]
) -> frozenset[SubjectId]:
    """Return the subjects that exist, and lock them against erasure and merges until the transaction ends.

    Every write to a subject calls this in its transaction. Otherwise it could add data right after the subject was
    erased or merged, sealed under a key that is destroyed.
    """
    existing: set[SubjectId] = set()
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
        existing.update((await connection.execute(statement)).scalars())
    return frozenset(existing)


async def all_records(connection: AsyncConnection, tenant: TenantId, subject: SubjectId) -> list[Any]:
    """Fetch and lock every record of a subject: by collection, the oldest first."""
    statement = (
        select(RECORD)
        .where(RECORD.c.tenant_id == tenant, RECORD.c.subject_id == subject)
        .order_by(RECORD.c.collection, RECORD.c.id)
    )
    return list((await connection.execute(statement.with_for_update())).all())


async def records_by_external(
    connection: AsyncConnection, tenant: TenantId, subject: SubjectId, digests: Sequence[bytes]
) -> dict[tuple[str, bytes], Any]:
    """Fetch a subject's records with other systems' ids, by collection and digest."""
    records = {}
    for start in range(0, len(digests), MOST_AT_ONCE):
        statement = select(RECORD).where(
            RECORD.c.tenant_id == tenant,
            RECORD.c.subject_id == subject,
            RECORD.c.external_digest.in_(digests[start : start + MOST_AT_ONCE]),
        )
        for row in (await connection.execute(statement)).all():
            records[row.collection, row.external_digest] = row
    return records


async def take_away(connection: AsyncConnection, tenant: TenantId, subject: SubjectId) -> None:
    """Delete a subject's records and blind index. Its bare row stays: the pseudonym is in the audit log."""
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
    """Redirect one subject to another: other systems' ids, earlier aliases, and the id itself."""
    for table in (EXTERNAL_REF, SUBJECT_ALIAS):
        await connection.execute(
            update(table).where(table.c.tenant_id == tenant, table.c.subject_id == old).values(subject_id=new)
        )
    row = {"tenant_id": tenant, "alias_id": old, "subject_id": new, "entry_id": entry, "created_at": now}
    await connection.execute(insert(SUBJECT_ALIAS), [row])


async def merged_into(connection: AsyncConnection, tenant: TenantId, subject: SubjectId) -> SubjectId | None:
    """Return the subject into which this one was merged, or None."""
    statement = select(SUBJECT_ALIAS.c.subject_id).where(
        SUBJECT_ALIAS.c.tenant_id == tenant, SUBJECT_ALIAS.c.alias_id == subject
    )
    survivor = (await connection.execute(statement)).scalar_one_or_none()
    return None if survivor is None else SubjectId(survivor)


async def newest_aliases(database: Database, tenant: TenantId, *, most: int) -> list[SubjectId]:
    """Return the subjects that were merged most recently."""
    statement = (
        select(SUBJECT_ALIAS.c.alias_id)
        .where(SUBJECT_ALIAS.c.tenant_id == tenant)
        .order_by(SUBJECT_ALIAS.c.created_at.desc())
        .limit(most)
    )
    async with database.reading() as connection:
        return [SubjectId(alias) for alias in (await connection.execute(statement)).scalars()]
