"""Which records are there already: asked for by pairs of person and digest, which the unique index answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import ARRAY, LargeBinary, and_, bindparam, column, exists, func, select, tuple_

from vault.storage.columns import Id
from vault.storage.query import Query, any_of
from vault.subjects.tables import RECORD, SUBJECT

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from vault.ids import RecordId, SubjectId, TenantId
    from vault.storage.database import Database

SLICE = 5_000
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
                rows = await connection.execute(_joined(tenant, collection), values)
            else:
                rows = await connection.execute(_listed(tenant, collection, part))
            found.update({(row[0], row[1]): Earlier(row[2], row[3]) for row in rows})
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


def _listed(tenant: TenantId, collection: str, pairs: Sequence[tuple[SubjectId, bytes]]) -> Any:
    wanted = tuple_(RECORD.c.subject_id, RECORD.c.external_digest).in_(pairs)
    return select(*_COLUMNS).where(*_of(tenant, collection), wanted)
