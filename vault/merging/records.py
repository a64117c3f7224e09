"""The other entry's records, moved to the person who stays, within a transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from vault.access.authorization import SUBJECT_NOT_FOUND
from vault.errors import NotFound
from vault.ids import RecordId
from vault.merging.reseal import is_same, merged_profile, moved
from vault.subjects.changes import change_index, change_record, locked_record
from vault.subjects.merged import all_records, records_by_external
from vault.subjects.store import PROFILE

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.context import House
    from vault.merging.reseal import Move, Profile
    from vault.subjects.rows import Rows


class Moved(NamedTuple):
    """What came over; the words are those of :class:`vault.merging.merge.Merged`."""

    records: int
    same: int
    apart: int
    profile: Profile


async def move_records(house: House, connection: AsyncConnection, move: Move) -> Moved:
    """Write the other's records under the survivor's id and key; the old ones are still there afterwards.

    Raises:
        NotFound: one of the two has no profile.
        CannotOpen: a value does not open; then nothing is moved.
    """
    rows = await all_records(connection, move.tenant, move.duplicate.id)
    profile = next((row for row in rows if row.collection == PROFILE), None)
    mine = await locked_record(connection, move.tenant, move.survivor.id, PROFILE, RecordId(move.survivor.id))
    if profile is None or mine is None:
        raise NotFound(SUBJECT_NOT_FOUND.detail, code=SUBJECT_NOT_FOUND.code)
    merged = await _merge_profiles(house, connection, move, mine, profile)
    digests = [row.external_digest for row in rows if row.external_digest is not None]
    there = await records_by_external(connection, move.tenant, move.survivor.id, digests)
    made: list[Rows] = []
    same, apart, now = 0, 0, house.clock.now()
    for row in rows:
        if row is profile:
            continue
        digest = row.external_digest
        earlier = there.get((row.collection, digest))
        if earlier is not None and is_same(move, earlier, row):
            same += 1
            continue
        apart += earlier is not None
        made.append(moved(move, row, external_digest=digest if earlier is None else None, now=now))
    index = [each for rows in made for each in rows.leads]
    await house.subjects.add(connection, records=[each.record for each in made], index=index)
    return Moved(len(made), same, apart, merged)


async def _merge_profiles(house: House, connection: AsyncConnection, move: Move, mine: Any, theirs: Any) -> Profile:
    profile = merged_profile(move, mine, theirs)
    if profile.body != mine.body:
        now = house.clock.now()
        await change_record(connection, mine, body=profile.body, revision=mine.revision + 1, updated_at=now, due_at=now)
    where, version = (move.tenant, move.survivor.id, mine.id), move.index_keys.version
    await change_index(connection, *where, gone=(), come=profile.come, version=version)
    return profile
