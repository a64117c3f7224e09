"""Change what is there of one person: within a transaction, on rows that are locked or about to be.

What a person has in the tables, taken away or laid down anew: within a transaction, with the person's row locked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, insert, select, update

from vault.ids import random_id
from vault.subjects.store import PROFILE
from vault.subjects.tables import BLIND_INDEX, EXTERNAL_REF, RECORD, SUBJECT, SUBJECT_ALIAS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.ids import RecordId, SubjectId, TenantId
    from vault.subjects.store import State


async def locked_subject(connection: AsyncConnection, tenant: TenantId, subject: SubjectId) -> Any | None:
    """Fetch a subject's row whose standing is about to be changed; none where there is none."""
    statement = select(SUBJECT).where(SUBJECT.c.tenant_id == tenant, SUBJECT.c.id == subject)
    return (await connection.execute(statement.with_for_update())).one_or_none()


async def set_standing(
    connection: AsyncConnection, tenant: TenantId, subject: SubjectId, standing: bytes | None, *, restricted: bool
) -> None:
    """Write where a person stands, and the state that follows from it."""
    await connection.execute(
        update(SUBJECT)
        .where(SUBJECT.c.tenant_id == tenant, SUBJECT.c.id == subject)
        .values(standing=standing, state="restricted" if restricted else "active")
    )


async def mark_due(connection: AsyncConnection, tenant: TenantId, subjects: Sequence[SubjectId], now: datetime) -> None:
    """Let the next sweep look at people again: they said something, or something of theirs has ended.

    Their profiles stand for all of their records: a person whose profile is due is looked at as a whole. The people's
    rows are locked. What is due already gets the new moment too: by that a sweep which has looked at it sees that it
    has to look again.
    """
    await connection.execute(
        update(RECORD)
        .where(
            RECORD.c.tenant_id == tenant,
            RECORD.c.subject_id.in_(subjects),
            RECORD.c.collection == PROFILE,
        )
        .values(due_at=now)
    )


async def locked_record(
    connection: AsyncConnection, tenant: TenantId, subject: SubjectId, collection: str, record: RecordId
) -> Any | None:
    """Fetch a record that is about to be changed, so that nobody else changes it meanwhile."""
    statement = select(RECORD).where(
        RECORD.c.tenant_id == tenant,
        RECORD.c.subject_id == subject,
        RECORD.c.collection == collection,
        RECORD.c.id == record,
    )
    return (await connection.execute(statement.with_for_update())).one_or_none()


async def record_by_external(
    connection: AsyncConnection, tenant: TenantId, subject: SubjectId, collection: str, digest: bytes | None
) -> Any | None:
    """Fetch the record to which another system's id leads; none without an id."""
    if digest is None:
        return None
    statement = select(RECORD).where(
        RECORD.c.tenant_id == tenant,
        RECORD.c.subject_id == subject,
        RECORD.c.collection == collection,
        RECORD.c.external_digest == digest,
    )
    return (await connection.execute(statement)).one_or_none()


async def change_record(connection: AsyncConnection, row: Any, **changes: Any) -> None:
    """Write a record's new body, revision and times."""
    await connection.execute(
        update(RECORD)
        .where(
            RECORD.c.tenant_id == row.tenant_id,
            RECORD.c.subject_id == row.subject_id,
            RECORD.c.collection == row.collection,
            RECORD.c.id == row.id,
        )
        .values(**changes)
    )


async def change_index(
    connection: AsyncConnection,
    tenant: TenantId,
    subject: SubjectId,
    record: RecordId,
    *,
    gone: Iterable[bytes],
    come: Iterable[bytes],
    version: int,
) -> None:
    """Replace the digests that lead to a record."""
    old, new = set(gone), set(come)
    if old - new:
        await connection.execute(
            delete(BLIND_INDEX).where(
                BLIND_INDEX.c.tenant_id == tenant,
                BLIND_INDEX.c.subject_id == subject,
                BLIND_INDEX.c.record_id == record,
                BLIND_INDEX.c.digest.in_(old - new),
            )
        )
    rows = [
        {"tenant_id": tenant, "digest": digest, "subject_id": subject, "record_id": record, "version": version}
        for digest in new - old
    ]
    if rows:
        await connection.execute(insert(BLIND_INDEX), rows)


async def add_external(connection: AsyncConnection, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert whole rows that lead from other systems' ids to a subject."""
    names = [column.name for column in EXTERNAL_REF.columns]
    await connection.execute(insert(EXTERNAL_REF), [dict(zip(names, row, strict=True)) for row in rows])


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
