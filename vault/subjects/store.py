"""The store of subjects and their records. It handles sealed values only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import msgspec
from sqlalchemy import bindparam, cast, func, null, select, union_all

from vault.ids import Pseudonym, SubjectId
from vault.storage.batcher import Batcher
from vault.storage.query import Query, any_of
from vault.subjects.tables import BLIND_INDEX, EXTERNAL_REF, RECORD, SUBJECT

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.ids import RecordId, TenantId
    from vault.storage.columns import AnyRow
    from vault.storage.database import Database


PROFILE = "profile"
MOST_RECORDS = 100
"""The number of records of one collection that a read shows, newest first; listing has pages."""

State = Literal["active", "restricted", "erased", "retained"]
GONE: Final = frozenset({"erased", "retained"})
"""States of erased subjects. Of a retained one, a law requires that some data is kept, for the purposes in ``kept_for``
of :class:`vault.consent.model.ConsentState`. For all other purposes it does not exist."""


class Row(NamedTuple):
    """A record of the database."""

    collection: str
    id: RecordId
    revision: int
    body: bytes


class Moments(NamedTuple):
    """When a record happened, if that is known, and when it was written."""

    occurred_at: datetime | None
    created_at: datetime


class StoredSubject(msgspec.Struct, frozen=True, gc=False):
    """A subject with the body of its profile and the records of the requested collections."""

    id: SubjectId
    pseudonym: Pseudonym
    state: State
    profile: bytes | None
    many: Mapping[str, list[Row]]
    standing: bytes | None = None


class SubjectQuery(NamedTuple):
    """A query for subjects of one tenant, with their profiles and the records of some collections."""

    tenant: TenantId
    subjects: tuple[SubjectId, ...]
    profile: bool
    many: tuple[str, ...] = ()


class PageQuery(NamedTuple):
    """A page of a subject's records of one collection, newest first: at most ``limit``, older than ``before``."""

    subject: SubjectId
    collection: str
    before: RecordId | None = None
    limit: int = 50


_SUBJECTS = Query(
    select(SUBJECT.c.id, SUBJECT.c.pseudonym, SUBJECT.c.state, SUBJECT.c.standing).where(
        SUBJECT.c.tenant_id == bindparam("tenant"), any_of(SUBJECT.c.id, "subjects")
    )
)
# A union of two index scans and no join: each scans its index once, whatever the planner estimates. Right after a large
# import, before PostgreSQL has statistics, it took a joined table for almost empty and scanned it for each subject.
_PROFILES = Query(
    union_all(
        select(SUBJECT.c.id, SUBJECT.c.pseudonym, SUBJECT.c.state, SUBJECT.c.standing).where(
            SUBJECT.c.tenant_id == bindparam("tenant"), any_of(SUBJECT.c.id, "subjects")
        ),
        select(
            RECORD.c.subject_id,
            cast(null(), SUBJECT.c.pseudonym.type),
            cast(null(), SUBJECT.c.state.type),
            RECORD.c.body,
        ).where(
            RECORD.c.tenant_id == bindparam("tenant"),
            any_of(RECORD.c.subject_id, "subjects"),
            RECORD.c.collection == PROFILE,
        ),
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
_MOMENTS = Query(
    select(RECORD.c.subject_id, RECORD.c.id, RECORD.c.occurred_at, RECORD.c.created_at).where(
        RECORD.c.tenant_id == bindparam("tenant"),
        any_of(RECORD.c.subject_id, "subjects"),
        any_of(RECORD.c.collection, "collections"),
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

    Concurrent reads of single subjects are batched into one query for each tenant.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._batcher: Batcher[SubjectQuery, StoredSubject | None] = Batcher(self._find_together)

    async def find(self, query: SubjectQuery) -> list[StoredSubject | None]:
        """Return subjects in the order of the query; None for one that the tenant does not have."""
        if len(query.subjects) == 1:
            return [await self._batcher.submit(query)]
        found = await self._fetch(query)
        return [found.get(subject.int) for subject in query.subjects]

    async def profile_revision(self, tenant: TenantId, subject: SubjectId) -> int | None:
        """Return the revision of a subject's profile; None if there is no profile."""
        rows = await self._database.fetch(_REVISION, tenant=tenant, subject=subject)
        return rows[0][0] if rows else None

    async def by_digest(self, tenant: TenantId, digest: bytes, *, most: int) -> list[tuple[SubjectId, RecordId]]:
        """Return the subjects with a digest: candidates, which can be wrong if digests are short."""
        rows = await self._database.fetch(_BY_DIGEST, tenant=tenant, digest=digest, most=most)
        return [(row[0], row[1]) for row in rows]

    async def by_external(self, tenant: TenantId, digests: Sequence[bytes]) -> dict[bytes, SubjectId]:
        """Return the subjects with other systems' ids, by digest."""
        rows = await self._database.fetch(_BY_EXTERNAL, tenant=tenant, digests=list(digests))
        return {row[0]: row[1] for row in rows}

    async def rows(
        self, tenant: TenantId, ids: Sequence[tuple[SubjectId, RecordId]]
    ) -> dict[tuple[SubjectId, RecordId], Row]:
        """Fetch single records of any collections."""
        rows = await self._database.fetch(
            _ROWS, tenant=tenant, subjects=[subject for subject, _ in ids], records=[record for _, record in ids]
        )
        return {(row[0], row[2]): Row(*row[1:]) for row in rows}

    async def moments(
        self, tenant: TenantId, subjects: Sequence[SubjectId], collections: Sequence[str]
    ) -> dict[tuple[SubjectId, RecordId], Moments]:
        """Return when the subjects' records of some collections happened."""
        rows = await self._database.fetch(
            _MOMENTS, tenant=tenant, subjects=list(subjects), collections=list(collections)
        )
        return {(row[0], row[1]): Moments(row[2], row[3]) for row in rows}

    async def page(self, connection: AsyncConnection, tenant: TenantId, query: PageQuery) -> list[AnyRow]:
        """Fetch a page of records."""
        subject, collection, before, limit = query
        statement = (
            select(RECORD.c.id, RECORD.c.revision, RECORD.c.occurred_at, RECORD.c.created_at, RECORD.c.body)
            .where(RECORD.c.tenant_id == tenant, RECORD.c.subject_id == subject, RECORD.c.collection == collection)
            .order_by(RECORD.c.id.desc())
            .limit(limit)
        )
        if before is not None:
            statement = statement.where(RECORD.c.id < before)
        return list((await connection.execute(statement)).all())

    async def standings(
        self,
        connection: AsyncConnection,
        tenant: TenantId,
        *,
        after: SubjectId | None,
        limit: int,
        said: bool = False,
    ) -> list[AnyRow]:
        """Return subjects' ids, states and consent states, by id; with ``said`` only those with a consent state."""
        statement = (
            select(SUBJECT.c.id, SUBJECT.c.state, SUBJECT.c.standing)
            .where(SUBJECT.c.tenant_id == tenant)
            .order_by(SUBJECT.c.id)
            .limit(limit)
        )
        if after is not None:
            statement = statement.where(SUBJECT.c.id > after)
        if said:
            statement = statement.where(SUBJECT.c.standing.is_not(None))
        return list((await connection.execute(statement)).all())

    async def add(
        self,
        connection: AsyncConnection,
        *,
        subjects: Sequence[tuple[object, ...]] = (),
        records: Sequence[tuple[object, ...]] = (),
        external: Sequence[tuple[object, ...]] = (),
        index: Sequence[tuple[object, ...]] = (),
    ) -> None:
        """Insert any number of whole rows."""
        await self._database.bulk(connection, SUBJECT, subjects)
        await self._database.bulk(connection, RECORD, records)
        await self._database.bulk(connection, EXTERNAL_REF, external)
        await self._database.bulk(connection, BLIND_INDEX, index)

    async def _find_together(self, queries: list[SubjectQuery]) -> list[StoredSubject | None]:
        """Find the single subjects of several queries: those of one tenant with the same parts by one query."""
        groups: dict[tuple[TenantId, bool, tuple[str, ...]], set[SubjectId]] = defaultdict(set)
        for tenant, (subject,), profile, many in queries:
            groups[tenant, profile, many].add(subject)
        found = {
            (tenant, profile, many): await self._fetch(SubjectQuery(tenant, tuple(subjects), profile, many))
            for (tenant, profile, many), subjects in groups.items()
        }
        return [found[tenant, profile, many].get(subject.int) for tenant, (subject,), profile, many in queries]

    async def _fetch(self, query: SubjectQuery) -> dict[int, StoredSubject]:
        """Fetch subjects by their ids as integers, which are hashed and compared ten times as fast as UUIDs."""
        tenant, subjects, profile, many = query
        rows = await self._database.fetch(_PROFILES if profile else _SUBJECTS, tenant=tenant, subjects=list(subjects))
        bodies, people = {}, []
        for row in rows:
            if row[1] is None:
                bodies[row[0].int] = row[3]
            else:
                people.append(row)
        found = {
            (number := subject.int): StoredSubject(
                subject, pseudonym, state, bodies.get(number), {name: [] for name in many} if many else _NONE, standing
            )
            for subject, pseudonym, state, standing in people
        }
        if found and many:
            records = await self._database.fetch(
                _NEWEST, tenant=tenant, subjects=[subject.id for subject in found.values()], collections=list(many)
            )
            for subject, collection, record, revision, body in records:
                found[subject.int].many[collection].append(Row(collection, record, revision, body))
        return found


async def pseudonym_of(connection: AsyncConnection, tenant: TenantId, subject: UUID | None) -> UUID | None:
    """Return the pseudonym of a subject; None if it does not exist or is erased."""
    if subject is None:
        return None
    statement = SUBJECT.select().where(SUBJECT.c.tenant_id == tenant, SUBJECT.c.id == subject)
    row = (await connection.execute(statement)).one_or_none()
    return None if row is None or row.state in GONE else row.pseudonym


async def is_erased(connection: AsyncConnection, tenant: TenantId, subject: UUID) -> bool:
    """Return whether no data of a subject is kept, so that a node must not use keys that it has cached."""
    statement = select(SUBJECT.c.state).where(SUBJECT.c.tenant_id == tenant, SUBJECT.c.id == subject)
    return (await connection.execute(statement)).scalar_one_or_none() in {None, "erased"}
