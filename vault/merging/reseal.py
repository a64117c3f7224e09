"""The duplicate's records, opened and sealed again for the survivor, each at its new place.

Nothing leaves here but sealed values, digests and names of fields.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from vault.access.authorization import SUBJECT_NOT_FOUND
from vault.catalogue.types import decode, encode
from vault.consent.expiry import BIRTH_DATE
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
    from collections.abc import Sequence
    from datetime import datetime

    from vault.catalogue.model import Catalogue, Field
    from vault.crypto.derive import IndexKeys
    from vault.lifecycle.personal_data import KeyHolder, MergeContext, Resealer
    from vault.subjects.record_body import Stored


@dataclass(frozen=True, slots=True)
class RecordMove:
    """What moving records needs: the keys of both subjects, those of the index, and the fields."""

    resealer: Resealer
    index_keys: IndexKeys
    catalogue: Catalogue

    def open(self, holder: KeyHolder, row: Any) -> dict[str, bytes]:
        """Open all values of one of the two subjects' records.

        Raises:
            CannotOpen: one does not open.
        """
        aad = record_aad(self.resealer.tenant, holder.id, row.collection, row.id)
        return {name: holder.keys.open(name, stored.sealed, aad) for name, stored in unpack(row.body).items()}

    def seal(self, collection: str, record: RecordId, name: str, origin: Stored, value: bytes) -> Stored:
        """Seal a value for the survivor; its origin and times stay."""
        target = self.resealer.target
        aad = record_aad(self.resealer.tenant, target.id, collection, record)
        return msgspec.structs.replace(origin, sealed=target.keys.seal(name, value, aad))

    def digests(self, field: Field | None, value: bytes) -> list[bytes]:
        """List the digests of a value; none of a field that the catalogue no longer has, whose value stays."""
        return [] if field is None else digests(self.index_keys, field, decode(value))


@dataclass(frozen=True, slots=True)
class MergedProfile:
    """The survivor's profile as it becomes.

    Attributes:
        body: the packed values.
        taken: names of the fields that came from the duplicate.
        conflicts: names of the fields of which both had a value; the survivor's stays.
        added_digests: of the values that were taken.
        birth_date: of both now, for the check whether a child's consents stand; None if there is none.
    """

    body: bytes
    taken: Sequence[str]
    conflicts: Sequence[str]
    added_digests: frozenset[bytes]
    birth_date: object


@dataclass(frozen=True, slots=True)
class MovedRecords:
    """What moved; see :class:`vault.merging.merge.Merged` for the counts."""

    records: int
    same: int
    apart: int
    profile: MergedProfile


async def move_records(merge: MergeContext, move: RecordMove) -> MovedRecords:
    """Write the duplicate's records under the survivor's id and key; the old rows are still there afterwards.

    Raises:
        NotFound: one of the two has no profile.
        CannotOpen: a value does not open; then nothing is moved.
    """
    connection, tenant = merge.connection, merge.tenant
    rows = await all_records(connection, tenant, merge.duplicate)
    theirs = next((row for row in rows if row.collection == PROFILE), None)
    mine = await locked_record(connection, tenant, merge.survivor, PROFILE, RecordId(merge.survivor))
    if theirs is None or mine is None:
        raise NotFound(SUBJECT_NOT_FOUND.detail, code=SUBJECT_NOT_FOUND.code)
    profile = await _merge_profiles(merge, move, mine, theirs)
    external = [row.external_digest for row in rows if row.external_digest is not None]
    existing = await records_by_external(connection, tenant, merge.survivor, external)
    moved: list[Rows] = []
    same = apart = 0
    for row in rows:
        if row is theirs:
            continue
        twin = existing.get((row.collection, row.external_digest))
        if twin is not None and is_same(move, twin, row):
            same += 1
            continue
        apart += twin is not None
        moved.append(moved_rows(move, row, row.external_digest if twin is None else None, merge.now))
    index = [row for rows_ in moved for row in rows_.leads]
    await merge.services.subjects.add(connection, records=[rows_.record for rows_ in moved], index=index)
    return MovedRecords(len(moved), same, apart, profile)


def moved_rows(move: RecordMove, row: Any, external_digest: bytes | None, now: datetime) -> Rows:
    """Make the rows of a record at its new place: the same id, values, origins and times."""
    collection = move.catalogue.collections.get(row.collection)
    fields = {} if collection is None else collection.fields
    values = move.open(move.resealer.source, row)
    body = unpack(row.body)
    sealed = {name: move.seal(row.collection, row.id, name, body[name], value) for name, value in values.items()}
    survivor, version = move.resealer.target.id, move.index_keys.version
    record = (
        row.tenant_id, survivor, row.collection, row.id, row.revision, row.created_at, row.updated_at,
        row.occurred_at, now, external_digest, pack(sealed, row.occurred_at),
    )  # fmt: skip
    found = {digest for name, value in values.items() for digest in move.digests(fields.get(name), value)}
    return Rows(record, [(row.tenant_id, digest, survivor, row.id, version) for digest in sorted(found)])


def is_same(move: RecordMove, mine: Any, theirs: Any) -> bool:
    """Tell whether both subjects have the same record: the same fields with the same values, at the same moment."""
    return mine.occurred_at == theirs.occurred_at and (
        move.open(move.resealer.target, mine) == move.open(move.resealer.source, theirs)
    )


def merged_profile(move: RecordMove, mine: Any, theirs: Any) -> MergedProfile:
    """Take over what the survivor's profile lacks; where both have a value, the survivor's stays."""
    have, other = move.open(move.resealer.target, mine), move.open(move.resealer.source, theirs)
    body, origins = unpack(mine.body), unpack(theirs.body)
    fields = move.catalogue.collections[PROFILE].fields
    taken = [name for name in other if name not in have]
    for name in taken:
        body[name] = move.seal(PROFILE, mine.id, name, origins[name], other[name])
    conflicts = [name for name in other if name in have and other[name] != have[name]]
    if EXTERNAL_IDS in conflicts:
        conflicts.remove(EXTERNAL_IDS)
        both = encode(united(_external_ids(have), _external_ids(other)))
        body[EXTERNAL_IDS] = move.seal(PROFILE, mine.id, EXTERNAL_IDS, body[EXTERNAL_IDS], both)
    birth_date = have.get(BIRTH_DATE) or other.get(BIRTH_DATE)
    return MergedProfile(
        pack(body, None),
        taken,
        conflicts,
        frozenset(digest for name in taken for digest in move.digests(fields.get(name), other[name])),
        None if birth_date is None else decode(birth_date),
    )


async def _merge_profiles(merge: MergeContext, move: RecordMove, mine: Any, theirs: Any) -> MergedProfile:
    profile = merged_profile(move, mine, theirs)
    if profile.body != mine.body:
        now = merge.now
        await change_record(
            merge.connection, mine, body=profile.body, revision=mine.revision + 1, updated_at=now, due_at=now
        )
    await change_index(
        merge.connection,
        merge.tenant,
        merge.survivor,
        mine.id,
        gone=(),
        come=profile.added_digests,
        version=move.index_keys.version,
    )
    return profile


def _external_ids(values: dict[str, bytes]) -> dict[str, Any]:
    ids = decode(values[EXTERNAL_IDS])
    return ids if isinstance(ids, dict) else {}
