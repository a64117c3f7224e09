"""Find subjects and their records; write them. Values are sealed before they come here and opened after they left."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from sqlalchemy import bindparam, delete, func, insert, select, update

from vault.storage.batcher import Batcher
from vault.storage.query import Query, any_of
from vault.subjects.tables import BLIND_INDEX, EXTERNAL_REF, RECORD, SUBJECT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.ids import Pseudonym, RecordId, SubjectId, TenantId
    from vault.storage.database import Database

PROFILE = "profile"
MOST_RECORDS = 100
"""Records of one collection that a read shows, newest first; more are listed page by page."""

State = Literal["active", "restricted", "erased"]


class Row(NamedTuple):
    """A record as it lies in the database."""

    collection: str
    id: RecordId
    revision: int
    body: bytes


class Found(NamedTuple):
    """A subject with those of its records that were asked for; of the profile, its body."""

    id: SubjectId
    pseudonym: Pseudonym
    state: State
    profile: bytes | None
    many: Mapping[str, list[Row]]


class Wanted(NamedTuple):
    """Which subjects of a tenant, with which of their records."""

    tenant: TenantId
    subjects: tuple[SubjectId, ...]
    profile: bool
    many: tuple[str, ...] = ()


_SUBJECTS = Query(
    select(SUBJECT.c.id, SUBJECT.c.pseudonym, SUBJECT.c.state).where(
        SUBJECT.c.tenant_id == bindparam("tenant"), any_of(SUBJECT.c.id, "subjects")
    )
)
_body = (
    select(RECORD.c.body)
    .where(
        RECORD.c.tenant_id == SUBJECT.c.tenant_id,
        RECORD.c.subject_id == SUBJECT.c.id,
        RECORD.c.collection == PROFILE,
        RECORD.c.id == SUBJECT.c.id,
    )
    .scalar_subquery()
)
# A subquery for each row, and not a join: right after a large import, before PostgreSQL has counted the rows, its
# planner takes the joined table for almost empty and goes through all of it for every subject.
_PROFILES = Query(
    select(SUBJECT.c.id, SUBJECT.c.pseudonym, SUBJECT.c.state, _body).where(
        SUBJECT.c.tenant_id == bindparam("tenant"), any_of(SUBJECT.c.id, "subjects")
    )
)
_REVISION = Query(
    select(RECORD.c.revision).where(
        RECORD.c.tenant_id == bindparam("tenant"),
        RECORD.c.subject_id == bindparam("subject"),
        RECORD.c.collection == PROFILE,
        RECORD.c.id == bindparam("subject"),
    )
)
_ranked = (
    select(
        RECORD.c.subject_id,
        RECORD.c.collection,
        RECORD.c.id,
        RECORD.c.revision,
        RECORD.c.body,
        func.row_number()
        .over(partition_by=(RECORD.c.subject_id, RECORD.c.collection), order_by=RECORD.c.id.desc())
        .label("rank"),
    )
    .where(
        RECORD.c.tenant_id == bindparam("tenant"),
        any_of(RECORD.c.subject_id, "subjects"),
        any_of(RECORD.c.collection, "collections"),
    )
    .subquery()
)
_NEWEST = Query(
    select(_ranked.c.subject_id, _ranked.c.collection, _ranked.c.id, _ranked.c.revision, _ranked.c.body)
    .where(_ranked.c.rank <= MOST_RECORDS + 1)
    .order_by(_ranked.c.id.desc())
)
_BY_DIGEST = Query(
    select(BLIND_INDEX.c.subject_id, BLIND_INDEX.c.record_id)
    .where(BLIND_INDEX.c.tenant_id == bindparam("tenant"), BLIND_INDEX.c.digest == bindparam("digest"))
    .order_by(BLIND_INDEX.c.subject_id)
    .limit(bindparam("most"))
)
_ROWS = Query(
    select(RECORD.c.subject_id, RECORD.c.collection, RECORD.c.id, RECORD.c.revision, RECORD.c.body).where(
        RECORD.c.tenant_id == bindparam("tenant"),
        any_of(RECORD.c.subject_id, "subjects"),
        any_of(RECORD.c.id, "records"),
    )
)
_BY_EXTERNAL = Query(
    select(EXTERNAL_REF.c.digest, EXTERNAL_REF.c.subject_id).where(
        EXTERNAL_REF.c.tenant_id == bindparam("tenant"), any_of(EXTERNAL_REF.c.digest, "digests")
    )
)


_NONE: Mapping[str, list[Row]] = {}


class Subjects:
    """The subjects of all tenants in one database.

    Reads of one subject each that wait at the same moment go to the database as one query for each tenant.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._batcher: Batcher[Wanted, Found | None] = Batcher(self._find_together)

    async def find(self, wanted: Wanted) -> list[Found | None]:
        """Find subjects, in the order asked for; none stands where the tenant has no such subject."""
        if len(wanted.subjects) == 1:
            return [await self._batcher.submit(wanted)]
        found = await self._fetch(wanted)
        return [found.get(each.int) for each in wanted.subjects]

    async def profile_revision(self, tenant: TenantId, subject: SubjectId) -> int | None:
        """Tell at which revision a subject's profile stands; none where there is no profile."""
        rows = await self._database.fetch(_REVISION, tenant=tenant, subject=subject)
        return rows[0][0] if rows else None

    async def by_digest(self, tenant: TenantId, digest: bytes, *, most: int) -> list[tuple[SubjectId, RecordId]]:
        """Find who has a value of that digest: candidates, which may be wrong where digests are short."""
        rows = await self._database.fetch(_BY_DIGEST, tenant=tenant, digest=digest, most=most)
        return [(row[0], row[1]) for row in rows]

    async def by_external(self, tenant: TenantId, digests: Sequence[bytes]) -> dict[bytes, SubjectId]:
        """Find the subjects to which other systems' ids lead."""
        rows = await self._database.fetch(_BY_EXTERNAL, tenant=tenant, digests=list(digests))
        return {row[0]: row[1] for row in rows}

    async def rows(self, tenant: TenantId, at: Sequence[tuple[SubjectId, RecordId]]) -> dict[tuple[Any, Any], Row]:
        """Fetch single records, whatever their collection."""
        rows = await self._database.fetch(
            _ROWS, tenant=tenant, subjects=[each[0] for each in at], records=[each[1] for each in at]
        )
        return {(row[0], row[2]): Row(*row[1:]) for row in rows}

    async def page(
        self,
        connection: AsyncConnection,
        tenant: TenantId,
        subject: SubjectId,
        collection: str,
        *,
        before: RecordId | None,
        limit: int,
    ) -> list[Any]:
        """List a collection's records, newest first."""
        statement = (
            select(RECORD.c.id, RECORD.c.revision, RECORD.c.occurred_at, RECORD.c.created_at, RECORD.c.body)
            .where(RECORD.c.tenant_id == tenant, RECORD.c.subject_id == subject, RECORD.c.collection == collection)
            .order_by(RECORD.c.id.desc())
            .limit(limit)
        )
        if before is not None:
            statement = statement.where(RECORD.c.id < before)
        return list((await connection.execute(statement)).all())

    async def add(
        self,
        connection: AsyncConnection,
        *,
        subjects: Sequence[tuple[Any, ...]] = (),
        records: Sequence[tuple[Any, ...]] = (),
        external: Sequence[tuple[Any, ...]] = (),
        index: Sequence[tuple[Any, ...]] = (),
    ) -> None:
        """Insert whole rows of any of the room's tables, however many."""
        await self._database.bulk(connection, SUBJECT, subjects)
        await self._database.bulk(connection, RECORD, records)
        await self._database.bulk(connection, EXTERNAL_REF, external)
        await self._database.bulk(connection, BLIND_INDEX, index)

    async def _find_together(self, waiting: list[Wanted]) -> list[Found | None]:
        groups: dict[tuple[TenantId, bool, tuple[str, ...]], set[SubjectId]] = defaultdict(set)
        for wanted in waiting:
            groups[wanted.tenant, wanted.profile, wanted.many].add(wanted.subjects[0])
        found = {
            (tenant, profile, many): await self._fetch(Wanted(tenant, tuple(subjects), profile, many))
            for (tenant, profile, many), subjects in groups.items()
        }
        return [found[wanted.tenant, wanted.profile, wanted.many].get(wanted.subjects[0].int) for wanted in waiting]

    async def _fetch(self, wanted: Wanted) -> dict[int, Found]:
        """Fetch subjects by their ids as numbers: a number is hashed and compared ten times as fast as a UUID."""
        tenant, subjects = wanted.tenant, list(wanted.subjects)
        rows = await self._database.fetch(_PROFILES if wanted.profile else _SUBJECTS, tenant=tenant, subjects=subjects)
        if wanted.many:
            body = [row[3] if wanted.profile else None for row in rows]
            found = {
                row[0].int: Found(row[0], row[1], row[2], each, {name: [] for name in wanted.many})
                for row, each in zip(rows, body, strict=True)
            }
        elif wanted.profile:
            return {row[0].int: Found(row[0], row[1], row[2], row[3], _NONE) for row in rows}
        else:
            return {row[0].int: Found(row[0], row[1], row[2], None, _NONE) for row in rows}
        if found:
            await self._add_many(found, tenant, wanted.many)
        return found

    async def _add_many(self, found: dict[int, Found], tenant: TenantId, names: tuple[str, ...]) -> None:
        rows = await self._database.fetch(
            _NEWEST, tenant=tenant, subjects=[each.id for each in found.values()], collections=list(names)
        )
        for subject, collection, record, revision, body in rows:
            found[subject.int].many[collection].append(Row(collection, record, revision, body))


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
