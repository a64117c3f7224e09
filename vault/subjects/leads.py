"""What blind indexes lead to: the subjects that have all of some digests, page by page, however many have each.

The database intersects, so that no digest is cut off before the others are looked at. A digest is a keyed hash, and may
be short: what it leads to is a candidate until the value was opened and compared.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import UUID

from sqlalchemy import bindparam, func, literal, select, tuple_

from vault.ids import RecordId, SubjectId
from vault.storage.query import Query, any_of
from vault.subjects.tables import BLIND_INDEX

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vault.ids import TenantId
    from vault.storage.database import Database

START: Final = SubjectId(UUID(int=0))
"""Before all subjects."""
MOST_DIGESTS: Final = 5


def _having_all(count: int) -> Query:
    """Select the subjects with ``count`` digests, in the order of their ids.

    The first digest's entries are read in the order of the primary key. Each further digest is one look-up in the same
    key for each of them: a scalar subquery, because PostgreSQL may turn an ``EXISTS`` into a join that reads all
    entries of a digest that half of the people share.
    """
    index = BLIND_INDEX
    statement = select(index.c.subject_id).where(
        index.c.tenant_id == bindparam("tenant"),
        index.c.digest == bindparam("digest_0"),
        index.c.subject_id > bindparam("after"),
    )
    for number in range(1, count):
        other = BLIND_INDEX.alias(f"other_{number}")
        has_it = select(other.c.digest).where(
            other.c.tenant_id == bindparam("tenant"),
            other.c.digest == bindparam(f"digest_{number}"),
            other.c.subject_id == index.c.subject_id,
        )
        statement = statement.where(has_it.limit(1).scalar_subquery().is_not(None))
    statement = statement.distinct().order_by(index.c.subject_id).limit(bindparam("most"))
    return Query(statement)


COMMON: Final = tuple(_having_all(count) for count in range(1, MOST_DIGESTS + 1))
_COUNT = Query(
    select(func.count()).select_from(
        select(literal(1))
        .where(BLIND_INDEX.c.tenant_id == bindparam("tenant"), BLIND_INDEX.c.digest == bindparam("digest"))
        .limit(bindparam("most"))
        .subquery()
    )
)
_PAIRS = Query(
    select(BLIND_INDEX.c.subject_id, BLIND_INDEX.c.record_id)
    .where(
        BLIND_INDEX.c.tenant_id == bindparam("tenant"),
        any_of(BLIND_INDEX.c.digest, "digests"),
        any_of(BLIND_INDEX.c.subject_id, "subjects"),
        tuple_(BLIND_INDEX.c.subject_id, BLIND_INDEX.c.record_id) > tuple_(bindparam("subject"), bindparam("record")),
    )
    .distinct()
    .order_by(BLIND_INDEX.c.subject_id, BLIND_INDEX.c.record_id)
    .limit(bindparam("most"))
)


MOST_SHARED: Final = 1_000
"""Entries of all digests that one query reads together; if there are more, each digest is read alone."""
_FIRST = Query(
    select(BLIND_INDEX.c.digest, BLIND_INDEX.c.subject_id)
    .where(BLIND_INDEX.c.tenant_id == bindparam("tenant"), any_of(BLIND_INDEX.c.digest, "digests"))
    .limit(MOST_SHARED)
)


_AMONG = Query(
    select(BLIND_INDEX.c.subject_id).where(
        BLIND_INDEX.c.tenant_id == bindparam("tenant"),
        BLIND_INDEX.c.digest == bindparam("digest"),
        any_of(BLIND_INDEX.c.subject_id, "subjects"),
    )
)


@dataclass(frozen=True, slots=True)
class Lead:
    """A search for the first subjects with one digest."""

    database: Database
    tenant: TenantId
    digest: bytes
    most: int


async def first_leads(leads: list[Lead]) -> list[list[SubjectId]]:
    """Return the first subjects with each of several digests, by one query for each tenant unless they are many."""
    groups: defaultdict[TenantId, set[bytes]] = defaultdict(set)
    for lead in leads:
        groups[lead.tenant].add(lead.digest)
    found: defaultdict[tuple[TenantId, bytes], list[SubjectId]] = defaultdict(list)
    wide = set()
    for tenant, digests in groups.items():
        rows = await leads[0].database.fetch(_FIRST, tenant=tenant, digests=list(digests))
        if len(rows) == MOST_SHARED:  # some of them may be cut off
            wide.add(tenant)
        for digest, subject in rows:
            found[tenant, digest].append(SubjectId(subject))
    return [
        await having_all(lead.database, lead.tenant, [lead.digest], after=START, most=lead.most)
        if lead.tenant in wide
        else sorted(set(found[lead.tenant, lead.digest]))[: lead.most]
        for lead in leads
    ]


async def among(database: Database, tenant: TenantId, digest: bytes, subjects: Sequence[SubjectId]) -> set[SubjectId]:
    """Return which of some subjects have a digest."""
    rows = await database.fetch(_AMONG, tenant=tenant, digest=digest, subjects=list(subjects))
    return {SubjectId(row[0]) for row in rows}


async def count_leads(database: Database, tenant: TenantId, digest: bytes, *, most: int) -> int:
    """Count the entries of a digest, and stop at ``most``."""
    ((count,),) = await database.fetch(_COUNT, tenant=tenant, digest=digest, most=most)
    return int(count)


async def having_all(
    database: Database, tenant: TenantId, digests: Sequence[bytes], *, after: SubjectId, most: int
) -> list[SubjectId]:
    """Return the first subjects after one that have all of 1 to 5 digests.

    Args:
        digests: the rarest first: its entries are read, and the others are looked up for each.
    """
    numbered = {f"digest_{number}": digest for number, digest in enumerate(digests)}
    rows = await database.fetch(COMMON[len(digests) - 1], tenant=tenant, after=after, most=most, **numbered)
    return [SubjectId(row[0]) for row in rows]


async def leads_of(
    database: Database,
    tenant: TenantId,
    digests: Sequence[bytes],
    subjects: Sequence[SubjectId],
    *,
    after: tuple[SubjectId, RecordId] | None,
    most: int,
) -> list[tuple[SubjectId, RecordId]]:
    """Return the records of some subjects to which any of the digests leads, by the ids of both."""
    subject, record = after or (START, RecordId(UUID(int=0)))
    rows = await database.fetch(
        _PAIRS,
        tenant=tenant,
        digests=list(digests),
        subjects=list(subjects),
        subject=subject,
        record=record,
        most=most,
    )
    return [(SubjectId(row[0]), RecordId(row[1])) for row in rows]
