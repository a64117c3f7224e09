"""Import a chunk of records: find their subjects and the existing records, and create the rows of the others."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import ARRAY, LargeBinary, and_, bindparam, column, exists, func, select

from vault.catalogue.types import encode
from vault.crypto.seal import record_aad
from vault.ids import RecordId, new_id
from vault.imports.lines import LineFault
from vault.imports.store import Outcome
from vault.lifecycle.key_fence import require_current
from vault.retention.clocks import Newest
from vault.storage.columns import Id
from vault.storage.query import Query, any_of, native
from vault.subjects.rows import NewRecord, external_digest, record_digest, record_rows, unpack
from vault.subjects.store import GONE, SubjectQuery
from vault.subjects.tables import RECORD, SUBJECT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement, Select
    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.crypto.seal import SubjectKeys
    from vault.ids import Pseudonym, SubjectId, TenantId
    from vault.imports.lines import Draft
    from vault.imports.profiles import Values
    from vault.imports.task import ImportContext
    from vault.storage.database import Database
    from vault.subjects.store import StoredSubject


@dataclass(frozen=True, slots=True)
class Owned:
    """A line with its subject and the digest of the record's external id."""

    draft: Draft
    subject: SubjectId
    digest: bytes


class RecordChunk:
    """A chunk of records, as :func:`classify` returns it. Call :meth:`seal` and then :meth:`write`."""

    def __init__(
        self,
        context: ImportContext,
        new: list[Owned],
        people: dict[SubjectId, tuple[StoredSubject, SubjectKeys]],
        unchanged: int,
    ) -> None:
        self._context = context
        self._new = new
        self._people = people
        self._rows: list[Values] = []
        self._index: list[Values] = []
        self._newest = Newest(context.rows.now)
        self.outcome = Outcome(created=len(new), unchanged=unchanged)

    async def seal(self) -> None:
        """Seal the values of the new records under the data keys of their subjects."""
        context, collection = self._context, self._context.task.mapping.collection
        for owned in self._new:
            subject, draft = owned.subject, owned.draft
            new = NewRecord(
                subject,
                collection,
                RecordId(new_id()),
                context.fields,
                draft.values,
                context.origin,
                draft.occurred_at,
                owned.digest,
            )
            record, index = record_rows(context.rows, self._people[subject][1], new)
            self._rows.append(record)
            self._index.extend(index)
            self._newest.add(subject, collection, draft.occurred_at)
        self._rows.sort(key=lambda row: (row[1].bytes, row[9]))  # the same order in all imports, to avoid deadlock

    async def write(self, connection: AsyncConnection) -> list[Pseudonym]:
        """Write the rows; returns the pseudonyms of the subjects."""
        subjects = dict.fromkeys(owned.subject for owned in self._new)
        rows = await self._context.services.subjects.shared(connection, self._context.tenant, list(subjects))
        self._context.require_unchanged(subjects, rows)
        versions = {subject: self._people[subject][1].current_version for subject in subjects}
        await require_current(self._context.services, connection, self._context.tenant, versions)
        await self._context.services.subjects.add(connection, records=self._rows, index=self._index)
        await self._newest.keep(connection, self._context.tenant)
        return [self._people[subject][0].pseudonym for subject in subjects]

    async def discard(self) -> None:
        """Do nothing: only rows were created, and the transaction was rolled back."""


async def classify(context: ImportContext, drafts: list[Draft], faults: list[LineFault]) -> RecordChunk:
    """Find the subjects and the existing records; invalid lines are added to ``faults``."""
    owned, people = await _find_owners(context, drafts, faults)
    pairs = [(line.subject, line.digest) for line in owned]
    existing = await existing_records(context.services.data, context.tenant, context.task.mapping.collection, pairs)
    new, unchanged = [], 0
    for line in owned:
        record = existing.get((line.subject, line.digest))
        if record is None:
            new.append(line)
        elif _is_equal(context, line, people[line.subject][1], record):
            unchanged += 1
        else:
            detail = "a record of this external id is there with other values; records are not changed by an import"
            faults.append(LineFault(line.draft.line, "external-id-taken", None, detail))
    return RecordChunk(context, new, people, unchanged)


async def _find_owners(
    context: ImportContext, drafts: list[Draft], faults: list[LineFault]
) -> tuple[list[Owned], dict[SubjectId, tuple[StoredSubject, SubjectKeys]]]:
    index_keys, collection = context.rows.index_keys, context.task.mapping.collection
    ids = dict.fromkeys(next(iter(draft.external_ids.items())) for draft in drafts)
    digests = {external_id: external_digest(index_keys, *external_id) for external_id in ids}
    subjects = await context.services.subjects.by_external(context.tenant, list(digests.values()))
    people = await _fetch_subjects(context, tuple(dict.fromkeys(subjects.values())))
    owned = []
    for draft in drafts:
        subject = subjects.get(digests[next(iter(draft.external_ids.items()))])
        if subject is None or subject not in people:
            detail = "no person in the vault has this external id; import the people first"
            faults.append(LineFault(draft.line, "subject-not-found", None, detail))
        elif (refusal := context.refusal(people[subject][0])) is not None:
            faults.append(LineFault(draft.line, refusal.code, None, refusal.detail))
        else:
            owned.append(Owned(draft, subject, record_digest(index_keys, collection, draft.record or "")))
    return owned, people


async def _fetch_subjects(
    context: ImportContext, ids: tuple[SubjectId, ...]
) -> dict[SubjectId, tuple[StoredSubject, SubjectKeys]]:
    if not ids:
        return {}
    subjects = await context.services.subjects.find(SubjectQuery(context.tenant, ids, profile=False))
    keys = await context.services.keyring.subject_keys(context.tenant, ids)
    return {
        subject.id: (subject, keys[subject.id])
        for subject in subjects
        if subject is not None and subject.state not in GONE and subject.id in keys
    }


def _is_equal(context: ImportContext, line: Owned, keys: SubjectKeys, existing: ExistingRecord) -> bool:
    aad = record_aad(context.tenant, line.subject, context.task.mapping.collection, existing.id)
    body = unpack(existing.body)
    values = line.draft.values
    return body.keys() == values.keys() and all(
        keys.open(name, body[name].sealed, aad) == encode(value) for name, value in values.items()
    )


SLICE = 8_192
"""Pairs in one statement. SQLite accepts at most 32,766 parameters."""

_WITH_RECORDS = Query(
    select(SUBJECT.c.id).where(
        SUBJECT.c.tenant_id == bindparam("tenant"),
        any_of(SUBJECT.c.id, "subjects"),
        exists().where(
            RECORD.c.tenant_id == SUBJECT.c.tenant_id,
            RECORD.c.subject_id == SUBJECT.c.id,
            RECORD.c.collection == bindparam("collection"),
            RECORD.c.external_digest.is_not(None),
        ),
    )
)
_COLUMNS = (RECORD.c.subject_id, RECORD.c.external_digest, RECORD.c.id, RECORD.c.body)


@dataclass(frozen=True, slots=True)
class ExistingRecord:
    """An existing record."""

    id: RecordId
    body: bytes


async def existing_records(
    database: Database, tenant: TenantId, collection: str, pairs: Sequence[tuple[SubjectId, bytes]]
) -> dict[tuple[UUID, bytes], ExistingRecord]:
    """Find records by subject and digest of the external id."""
    existing: dict[tuple[UUID, bytes], ExistingRecord] = {}
    # Most subjects have no record in the collection yet: a query for each subject then replaces one for each record.
    people = list(dict.fromkeys(subject for subject, _digest in pairs))
    some = {
        row[0] for row in await database.fetch(_WITH_RECORDS, tenant=tenant, collection=collection, subjects=people)
    }
    pairs = [pair for pair in pairs if pair[0] in some]
    if not pairs:
        return existing
    async with database.reading() as connection:
        for start in range(0, len(pairs), SLICE):
            part = pairs[start : start + SLICE]
            if database.dialect == "postgresql":
                values = {"subjects": [pair[0] for pair in part], "digests": [pair[1] for pair in part]}
                rows = [tuple(row) for row in await connection.execute(_arrays_query(tenant, collection), values)]
            else:
                rows = await _query_list(connection, tenant, collection, part)
            existing.update({(row[0], row[1]): ExistingRecord(RecordId(row[2]), row[3]) for row in rows})
    return existing


def _conditions(tenant: TenantId, collection: str) -> tuple[ColumnElement[bool], ...]:
    # The last condition makes the databases use the partial index, which leaves out records without a digest.
    return (RECORD.c.tenant_id == tenant, RECORD.c.collection == collection, RECORD.c.external_digest.is_not(None))


def _arrays_query(tenant: TenantId, collection: str) -> Select[*Values]:
    """Return the query for PostgreSQL, with two arrays. It would plan a list of pairs as a condition for each pair."""
    wanted = func.unnest(
        bindparam("subjects", type_=ARRAY(Id)), bindparam("digests", type_=ARRAY(LargeBinary))
    ).table_valued(column("subject", Id), column("digest", LargeBinary), name="wanted")
    wanted = wanted.render_derived()
    matches = and_(RECORD.c.subject_id == wanted.c.subject, RECORD.c.external_digest == wanted.c.digest)
    return select(*_COLUMNS).select_from(wanted.join(RECORD, matches)).where(*_conditions(tenant, collection))


async def _query_list(
    connection: AsyncConnection, tenant: TenantId, collection: str, pairs: Sequence[tuple[SubjectId, bytes]]
) -> list[tuple[UUID, bytes, UUID, bytes]]:
    """Query SQLite by a list of pairs, as text: compiling the statement each time would take longer than running it."""
    size = 1 << (len(pairs) - 1).bit_length()  # few different texts, so that prepared statements are reused
    padded = [*pairs, *[pairs[-1]] * (size - len(pairs))]
    values = [native(part) for pair in padded for part in pair]
    rows = await connection.exec_driver_sql(_list_text(size), (*values, tenant, collection))
    return [
        (UUID(bytes=subject), digest, UUID(bytes=record), body) for subject, digest, record, body in map(tuple, rows)
    ]


@lru_cache(maxsize=16)
def _list_text(size: int) -> str:
    """Return a query that joins a list with the records. SQLite would scan all records for ``(a, b) IN (list)``."""
    it = RECORD.c
    columns = ", ".join(f"{RECORD.name}.{column.name}" for column in _COLUMNS)
    return (
        f"WITH wanted (subject, digest) AS (VALUES {', '.join(['(?, ?)'] * size)}) "  # noqa: S608 - our own names
        f"SELECT {columns} FROM wanted CROSS JOIN {RECORD.name} "
        f"WHERE {it.tenant_id.name} = ? AND {it.subject_id.name} = wanted.subject AND {it.collection.name} = ? "
        f"AND {it.external_digest.name} = wanted.digest AND {it.external_digest.name} IS NOT NULL"
    )
