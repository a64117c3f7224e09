"""Records of one person, opened and sealed again under another's key, each at its new place. No I/O.

Nothing leaves here but sealed values, digests and names of fields.

The other entry's records, moved to the person who stays, within a transaction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from vault.access.authorization import SUBJECT_NOT_FOUND
from vault.catalogue.types import decode, encode
from vault.consent.guardians import BIRTH_DATE
from vault.crypto.seal import record_aad
from vault.errors import NotFound
from vault.ids import RecordId
from vault.subjects.blind_index import digests
from vault.subjects.changes import change_index, change_record, locked_record
from vault.subjects.merged import all_records, records_by_external
from vault.subjects.record_body import pack, unpack
from vault.subjects.rows import EXTERNAL_IDS, Rows, united
from vault.subjects.store import PROFILE

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.catalogue.model import Catalogue, Field
    from vault.context import Services
    from vault.crypto.derive import IndexKeys
    from vault.crypto.seal import SubjectKeys
    from vault.ids import SubjectId, TenantId
    from vault.subjects.record_body import Stored


class Side(NamedTuple):
    """One of the two people: the id, and the keys that open and seal."""

    id: SubjectId
    keys: SubjectKeys


class Move(NamedTuple):
    """From whom to whom, and what both have in common."""

    tenant: TenantId
    survivor: Side
    duplicate: Side
    index_keys: IndexKeys
    catalogue: Catalogue


class Profile(NamedTuple):
    """The survivor's profile as it is to be.

    ``taken`` names the fields that came from the other one, ``conflicts`` those of which both had a value and the
    survivor's stayed; ``come`` are the digests of what was taken. ``born`` is the date of birth of both now, for the
    check whether a child's consents stand.
    """

    body: bytes
    taken: list[str]
    conflicts: list[str]
    come: set[bytes]
    born: object


def moved(move: Move, row: Any, *, external_digest: bytes | None, now: datetime) -> Rows:
    """Make the rows of a record at its new place: the same id, values, origins and times."""
    fields = move.catalogue.collections[row.collection].fields if row.collection in move.catalogue.collections else {}
    values = _opened(move, move.duplicate, row)
    body = unpack(row.body)
    sealed = {name: _sealed(move, row.collection, row.id, name, body[name], value) for name, value in values.items()}
    record = (
        row.tenant_id, move.survivor.id, row.collection, row.id, row.revision, row.created_at, row.updated_at,
        row.occurred_at, now, external_digest, pack(sealed, row.occurred_at),
    )  # fmt: skip
    version = move.index_keys.version
    found = {digest for name, value in values.items() for digest in _digests(move, fields.get(name), value)}
    return Rows(record, [(row.tenant_id, digest, move.survivor.id, row.id, version) for digest in sorted(found)])


def is_same(move: Move, mine: Any, theirs: Any) -> bool:
    """Tell whether both have the same record: the same fields with the same values, at the same moment."""
    return mine.occurred_at == theirs.occurred_at and (
        _opened(move, move.survivor, mine) == _opened(move, move.duplicate, theirs)
    )


def merged_profile(move: Move, mine: Any, theirs: Any) -> Profile:
    """Take over what the survivor's profile lacks; where both have a value, the survivor's stays."""
    have, come = _opened(move, move.survivor, mine), _opened(move, move.duplicate, theirs)
    body, origins = unpack(mine.body), unpack(theirs.body)
    fields = move.catalogue.collections[PROFILE].fields
    taken = [name for name in come if name not in have]
    for name in taken:
        body[name] = _sealed(move, PROFILE, mine.id, name, origins[name], come[name])
    conflicts = [name for name in come if name in have and come[name] != have[name]]
    if EXTERNAL_IDS in conflicts:
        conflicts.remove(EXTERNAL_IDS)
        both = encode(united(_ids(have), _ids(come)))
        body[EXTERNAL_IDS] = _sealed(move, PROFILE, mine.id, EXTERNAL_IDS, body[EXTERNAL_IDS], both)
    return Profile(
        pack(body, None),
        taken,
        conflicts,
        {digest for name in taken for digest in _digests(move, fields.get(name), come[name])},
        _born(have, come),
    )


def _born(have: dict[str, bytes], come: dict[str, bytes]) -> object:
    found = have.get(BIRTH_DATE) or come.get(BIRTH_DATE)
    return None if found is None else decode(found)


def _ids(values: dict[str, bytes]) -> dict[str, Any]:
    found = decode(values[EXTERNAL_IDS])
    return found if isinstance(found, dict) else {}


def _opened(move: Move, side: Side, row: Any) -> dict[str, bytes]:
    where = record_aad(move.tenant, side.id, row.collection, row.id)
    return {name: side.keys.open(name, stored.sealed, where) for name, stored in unpack(row.body).items()}


def _sealed(move: Move, collection: str, record: RecordId, name: str, origin: Stored, value: bytes) -> Stored:
    where = record_aad(move.tenant, move.survivor.id, collection, record)
    return msgspec.structs.replace(origin, sealed=move.survivor.keys.seal(name, value, where))


def _digests(move: Move, field: Field | None, value: bytes) -> list[bytes]:
    """List the digests of a value; none where the catalogue no longer has the field, whose value stays all the same."""
    return [] if field is None else digests(move.index_keys, field, decode(value))


class Moved(NamedTuple):
    """What came over; the words are those of :class:`vault.merging.merge.Merged`."""

    records: int
    same: int
    apart: int
    profile: Profile


async def move_records(services: Services, connection: AsyncConnection, move: Move) -> Moved:
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
    merged = await _merge_profiles(services, connection, move, mine, profile)
    digests = [row.external_digest for row in rows if row.external_digest is not None]
    there = await records_by_external(connection, move.tenant, move.survivor.id, digests)
    made: list[Rows] = []
    same, apart, now = 0, 0, services.clock.now()
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
    await services.subjects.add(connection, records=[each.record for each in made], index=index)
    return Moved(len(made), same, apart, merged)


async def _merge_profiles(
    services: Services, connection: AsyncConnection, move: Move, mine: Any, theirs: Any
) -> Profile:
    profile = merged_profile(move, mine, theirs)
    if profile.body != mine.body:
        now = services.clock.now()
        await change_record(connection, mine, body=profile.body, revision=mine.revision + 1, updated_at=now, due_at=now)
    where, version = (move.tenant, move.survivor.id, mine.id), move.index_keys.version
    await change_index(connection, *where, gone=(), come=profile.come, version=version)
    return profile
