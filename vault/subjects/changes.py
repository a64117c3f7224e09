"""Change what is there of one person: within a transaction, on rows that are locked or about to be.

What a person has in the tables, taken away or laid down anew: within a transaction, with the person's row locked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, delete, insert, select, update

from vault.ids import SubjectId, random_id
from vault.subjects.store import PROFILE
from vault.subjects.tables import BLIND_INDEX, EXTERNAL_REF, RECORD, SUBJECT, SUBJECT_ALIAS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.ids import RecordId, TenantId
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


async def aliases_of(
    connection: AsyncConnection, tenant: TenantId, subjects: Sequence[SubjectId]
) -> dict[SubjectId, list[UUID]]:
    """List the ids of people who were merged into these; those without any are left out."""
    statement = select(SUBJECT_ALIAS.c.alias_id, SUBJECT_ALIAS.c.subject_id).where(
        SUBJECT_ALIAS.c.tenant_id == tenant, SUBJECT_ALIAS.c.subject_id.in_(subjects)
    )
    aliases: dict[SubjectId, list[UUID]] = {}
    for alias, subject in (await connection.execute(statement)).all():
        aliases.setdefault(SubjectId(subject), []).append(alias)
    return aliases


async def close_subjects(
    connection: AsyncConnection, tenant: TenantId, closings: Mapping[SubjectId, tuple[State, bytes | None]]
) -> None:
    """Write the last state of erased people, and a pseudonym that leads to nothing: the old one is on the audit log."""
    rows = [
        {"of": subject, "state_": state, "standing_": standing, "pseudonym_": random_id()}
        for subject, (state, standing) in sorted(closings.items(), key=lambda closing: closing[0].bytes)
    ]
    if rows:
        statement = update(SUBJECT).where(SUBJECT.c.tenant_id == tenant, SUBJECT.c.id == bindparam("of"))
        changes: dict[str, Any] = {name: bindparam(f"{name}_") for name in ("state", "standing", "pseudonym")}
        await connection.execute(statement.values(changes), rows)
