"""Which records are there already: asked for by pairs of person and digest, which the unique index answers."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from sqlalchemy import ARRAY, LargeBinary, and_, bindparam, column, exists, func, select

from vault.ids import RecordId
from vault.storage.columns import Id
from vault.storage.query import Query, any_of, native
from vault.subjects.tables import RECORD, SUBJECT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.ids import SubjectId, TenantId
    from vault.storage.database import Database

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
