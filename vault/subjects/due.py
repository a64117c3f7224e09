"""Records at which a sweep of retention is to look, by ``due_at``: found, fetched with their people's, put off."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

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
    from vault.storage.database import Database

DUE_AT_ONCE: Final = 4_000
"""Due records that are looked through for the people of one batch."""
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
    """A record that was looked at: where it is, as it was then, and when it is to be looked at next."""

    subject: SubjectId
    collection: str
    record: RecordId
    revision: int
    seen: datetime | None
    due: datetime


async def due_people(database: Database, tenant: TenantId, until: datetime, *, most: int) -> list[SubjectId]:
    """Pick people of whom a record is due by a moment, the longest due first, in the order of their ids."""
    rows = await database.fetch(_DUE, tenant=tenant, until=until)
    return sorted(islice(dict.fromkeys(row[0] for row in rows), most), key=lambda each: each.bytes)


async def due_people_after(
    database: Database, tenant: TenantId, until: datetime, *, after: UUID, most: int
) -> list[SubjectId]:
    """Pick people of whom a record is due by a moment, in the order of their ids, after one of them."""
    return [row[0] for row in await database.fetch(_DUE_AFTER, tenant=tenant, until=until, after=after, most=most)]


async def people_after(database: Database, tenant: TenantId, *, after: UUID, most: int) -> list[SubjectId]:
    """Pick people in the order of their ids, after one of them."""
    return [row[0] for row in await database.fetch(_EVERYBODY, tenant=tenant, after=after, most=most)]


async def count_people(database: Database, tenant: TenantId, until: datetime | None) -> int:
    """Count the people of whom a record is due by a moment; without a moment, everybody."""
    if until is None:
        statement = select(func.count()).select_from(SUBJECT).where(SUBJECT.c.tenant_id == tenant)
    else:
        people = func.count(func.distinct(RECORD.c.subject_id))
        statement = select(people).where(RECORD.c.tenant_id == tenant, RECORD.c.due_at <= until)
    async with database.reading() as connection:
        found: int = (await connection.execute(statement)).scalar_one()
    return found


async def rows_of_people(connection: AsyncConnection, tenant: TenantId, subjects: Sequence[SubjectId]) -> list[Any]:
    """Fetch people's own rows, in the order of their ids."""
    statement = select(SUBJECT).where(SUBJECT.c.tenant_id == tenant, SUBJECT.c.id.in_(subjects))
    return list((await connection.execute(statement.order_by(SUBJECT.c.id))).all())


async def records_of_people(
    connection: AsyncConnection, tenant: TenantId, subjects: Sequence[SubjectId], until: datetime | None = None
) -> dict[SubjectId, list[Any]]:
    """Fetch people's records by person: all of them, or those due by a moment.

    Of whom the profile is due, all records are: it stands for them.
    """
    mine = RECORD.c.tenant_id == tenant, RECORD.c.subject_id.in_(subjects)
    statement = select(RECORD).where(*mine)
    if until is not None:
        profile = RECORD.alias()
        whole = select(profile.c.subject_id).where(
            profile.c.tenant_id == tenant,
            profile.c.subject_id.in_(subjects),
            profile.c.collection == PROFILE,
            profile.c.due_at <= until,
        )
        statement = statement.where(or_(RECORD.c.due_at <= until, RECORD.c.subject_id.in_(whole)))
    found: dict[SubjectId, list[Any]] = {subject: [] for subject in subjects}
    for row in (await connection.execute(statement.order_by(RECORD.c.collection, RECORD.c.id))).all():
        found[SubjectId(row.subject_id)].append(row)
    return found


async def put_off(database: Database, connection: AsyncConnection, tenant: TenantId, rows: Sequence[PutOff]) -> None:
    """Write down when records are to be looked at next; one that has changed since it was looked at stays as it is.

    The people's rows are locked: nobody else waits for these records in another order.
    """
    if not rows:
        return
    if database.dialect == "postgresql":
        await connection.execute(_PUT_OFF, {"tenant": tenant, **_columns(rows)})
        return
    values = [(each.due, tenant, *each[:5]) for each in rows]
    await connection.exec_driver_sql(_PUT_OFF_SQLITE, [tuple(map(native, row)) for row in values])


async def put_off_people(
    connection: AsyncConnection, tenant: TenantId, subjects: Sequence[SubjectId], due: datetime
) -> None:
    """Let a sweep look at people again at a moment, whatever it found; their rows are locked."""
    if subjects:
        mine = RECORD.c.tenant_id == tenant, RECORD.c.subject_id.in_(subjects)
        await connection.execute(update(RECORD).where(*mine).values(due_at=due))


async def make_due(
    connection: AsyncConnection, tenant: TenantId, records: Iterable[tuple[SubjectId, str, RecordId]], now: datetime
) -> None:
    """Let a sweep look at records that were not due yet."""
    rows = [
        {"whose": subject, "of": collection, "record": record, "now": now}
        for subject, collection, record in sorted(records, key=lambda each: (each[0].bytes, each[1], each[2].bytes))
    ]
    if rows:
        mine = RECORD.c.subject_id == bindparam("whose"), RECORD.c.collection == bindparam("of")
        this = RECORD.c.id == bindparam("record"), RECORD.c.due_at > bindparam("now")
        statement = update(RECORD).where(RECORD.c.tenant_id == tenant, *mine, *this)
        await connection.execute(statement.values(due_at=bindparam("now")), rows)


async def count_records(
    connection: AsyncConnection, tenant: TenantId, subjects: Sequence[SubjectId]
) -> dict[SubjectId, int]:
    """Count people's records by person; who has none is left out."""
    statement = select(RECORD.c.subject_id, func.count()).where(
        RECORD.c.tenant_id == tenant, RECORD.c.subject_id.in_(subjects)
    )
    return {row[0]: row[1] for row in (await connection.execute(statement.group_by(RECORD.c.subject_id))).all()}


def _columns(rows: Iterable[PutOff]) -> dict[str, list[Any]]:
    names = ("subjects", "collections", "records", "revisions", "seen", "due")
    return dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))


def _listed(name: str, kind: Any) -> Any:
    return func.unnest(bindparam(name, type_=ARRAY(kind)))


_looked = select(
    _listed("subjects", Id()).label("subject_id"),
    _listed("collections", String()).label("collection"),
    _listed("records", Id()).label("id"),
    _listed("revisions", Integer()).label("revision"),
    _listed("seen", Moment()).label("seen"),
    _listed("due", Moment()).label("due"),
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
