"""Read, lock and change the rows of subjects. Every function runs in the transaction of the caller."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import bindparam, delete, insert, select, update

from vault.ids import Pseudonym, SubjectId, random_id
from vault.storage.query import insert_into
from vault.subjects.store import PROFILE, StoredSubject
from vault.subjects.tables import BLIND_INDEX, EXTERNAL_REF, RECORD, SUBJECT, SUBJECT_ALIAS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.ids import RecordId, TenantId
    from vault.storage.columns import AnyRow
    from vault.storage.database import Database
    from vault.subjects.store import State

MOST_AT_ONCE: Final = 1_000
"""Ids in one statement."""


async def locked_subject(connection: AsyncConnection, tenant: TenantId, subject: SubjectId) -> AnyRow | None:
    """Fetch and lock a subject's row; None if there is none."""
    statement = select(SUBJECT).where(SUBJECT.c.tenant_id == tenant, SUBJECT.c.id == subject)
    return (await connection.execute(statement.with_for_update())).one_or_none()


async def locked_subjects(
    connection: AsyncConnection, tenant: TenantId, subjects: Sequence[SubjectId]
) -> dict[SubjectId, AnyRow]:
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


async def shared_subjects(
    connection: AsyncConnection, tenant: TenantId, subjects: Sequence[SubjectId]
) -> dict[SubjectId, StoredSubject]:
    """Fetch the rows of subjects, and lock them against change until the transaction ends; writers share the lock.

    Every write to a subject calls this in its transaction, or :func:`locked_subjects`. Otherwise it could add data
    right after the subject was erased or merged, sealed under a key that is destroyed, or right after the person
    withdrew their consent.
    """
    rows: dict[SubjectId, StoredSubject] = {}
    for start in range(0, len(subjects), MOST_AT_ONCE):
        statement = (
            select(SUBJECT)
            .where(SUBJECT.c.tenant_id == tenant, SUBJECT.c.id.in_(sorted(subjects)[start : start + MOST_AT_ONCE]))
            .order_by(SUBJECT.c.id)
            .with_for_update(read=True)
        )
        rows.update({SubjectId(row.id): stored_subject(row) for row in (await connection.execute(statement)).all()})
    return rows


def stored_subject(row: AnyRow) -> StoredSubject:
    """Return a subject's row as the store returns it, without its records."""
    return StoredSubject(
        id=SubjectId(row.id),
        pseudonym=Pseudonym(row.pseudonym),
        state=row.state,
        profile=None,
        many={},
        standing=row.standing,
    )


async def set_standing(
    connection: AsyncConnection, tenant: TenantId, subject: SubjectId, standing: bytes | None, *, restricted: bool
) -> None:
    """Store a subject's consent state, and the state of the subject that follows from it."""
    await connection.execute(
        update(SUBJECT)
        .where(SUBJECT.c.tenant_id == tenant, SUBJECT.c.id == subject)
        .values(standing=standing, state="restricted" if restricted else "active")
    )


async def mark_due(connection: AsyncConnection, tenant: TenantId, subjects: Sequence[SubjectId], now: datetime) -> None:
    """Mark subjects for the next sweep, because a consent, an objection or a hold of theirs has changed.

    A subject whose profile is due is evaluated as a whole. The subjects' rows are locked. Profiles that are due already
    get the new time too: a sweep in progress notices by it that it has to evaluate the subject again.
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
) -> AnyRow | None:
    """Fetch and lock a record; None if there is none."""
    statement = select(RECORD).where(
        RECORD.c.tenant_id == tenant,
        RECORD.c.subject_id == subject,
        RECORD.c.collection == collection,
        RECORD.c.id == record,
    )
    return (await connection.execute(statement.with_for_update())).one_or_none()


async def record_by_external(
    connection: AsyncConnection, tenant: TenantId, subject: SubjectId, collection: str, digest: bytes | None
) -> AnyRow | None:
    """Fetch the record with another system's id; None if there is none."""
    if digest is None:
        return None
    statement = select(RECORD).where(
        RECORD.c.tenant_id == tenant,
        RECORD.c.subject_id == subject,
        RECORD.c.collection == collection,
        RECORD.c.external_digest == digest,
    )
    return (await connection.execute(statement)).one_or_none()


async def records_by_external(
    connection: AsyncConnection, tenant: TenantId, subject: SubjectId, digests: Sequence[bytes]
) -> dict[tuple[str, bytes], AnyRow]:
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


async def change_record(connection: AsyncConnection, row: AnyRow, **changes: object) -> None:
    """Update columns of a record."""
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


class IndexChange(NamedTuple):
    """A change of the digests that lead to a locked record.

    Attributes:
        gone: of the values that the record no longer has.
        come: of the values that it has now, as far as they are written.
        stay: of its other values. Only those are needed that may be equal to one of ``gone`` by chance.
    """

    row: AnyRow
    gone: frozenset[bytes]
    come: frozenset[bytes]
    stay: frozenset[bytes] = frozenset()


async def change_index(connection: AsyncConnection, changes: Sequence[IndexChange], version: int) -> None:
    """Replace digests in the blind indexes of records. A digest goes only if no value of the record has it any more."""
    gone, come = [], []
    for change in changes:
        row = change.row
        key = {"b_tenant": row.tenant_id, "b_subject": row.subject_id, "b_record": row.id}
        gone += [{**key, "b_digest": digest} for digest in sorted(change.gone - change.come - change.stay)]
        key = {"tenant_id": row.tenant_id, "subject_id": row.subject_id, "record_id": row.id, "version": version}
        come += [{**key, "digest": digest} for digest in sorted(change.come)]
    if gone:
        await connection.execute(_UNINDEX, gone)
    if come:
        # Another value of the record may have the digest already. The former values do not say which digests are there:
        # their fields may not have been indexed when they were written.
        statement = insert_into(BLIND_INDEX, connection.dialect.name).on_conflict_do_nothing()
        await connection.execute(statement, come)


_UNINDEX: Final = delete(BLIND_INDEX).where(
    BLIND_INDEX.c.tenant_id == bindparam("b_tenant"),
    BLIND_INDEX.c.digest == bindparam("b_digest"),
    BLIND_INDEX.c.subject_id == bindparam("b_subject"),
    BLIND_INDEX.c.record_id == bindparam("b_record"),
)


async def add_external(connection: AsyncConnection, rows: Sequence[tuple[object, ...]]) -> None:
    """Insert references from other systems' ids to a subject."""
    names = [column.name for column in EXTERNAL_REF.columns]
    await connection.execute(insert(EXTERNAL_REF), [dict(zip(names, row, strict=True)) for row in rows])


async def person(connection: AsyncConnection, tenant: TenantId, subject: SubjectId) -> AnyRow | None:
    """Fetch a subject's row without a lock; None if there is none."""
    statement = select(SUBJECT).where(SUBJECT.c.tenant_id == tenant, SUBJECT.c.id == subject)
    return (await connection.execute(statement)).one_or_none()


async def records_of(
    connection: AsyncConnection, tenant: TenantId, subject: SubjectId, *, lock: bool = False
) -> list[AnyRow]:
    """Fetch every record of a subject: by collection, the oldest first. With ``lock`` they are locked."""
    statement = select(RECORD).where(RECORD.c.tenant_id == tenant, RECORD.c.subject_id == subject)
    statement = statement.order_by(RECORD.c.collection, RECORD.c.id)
    return list((await connection.execute(statement.with_for_update() if lock else statement)).all())


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


async def aliases_of(
    connection: AsyncConnection, tenant: TenantId, subjects: Sequence[SubjectId]
) -> dict[SubjectId, list[UUID]]:
    """Return the ids of subjects that were merged into these; subjects without any are left out."""
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
    """Set the last state of erased subjects, and new pseudonyms: the old ones then exist in the audit log only."""
    rows = [
        {"of": subject, "state_": state, "standing_": standing, "pseudonym_": random_id()}
        for subject, (state, standing) in sorted(closings.items(), key=lambda closing: closing[0].bytes)
    ]
    if rows:
        statement = update(SUBJECT).where(SUBJECT.c.tenant_id == tenant, SUBJECT.c.id == bindparam("of"))
        statement = statement.values(
            state=bindparam("state_"), standing=bindparam("standing_"), pseudonym=bindparam("pseudonym_")
        )
        await connection.execute(statement, rows)
