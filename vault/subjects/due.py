"""Records that a retention sweep has to evaluate, by ``due_at``: find them, fetch them by subject, postpone them."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import ARRAY, Integer, String, bindparam, func, or_, select, update

from vault.ids import SubjectId
from vault.storage.columns import Id, Moment
from vault.storage.query import Query, native
from vault.subjects.store import PROFILE
from vault.subjects.tables import RECORD, SUBJECT

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.ids import RecordId, TenantId
    from vault.storage.columns import AnyRow
    from vault.storage.database import Database

DUE_AT_ONCE: Final = 4_000
"""Due records from which the subjects of one batch are taken."""
_DUE: Final = Query(
    select(RECORD.c.subject_id)
    .where(RECORD.c.tenant_id == bindparam("tenant"), RECORD.c.due_at <= bindparam("until"))
    .order_by(RECORD.c.due_at)
    .limit(DUE_AT_ONCE)
)
_DUE_AFTER: Final = Query(
    select(RECORD.c.subject_id)
    .where(
        RECORD.c.tenant_id == bindparam("tenant"),
        RECORD.c.subject_id > bindparam("after"),
        RECORD.c.due_at <= bindparam("until"),
    )
    .distinct()
    .order_by(RECORD.c.subject_id)
    .limit(bindparam("most"))
)
_EVERYBODY: Final = Query(
    select(SUBJECT.c.id)
    .where(SUBJECT.c.tenant_id == bindparam("tenant"), SUBJECT.c.id > bindparam("after"))
    .order_by(SUBJECT.c.id)
    .limit(bindparam("most"))
)


class PutOff(NamedTuple):
    """A record that was evaluated: its key, its revision and due time then, and when it is due next."""

    subject: SubjectId
    collection: str
    record: RecordId
    revision: int
    seen: datetime | None
    due: datetime


async def due_people(database: Database, tenant: TenantId, until: datetime, *, most: int) -> list[SubjectId]:
    """Return subjects with a record that is due by a time: those due the longest, in the order of their ids."""
    rows = await database.fetch(_DUE, tenant=tenant, until=until)
    return sorted(islice(dict.fromkeys(row[0] for row in rows), most), key=lambda subject: subject.bytes)


async def due_people_after(
    database: Database, tenant: TenantId, until: datetime, *, after: UUID, most: int
) -> list[SubjectId]:
    """Return subjects with a record that is due by a time, in the order of their ids, after a given one."""
    return [row[0] for row in await database.fetch(_DUE_AFTER, tenant=tenant, until=until, after=after, most=most)]


async def people_after(database: Database, tenant: TenantId, *, after: UUID, most: int) -> list[SubjectId]:
    """Return subjects in the order of their ids, after a given one."""
    return [row[0] for row in await database.fetch(_EVERYBODY, tenant=tenant, after=after, most=most)]


async def count_people(database: Database, tenant: TenantId, until: datetime | None) -> int:
    """Count the subjects with a record that is due by a time; without a time, all subjects."""
    if until is None:
        statement = select(func.count()).select_from(SUBJECT).where(SUBJECT.c.tenant_id == tenant)
    else:
        people = func.count(func.distinct(RECORD.c.subject_id))
        statement = select(people).where(RECORD.c.tenant_id == tenant, RECORD.c.due_at <= until)
    async with database.reading() as connection:
        count: int = (await connection.execute(statement)).scalar_one()
    return count


async def records_of_people(
    connection: AsyncConnection, tenant: TenantId, subjects: Sequence[SubjectId], until: datetime | None = None
) -> dict[SubjectId, list[AnyRow]]:
    """Fetch the records of people, by person: all of them, or those due by a moment.

    If the profile of a person is due, all records of the person are.
    """
    of_subjects = RECORD.c.tenant_id == tenant, RECORD.c.subject_id.in_(subjects)
    statement = select(RECORD).where(*of_subjects)
    if until is not None:
        profile = RECORD.alias()
        whole = select(profile.c.subject_id).where(
            profile.c.tenant_id == tenant,
            profile.c.subject_id.in_(subjects),
            profile.c.collection == PROFILE,
            profile.c.due_at <= until,
        )
        statement = statement.where(or_(RECORD.c.due_at <= until, RECORD.c.subject_id.in_(whole)))
    found: dict[SubjectId, list[AnyRow]] = {subject: [] for subject in subjects}
    for row in (await connection.execute(statement.order_by(RECORD.c.collection, RECORD.c.id))).all():
        found[SubjectId(row.subject_id)].append(row)
    return found


async def put_off(database: Database, connection: AsyncConnection, tenant: TenantId, rows: Sequence[PutOff]) -> None:
    """Store when records are due next. A record that has changed since it was evaluated stays due.

    The subjects' rows are locked, so the order of the records cannot deadlock.
    """
    if not rows:
        return
    if database.dialect == "postgresql":
        await connection.execute(_PUT_OFF, {"tenant": tenant, **_columns(rows)})
        return
    values = [(row.due, tenant, *row[:5]) for row in rows]
    await connection.exec_driver_sql(_PUT_OFF_SQLITE, [tuple(map(native, row)) for row in values])


async def put_off_people(
    connection: AsyncConnection, tenant: TenantId, subjects: Sequence[SubjectId], due: datetime
) -> None:
    """Set when subjects are due next; their rows are locked."""
    if subjects:
        where = RECORD.c.tenant_id == tenant, RECORD.c.subject_id.in_(subjects)
        await connection.execute(update(RECORD).where(*where).values(due_at=due))


async def make_due(
    connection: AsyncConnection, tenant: TenantId, records: Iterable[tuple[SubjectId, str, RecordId]], now: datetime
) -> None:
    """Make records due that are not due yet."""
    rows = [
        {"subject": subject, "in_collection": collection, "record": record, "now": now}
        for subject, collection, record in sorted(records, key=lambda key: (key[0].bytes, key[1], key[2].bytes))
    ]
    if rows:
        statement = update(RECORD).where(
            RECORD.c.tenant_id == tenant,
            RECORD.c.subject_id == bindparam("subject"),
            RECORD.c.collection == bindparam("in_collection"),
            RECORD.c.id == bindparam("record"),
            RECORD.c.due_at > bindparam("now"),
        )
        await connection.execute(statement.values(due_at=bindparam("now")), rows)


async def count_records(
    connection: AsyncConnection, tenant: TenantId, subjects: Sequence[SubjectId]
) -> dict[SubjectId, int]:
    """Count the records of each subject; subjects without records are left out."""
    statement = select(RECORD.c.subject_id, func.count()).where(
        RECORD.c.tenant_id == tenant, RECORD.c.subject_id.in_(subjects)
    )
    return {row[0]: row[1] for row in (await connection.execute(statement.group_by(RECORD.c.subject_id))).all()}


def _columns(rows: Iterable[PutOff]) -> dict[str, list[object]]:
    names = ("subjects", "collections", "records", "revisions", "seen", "due")
    return dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))


_looked = select(
    *(
        func.unnest(bindparam(parameter, type_=ARRAY(kind))).label(name)
        for parameter, name, kind in (
            ("subjects", "subject_id", Id()),
            ("collections", "collection", String()),
            ("records", "id", Id()),
            ("revisions", "revision", Integer()),
            ("seen", "seen", Moment()),
            ("due", "due", Moment()),
        )
    )
).subquery("looked")
_PUT_OFF: Final = (
    update(RECORD)
    .where(
        RECORD.c.tenant_id == bindparam("tenant"),
        RECORD.c.subject_id == _looked.c.subject_id,
        RECORD.c.collection == _looked.c.collection,
        RECORD.c.id == _looked.c.id,
        RECORD.c.revision == _looked.c.revision,
        RECORD.c.due_at.is_not_distinct_from(_looked.c.seen),
    )
    .values(due_at=_looked.c.due)
)
_PUT_OFF_SQLITE: Final = (
    "UPDATE record SET due_at = ? WHERE tenant_id = ? AND subject_id = ? AND collection = ? AND id = ? "
    "AND revision = ? AND due_at IS ?"
)
