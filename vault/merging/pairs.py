"""Propose who might be one among all people of a tenant: by digests that few share, a 256th of the index at a time."""

from __future__ import annotations

from itertools import combinations, groupby
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import func, select

from vault.ids import SubjectId
from vault.merging.duplicates import known_people, note_comparison
from vault.merging.matching import LEAST, alike, telling_fields
from vault.subjects.store import Wanted
from vault.subjects.tables import BLIND_INDEX

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Sequence

    from vault.context import Caller, House
    from vault.ids import TenantId

STEPS = 256
MOST_SHARING = 8
"""People who may share a digest: what more share, such as the first letters of a name, proposes nobody."""
WHOLE = 32
"""Bytes of a digest that was not cut short."""
AT_ONCE = 1_000


class Pair(NamedTuple):
    """Two who might be one, how likely (0 to 99), and the names of the fields that say so."""

    one: SubjectId
    other: SubjectId
    score: int
    matched: tuple[str, ...]


async def find_pairs(house: House, caller: Caller) -> AsyncGenerator[list[Pair]]:
    """Go through a tenant's index and yield, step by step, the pairs that were found; there are :data:`STEPS`.

    Raises:
        Unavailable: a database does not answer.
    """
    seen: set[tuple[SubjectId, SubjectId]] = set()
    for step in range(STEPS):
        rows = await _shared(house, caller.tenant, step)
        likely = set(_pairs(rows)) - seen
        seen |= likely
        yield await _confirmed(house, caller, sorted(likely))


async def _confirmed(house: House, caller: Caller, likely: Sequence[tuple[SubjectId, SubjectId]]) -> list[Pair]:
    fields = telling_fields(house.policies.active(caller.tenant).policy_set.catalogue)
    found: list[Pair] = []
    for start in range(0, len(likely), AT_ONCE // 2):
        part = likely[start : start + AT_ONCE // 2]
        people = tuple(dict.fromkeys(each for pair in part for each in pair))
        known = await known_people(
            house, caller.tenant, fields, await house.subjects.find(Wanted(caller.tenant, people, profile=True))
        )
        if known:
            await note_comparison(house, caller, fields, [each.found for each in known.values()])
        pairs = [
            Pair(one, other, *alike(known[one].traits, known[other].traits))
            for one, other in part
            if one in known and other in known
        ]
        found += [pair for pair in pairs if pair.score >= LEAST]
    return found


async def _shared(house: House, tenant: TenantId, step: int) -> list[tuple[bytes, SubjectId]]:
    """Fetch a part of the index: digests that are whole and that two to a few people share."""
    it = BLIND_INDEX.c
    here = [it.tenant_id == tenant, it.digest >= bytes([step]), func.length(it.digest) == WHOLE]
    if step + 1 < STEPS:
        here.append(it.digest < bytes([step + 1]))
    people = func.count(it.subject_id.distinct())
    few = select(it.digest).where(*here).group_by(it.digest).having(people.between(2, MOST_SHARING))
    statement = (
        select(it.digest, it.subject_id).where(*here, it.digest.in_(few)).distinct().order_by(it.digest, it.subject_id)
    )
    async with house.data.reading() as connection:
        return [(row[0], SubjectId(row[1])) for row in (await connection.execute(statement)).all()]


def _pairs(rows: Sequence[tuple[bytes, SubjectId]]) -> Iterator[tuple[SubjectId, SubjectId]]:
    for _digest, group in groupby(rows, key=lambda row: row[0]):
        yield from combinations([subject for _same, subject in group], 2)
