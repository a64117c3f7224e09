"""A chunk of records: whose they are, which are there already, and the rows of the rest.

Which records are there already: asked for by pairs of person and digest, which the unique index answers.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from sqlalchemy import ARRAY, LargeBinary, and_, bindparam, column, exists, func, select

from vault.catalogue.types import encode
from vault.crypto.seal import record_aad
from vault.errors import Unavailable
from vault.ids import RecordId, new_id
from vault.imports.lines import LineFault
from vault.imports.store import Outcome
from vault.lifecycle.key_fence import require_current
from vault.retention.clocks import Newest
from vault.storage.columns import Id
from vault.storage.query import Query, any_of, native
from vault.subjects.merged import still_there
from vault.subjects.record_body import unpack
from vault.subjects.rows import external_digest, record_digest, record_rows
from vault.subjects.store import GONE, Wanted
from vault.subjects.tables import RECORD, SUBJECT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.crypto.seal import SubjectKeys
    from vault.ids import Pseudonym, SubjectId, TenantId
    from vault.imports.lines import Draft
    from vault.imports.task import Work
    from vault.storage.database import Database
    from vault.subjects.store import Found


class Owned(NamedTuple):
    """A line, whose record it is, and the digest by which the record is known."""

    draft: Draft
    subject: SubjectId
    digest: bytes


class Records:
    """A chunk of lines about records. Made by :func:`sort_out`; then :meth:`seal`, :meth:`write`, in that order."""

    def __init__(
        self, work: Work, new: list[Owned], people: dict[SubjectId, tuple[Found, SubjectKeys]], unchanged: int
    ) -> None:
        self._work = work
        self._new = new
        self._people = people
        self._rows: list[tuple[Any, ...]] = []
        self._index: list[tuple[Any, ...]] = []
        self._newest = Newest(work.rows.now)
        self.outcome = Outcome(created=len(new), unchanged=unchanged)

    async def seal(self) -> None:
        """Seal the values of the new ones under the keys that their people have."""
        work, collection = self._work, self._work.task.mapping.collection
        for draft, subject, digest in self._new:
            record, index = record_rows(
                work.rows,
                self._people[subject][1],
                subject,
                collection,
                RecordId(new_id()),
                work.fields,
                draft.values,
                work.origin,
                occurred_at=draft.occurred_at,
                external_digest=digest,
            )
            self._rows.append(record)
            self._index.extend(index)
            self._newest.add(subject, collection, draft.occurred_at)
        self._rows.sort(key=lambda row: (row[1].bytes, row[9]))  # so that two imports cannot wait in a ring

    async def write(self, connection: AsyncConnection) -> list[Pseudonym]:
        """Write all of it; returns whom it is about."""
        subjects = dict.fromkeys(subject for _draft, subject, _digest in self._new)
        if len(await still_there(connection, self._work.tenant, list(subjects))) < len(subjects):
            raise Unavailable("somebody in the file was merged or erased at this moment")  # then it is looked at anew
        versions = {subject: self._people[subject][1].current_version for subject in subjects}
        await require_current(self._work.services, connection, self._work.tenant, versions)
        await self._work.services.subjects.add(connection, records=self._rows, index=self._index)
        await self._newest.keep(connection, self._work.tenant)
        return [self._people[subject][0].pseudonym for subject in subjects]

    async def undo(self) -> None:
        """Nothing was made but rows, and those are gone with their transaction."""


async def sort_out(work: Work, drafts: list[Draft], faults: list[LineFault]) -> Records:
    """Find whose the records are and which are there; lines that cannot be followed go to ``faults``."""
    owned, people = await _owned(work, drafts, faults)
    wanted = [(each.subject, each.digest) for each in owned]
    there = await records_there(work.services.data, work.tenant, work.task.mapping.collection, wanted)
    new, unchanged = [], 0
    for each in owned:
        earlier = there.get((each.subject, each.digest))
        if earlier is None:
            new.append(each)
        elif _same(work, each, people[each.subject][1], earlier):
            unchanged += 1
        else:
            detail = "a record of this external id is there with other values; records are not changed by an import"
            faults.append(LineFault(each.draft.line, "external-id-taken", None, detail))
    return Records(work, new, people, unchanged)


async def _owned(
    work: Work, drafts: list[Draft], faults: list[LineFault]
) -> tuple[list[Owned], dict[SubjectId, tuple[Found, SubjectKeys]]]:
    index_keys, collection = work.rows.index_keys, work.task.mapping.collection
    names = dict.fromkeys(next(iter(draft.external_ids.items())) for draft in drafts)
    digests = {name: external_digest(index_keys, *name) for name in names}
    found = await work.services.subjects.by_external(work.tenant, list(digests.values()))
    people = await _people(work, tuple(dict.fromkeys(found.values())))
    owned = []
    for draft in drafts:
        subject = found.get(digests[next(iter(draft.external_ids.items()))])
        if subject is None or subject not in people:
            detail = "no person in the vault has this external id; import the people first"
            faults.append(LineFault(draft.line, "subject-not-found", None, detail))
        elif (stopped := work.stopped(people[subject][0])) is not None:
            faults.append(LineFault(draft.line, stopped.code, None, stopped.detail))
        else:
            owned.append(Owned(draft, subject, record_digest(index_keys, collection, draft.record or "")))
    return owned, people


async def _people(work: Work, ids: tuple[SubjectId, ...]) -> dict[SubjectId, tuple[Found, SubjectKeys]]:
    if not ids:
        return {}
    present = await work.services.subjects.find(Wanted(work.tenant, ids, profile=False))
    keys = await work.services.keyring.subject_keys(work.tenant, ids)
    return {
        each.id: (each, keys[each.id])
        for each in present
        if each is not None and each.state not in GONE and each.id in keys
    }


def _same(work: Work, each: Owned, keys: SubjectKeys, earlier: Earlier) -> bool:
    where = record_aad(work.tenant, each.subject, work.task.mapping.collection, earlier.id)
    body = unpack(earlier.body)
    values = each.draft.values
    return body.keys() == values.keys() and all(
        keys.open(name, body[name].sealed, where) == encode(value) for name, value in values.items()
    )


SLICE = 8_192
"""Pairs in one statement: SQLite takes 32,766 parameters at the most."""

_ANY = Query(
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


class Earlier(NamedTuple):
    """A record that is there."""

    id: RecordId
    body: bytes


async def records_there(
    database: Database, tenant: TenantId, collection: str, pairs: Sequence[tuple[SubjectId, bytes]]
) -> dict[tuple[UUID, bytes], Earlier]:
    """Find the records of these people with these external digests."""
    found: dict[tuple[UUID, bytes], Earlier] = {}
    rows: Sequence[Any]
    # Most often nobody has any: one look for each person then spares one for each record.
    people = list(dict.fromkeys(subject for subject, _digest in pairs))
    some = {row[0] for row in await database.fetch(_ANY, tenant=tenant, collection=collection, subjects=people)}
    pairs = [pair for pair in pairs if pair[0] in some]
    if not pairs:
        return found
    async with database.reading() as connection:
        for start in range(0, len(pairs), SLICE):
            part = pairs[start : start + SLICE]
            if database.dialect == "postgresql":
                values = {"subjects": [pair[0] for pair in part], "digests": [pair[1] for pair in part]}
                rows = list(await connection.execute(_joined(tenant, collection), values))
            else:
                rows = await _listed(connection, tenant, collection, part)
            found.update({(row[0], row[1]): Earlier(RecordId(row[2]), row[3]) for row in rows})
    return found


def _of(tenant: TenantId, collection: str) -> tuple[Any, ...]:
    # The last condition is what lets the databases use the index, which leaves records without a digest out.
    return (RECORD.c.tenant_id == tenant, RECORD.c.collection == collection, RECORD.c.external_digest.is_not(None))


def _joined(tenant: TenantId, collection: str) -> Any:
    """PostgreSQL: two arrays, whatever their length; it plans a list of pairs as one condition for each."""
    wanted = func.unnest(
        bindparam("subjects", type_=ARRAY(Id)), bindparam("digests", type_=ARRAY(LargeBinary))
    ).table_valued(column("subject", Id), column("digest", LargeBinary), name="wanted")
    wanted = wanted.render_derived()
    same = and_(RECORD.c.subject_id == wanted.c.subject, RECORD.c.external_digest == wanted.c.digest)
    return select(*_COLUMNS).select_from(wanted.join(RECORD, same)).where(*_of(tenant, collection))


async def _listed(
    connection: AsyncConnection, tenant: TenantId, collection: str, pairs: Sequence[tuple[SubjectId, bytes]]
) -> list[tuple[UUID, bytes, UUID, bytes]]:
    """SQLite: a list of pairs, in the driver's own words; compiling it each time would take longer than running it."""
    size = 1 << (len(pairs) - 1).bit_length()  # few different texts, so that few statements are prepared
    padded = [*pairs, *[pairs[-1]] * (size - len(pairs))]
    values = [native(part) for pair in padded for part in pair]
    rows: Any = await connection.exec_driver_sql(_list_text(size), (*values, tenant, collection))
    return [(UUID(bytes=subject), digest, UUID(bytes=record), body) for subject, digest, record, body in rows]


@lru_cache(maxsize=16)
def _list_text(size: int) -> str:
    """Join a list to the records. SQLite answers ``(a, b) IN (list)`` by looking at all records of the tenant."""
    it = RECORD.c
    columns = ", ".join(f"{RECORD.name}.{column.name}" for column in _COLUMNS)
    return (
        f"WITH wanted (subject, digest) AS (VALUES {', '.join(['(?, ?)'] * size)}) "  # noqa: S608 - our own names
        f"SELECT {columns} FROM wanted CROSS JOIN {RECORD.name} "
        f"WHERE {it.tenant_id.name} = ? AND {it.subject_id.name} = wanted.subject AND {it.collection.name} = ? "
        f"AND {it.external_digest.name} = wanted.digest AND {it.external_digest.name} IS NOT NULL"
    )
