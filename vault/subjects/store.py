"""The store of subjects and their records: reads of the hot path, and the rows that a transaction locks and changes.

It handles sealed values only. The functions run in the transaction of the caller.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import msgspec
from sqlalchemy import bindparam, cast, delete, func, insert, null, select, union_all, update

from vault.ids import Pseudonym, SubjectId, random_id
from vault.storage.batcher import Batcher
from vault.storage.query import Query, any_of, insert_into
from vault.subjects.tables import BLIND_INDEX, EXTERNAL_REF, RECORD, SUBJECT, SUBJECT_ALIAS, SUBJECTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import Select
    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.crypto.keyring import Keyring
    from vault.ids import RecordId, TenantId
    from vault.storage.columns import AnyRow
    from vault.storage.database import Database


PROFILE = "profile"
MOST_KNOWN: Final = 10_000
"""Rows of a tenant's subjects that are known to be genuine; about 1 KB each."""
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


_ROW = SUBJECTS.columns[1:]
"""The columns of a row and its MAC, without the tenant, by which every query selects."""
_SUBJECTS = Query(select(*_ROW).where(SUBJECT.c.tenant_id == bindparam("tenant"), any_of(SUBJECT.c.id, "subjects")))
# A union of two index scans and no join: each scans its index once, whatever the planner estimates. Right after a large
# import, before PostgreSQL has statistics, it took a joined table for almost empty and scanned it for each subject.
_PROFILES = Query(
    union_all(
        select(*_ROW).where(SUBJECT.c.tenant_id == bindparam("tenant"), any_of(SUBJECT.c.id, "subjects")),
        select(
            RECORD.c.subject_id,
            *(cast(null(), column.type) for column in _ROW[1:-2]),
            RECORD.c.body,
            cast(null(), SUBJECT.c.mac.type),
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
# One row more than an answer has: it shows that there are more without a second query.
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

    The MAC of each row is checked here, before anyone acts upon it. A row that is not as the vault wrote it is left out
    where several are fetched, as if the subject did not exist; where one is fetched by itself to be changed, it is an
    error.
    """

    def __init__(self, database: Database, keyring: Keyring) -> None:
        self._database = database
        self._keyring = keyring
        self._known: defaultdict[TenantId, dict[int, tuple[Any, ...]]] = defaultdict(dict)
        """Genuine rows by the subject's id, of each tenant apart: a row of one must not be taken for another's."""
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
        """Return subjects' whole rows, by id, genuine or not; with ``said`` only those with a consent state."""
        statement = select(*SUBJECTS.columns).where(SUBJECT.c.tenant_id == tenant).order_by(SUBJECT.c.id).limit(limit)
        if after is not None:
            statement = statement.where(SUBJECT.c.id > after)
        if said:
            statement = statement.where(SUBJECT.c.standing.is_not(None))
        return list((await connection.execute(statement)).all())

    async def genuine(self, tenant: TenantId, rows: Sequence[AnyRow]) -> list[AnyRow]:
        """Return those of whole rows that are as the vault wrote them."""
        if not rows:
            return []
        keys = await self._keyring.row_keys(tenant)
        return [row for row in rows if SUBJECTS.is_genuine(keys, row)]

    async def person(self, connection: AsyncConnection, tenant: TenantId, subject: SubjectId) -> AnyRow | None:
        """Fetch a subject's row without a lock; None if there is none.

        Raises:
            RowTampered: the row is not as the vault wrote it.
        """
        return await self._one(connection, tenant, select(*SUBJECTS.columns).where(SUBJECT.c.id == subject))

    async def locked(self, connection: AsyncConnection, tenant: TenantId, subject: SubjectId) -> AnyRow | None:
        """Fetch and lock a subject's row; None if there is none.

        Raises:
            RowTampered: the row is not as the vault wrote it.
        """
        statement = select(*SUBJECTS.columns).where(SUBJECT.c.id == subject).with_for_update()
        return await self._one(connection, tenant, statement)

    async def locked_as_it_is(self, connection: AsyncConnection, tenant: TenantId, subject: SubjectId) -> AnyRow | None:
        """Fetch and lock a subject's row that is to be repaired: it need not be genuine."""
        statement = select(*SUBJECTS.columns).where(SUBJECT.c.tenant_id == tenant, SUBJECT.c.id == subject)
        return (await connection.execute(statement.with_for_update())).one_or_none()

    async def people(
        self, connection: AsyncConnection, tenant: TenantId, subjects: Sequence[SubjectId]
    ) -> list[AnyRow]:
        """Fetch the rows of subjects without a lock, in the order of their ids."""
        statement = select(*SUBJECTS.columns).where(SUBJECT.c.id.in_(subjects)).order_by(SUBJECT.c.id)
        return await self._several(connection, tenant, statement)

    async def locked_many(
        self, connection: AsyncConnection, tenant: TenantId, subjects: Sequence[SubjectId]
    ) -> dict[SubjectId, AnyRow]:
        """Fetch and lock the rows of subjects, in the order of their ids, so that concurrent calls do not deadlock."""
        rows = {}
        for part in _parts(subjects):
            # SQLite has no row locks and ignores them: there, one transaction writes at a time.
            statement = select(*SUBJECTS.columns).where(SUBJECT.c.id.in_(part)).order_by(SUBJECT.c.id).with_for_update()
            rows.update({SubjectId(row.id): row for row in await self._several(connection, tenant, statement)})
        return rows

    async def shared(
        self, connection: AsyncConnection, tenant: TenantId, subjects: Sequence[SubjectId]
    ) -> dict[SubjectId, StoredSubject]:
        """Fetch the rows of subjects, and lock them against change until the transaction ends; writers share the lock.

        Every write to a subject calls this in its transaction, or :meth:`locked`. Otherwise it could add data right
        after the subject was erased or merged, sealed under a key that is destroyed, or right after the person withdrew
        their consent.
        """
        rows: dict[SubjectId, StoredSubject] = {}
        for part in _parts(subjects):
            statement = select(*SUBJECTS.columns).where(SUBJECT.c.id.in_(part)).order_by(SUBJECT.c.id)
            # A shared lock: writers to one person go on side by side, and an erasure or a withdrawal waits for all of
            # them.
            found = await self._several(connection, tenant, statement.with_for_update(read=True))
            rows.update({SubjectId(row.id): stored_subject(row) for row in found})
        return rows

    async def pseudonym_of(self, connection: AsyncConnection, tenant: TenantId, subject: UUID | None) -> UUID | None:
        """Return the pseudonym of a subject; None if it does not exist or is erased.

        Raises:
            RowTampered: the row is not as the vault wrote it.
        """
        row = None if subject is None else await self.person(connection, tenant, SubjectId(subject))
        return None if row is None or row.state in GONE else row.pseudonym

    async def set_standing(
        self, connection: AsyncConnection, row: AnyRow, standing: bytes | None, *, restricted: bool
    ) -> None:
        """Store a subject's consent state, and the state of the subject that follows from it.

        Args:
            row: the subject's, locked.
        """
        await self._change(connection, row, state="restricted" if restricted else "active", standing=standing)

    async def set_marks(
        self,
        connection: AsyncConnection,
        tenant: TenantId,
        rows: Iterable[AnyRow],
        standings: Mapping[SubjectId, bytes | None],
    ) -> None:
        """Store the consent states of many subjects after a change of the holds in them; their rows are locked."""
        keys = await self._keyring.row_keys(tenant)
        await _write(connection, [SUBJECTS.reseal(keys, row, standing=standings[SubjectId(row.id)]) for row in rows])

    async def close(
        self, connection: AsyncConnection, tenant: TenantId, closings: Mapping[SubjectId, tuple[State, bytes | None]]
    ) -> None:
        """Set the last state of erased subjects, and new pseudonyms: the old ones then exist in the audit log only.

        Their rows are locked.
        """
        rows = await self.locked_many(connection, tenant, list(closings))
        keys = await self._keyring.row_keys(tenant)
        changed = []
        for subject, row in rows.items():
            state, standing = closings[subject]
            changed.append(SUBJECTS.reseal(keys, row, state=state, standing=standing, pseudonym=random_id()))
        await _write(connection, changed)

    async def close_duplicate(self, connection: AsyncConnection, row: AnyRow) -> None:
        """Set the last state of a subject that is merged into another; its pseudonym stays, for it is in the audit log.

        Args:
            row: the subject's, locked.
        """
        await self._change(connection, row, state="erased", standing=None)

    async def _change(self, connection: AsyncConnection, row: AnyRow, **changes: object) -> None:
        await _write(connection, [SUBJECTS.reseal(await self._keyring.row_keys(row.tenant_id), row, **changes)])

    async def _one(self, connection: AsyncConnection, tenant: TenantId, statement: Select[Any]) -> AnyRow | None:
        row: AnyRow | None = (await connection.execute(statement.where(SUBJECT.c.tenant_id == tenant))).one_or_none()
        if row is not None:
            SUBJECTS.check(await self._keyring.row_keys(tenant), row)
        return row

    async def _several(self, connection: AsyncConnection, tenant: TenantId, statement: Select[Any]) -> list[AnyRow]:
        return await self.genuine(
            tenant, (await connection.execute(statement.where(SUBJECT.c.tenant_id == tenant))).all()
        )

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
        rows = {SUBJECT: subjects, RECORD: records, EXTERNAL_REF: external, BLIND_INDEX: index}
        await self._database.insert(connection, rows)

    async def _check(self, tenant: TenantId, rows: Sequence[tuple[int, tuple[Any, ...]]]) -> frozenset[int]:
        """Check rows that are not known to be genuine, and return the ids of those that are not."""
        keys, known = await self._keyring.row_keys(tenant), self._known[tenant]
        if len(known) + len(rows) > MOST_KNOWN:
            known.clear()
        genuine = {number: row for number, row in rows if SUBJECTS.is_genuine(keys, (tenant, *row))}
        known.update(genuine)
        return frozenset(number for number, _row in rows if number not in genuine)

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
        # What was checked need not be checked again while it is the same: an HMAC costs as much as opening a value.
        known, unknown = self._known[tenant], []
        bodies, people = {}, []
        for row in rows:
            number = row[0].int
            # The second half of the union has no pseudonym: it is the profile.
            if row[1] is None:
                bodies[number] = row[4]
            else:
                people.append((number, row))
                if known.get(number) != row:
                    unknown.append((number, row))
        forged = await self._check(tenant, unknown) if unknown else frozenset()
        found = {
            number: StoredSubject(
                row[0], row[1], row[2], bodies.get(number), {name: [] for name in many} if many else _NONE, row[4]
            )
            for number, row in people
            if number not in forged
        }
        if found and many:
            records = await self._database.fetch(
                _NEWEST, tenant=tenant, subjects=[subject.id for subject in found.values()], collections=list(many)
            )
            for subject, collection, record, revision, body in records:
                found[subject.int].many[collection].append(Row(collection, record, revision, body))
        return found


async def is_erased(connection: AsyncConnection, tenant: TenantId, subject: UUID) -> bool:
    """Return whether no data of a subject is kept, so that a node must not use keys that it has cached."""
    statement = select(SUBJECT.c.state).where(SUBJECT.c.tenant_id == tenant, SUBJECT.c.id == subject)
    # A row that is gone counts as erased: a merge deletes the row of the duplicate.
    return (await connection.execute(statement)).scalar_one_or_none() in {None, "erased"}


async def have_rows(connection: AsyncConnection, tenant: TenantId, subjects: Sequence[SubjectId]) -> set[SubjectId]:
    """Return which of some subjects have a row, genuine or not."""
    found: set[SubjectId] = set()
    for part in _parts(subjects):
        statement = select(SUBJECT.c.id).where(SUBJECT.c.tenant_id == tenant, SUBJECT.c.id.in_(part))
        found.update(SubjectId(subject) for subject in (await connection.execute(statement)).scalars())
    return found


MOST_AT_ONCE: Final = 1_000
"""Ids in one statement."""


def _parts(subjects: Sequence[SubjectId]) -> Iterator[list[SubjectId]]:
    in_order = sorted(subjects)
    return (in_order[start : start + MOST_AT_ONCE] for start in range(0, len(in_order), MOST_AT_ONCE))


_CHANGED: Final = ("pseudonym", "state", "standing", "mac")
_WRITE: Final = (
    update(SUBJECT)
    .where(SUBJECT.c.tenant_id == bindparam("of_tenant"), SUBJECT.c.id == bindparam("of"))
    .values({name: bindparam(f"new_{name}") for name in _CHANGED})
)


async def _write(connection: AsyncConnection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write changed rows with their MACs."""
    values = [
        {"of_tenant": row["tenant_id"], "of": row["id"], **{f"new_{name}": row[name] for name in _CHANGED}}
        for row in rows
    ]
    if values:
        await connection.execute(_WRITE, values)


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
