"""Move the duplicate's records: open their values and seal them again for the survivor.

Only sealed values, digests and names of fields leave this module.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from vault.access.authorization import subject_not_found
from vault.catalogue.types import decode, encode
from vault.consent.expiry import BIRTH_DATE
from vault.contacts.changes import ContactHolder, add_changes, contact_fields, same_address, sealed_change
from vault.crypto.seal import record_aad
from vault.ids import RecordId
from vault.subjects.rows import EXTERNAL_IDS, Rows, digests, pack, united, unpack
from vault.subjects.store import (
    PROFILE,
    IndexChange,
    change_index,
    change_record,
    locked_record,
    records_by_external,
    records_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from vault.catalogue.model import Catalogue, Field
    from vault.catalogue.types import JsonValue
    from vault.contacts.changes import ChangeKind, ContactChange
    from vault.crypto.derive import IndexKeys
    from vault.lifecycle.personal_data import KeyHolder, MergeContext, Resealer
    from vault.storage.columns import AnyRow
    from vault.subjects.rows import Stored


@dataclass(frozen=True, slots=True)
class RecordMove:
    """Opens, seals and digests values of the records that move."""

    resealer: Resealer
    index_keys: IndexKeys
    catalogue: Catalogue

    def open(self, holder: KeyHolder, row: AnyRow) -> dict[str, bytes]:
        """Open all values of a record of one of the two subjects; raises CannotOpen."""
        aad = record_aad(self.resealer.tenant, holder.id, row.collection, row.id)
        return {name: holder.keys.open(name, stored.sealed, aad) for name, stored in unpack(row.body).items()}

    def seal(self, collection: str, record: RecordId, name: str, origin: Stored, value: bytes) -> Stored:
        """Seal a value for the survivor, with its previous origin and times."""
        target = self.resealer.target
        aad = record_aad(self.resealer.tenant, target.id, collection, record)
        return msgspec.structs.replace(origin, sealed=target.keys.seal(name, value, aad))

    def digests(self, field: Field | None, value: bytes) -> list[bytes]:
        """List the digests of a value. A field that the catalogue no longer has is kept without digests."""
        return [] if field is None else digests(self.index_keys, field, decode(value))


@dataclass(frozen=True, slots=True)
class MergedProfile:
    """The survivor's profile after the merge.

    Attributes:
        body: the packed values.
        taken: names of the fields that came from the duplicate.
        conflicts: names of the fields of which both had a value; the survivor's stays.
        united: names of the fields whose values were united.
        added_digests: digests of the values that came from the duplicate.
        birth_date: the resulting one, for the check of a child's consents; None if there is none.
        contacts: the addresses that do not prove the two subjects' person yet, and those that are dropped.
    """

    body: bytes
    taken: Sequence[str]
    conflicts: Sequence[str]
    united: Sequence[str]
    added_digests: frozenset[bytes]
    birth_date: object
    contacts: Sequence[ContactChange]


@dataclass(frozen=True, slots=True)
class MovedRecords:
    """What moved; :class:`vault.merging.views.MergeResult` explains the counts."""

    records: int
    same: int
    apart: int
    profile: MergedProfile


async def move_records(merge: MergeContext, move: RecordMove) -> MovedRecords:
    """Write the duplicate's records under the survivor's id and key. The old rows are not deleted here.

    Raises:
        NotFound: one of the two has no profile.
        CannotOpen: a value does not open; then nothing is moved.
    """
    connection, tenant = merge.connection, merge.tenant
    rows = await records_of(connection, tenant, merge.duplicate, lock=True)
    duplicates = next((row for row in rows if row.collection == PROFILE), None)
    survivors = await locked_record(connection, tenant, merge.survivor, PROFILE, RecordId(merge.survivor))
    if duplicates is None or survivors is None:
        raise subject_not_found()
    profile = await _merge_profiles(merge, move, survivors, duplicates)
    external = [row.external_digest for row in rows if row.external_digest is not None]
    existing = await records_by_external(connection, tenant, merge.survivor, external)
    moved: list[Rows] = []
    same = apart = 0
    for row in rows:
        if row is duplicates:
            continue
        twin = existing.get((row.collection, row.external_digest))
        if twin is not None and _is_same(move, twin, row):
            same += 1
            continue
        apart += twin is not None
        moved.append(_moved_rows(move, row, row.external_digest if twin is None else None, merge.now))
    index = [lead for record in moved for lead in record.leads]
    await merge.services.subjects.add(connection, records=[record.record for record in moved], index=index)
    return MovedRecords(len(moved), same, apart, profile)


def _is_same(move: RecordMove, survivors: AnyRow, duplicates: AnyRow) -> bool:
    """Return whether two records have the same fields with the same values, and happened at the same time."""
    return survivors.occurred_at == duplicates.occurred_at and (
        move.open(move.resealer.target, survivors) == move.open(move.resealer.source, duplicates)
    )


def _moved_rows(move: RecordMove, row: AnyRow, external_digest: bytes | None, now: datetime) -> Rows:
    """Return the rows of a moved record: the same id, values, origins and times."""
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
    index = {digest for name, value in values.items() for digest in move.digests(fields.get(name), value)}
    return Rows(record, [(row.tenant_id, digest, survivor, row.id, version) for digest in sorted(index)])


async def _merge_profiles(
    merge: MergeContext, move: RecordMove, survivors: AnyRow, duplicates: AnyRow
) -> MergedProfile:
    profile = _merged_profile(move, survivors, duplicates, merge.now)
    await add_changes(merge.connection, merge.tenant, profile.contacts)
    if profile.body != survivors.body:
        revision, now = survivors.revision + 1, merge.now
        await change_record(
            merge.connection, survivors, body=profile.body, revision=revision, updated_at=now, due_at=now
        )
    change = IndexChange(survivors, gone=frozenset(), come=profile.added_digests)
    await change_index(merge.connection, [change], move.index_keys.version)
    return profile


def _merged_profile(move: RecordMove, survivors: AnyRow, duplicates: AnyRow, now: datetime) -> MergedProfile:
    """Add the values that the survivor's profile lacks. Where both have a value, the survivor's stays."""
    values, others = move.open(move.resealer.target, survivors), move.open(move.resealer.source, duplicates)
    body, origins = unpack(survivors.body), unpack(duplicates.body)
    fields = move.catalogue.collections[PROFILE].fields
    taken = [name for name in others if name not in values]
    for name in taken:
        body[name] = move.seal(PROFILE, survivors.id, name, origins[name], others[name])
    conflicts = [name for name in others if name in values and others[name] != values[name]]
    united_fields = [name for name in conflicts if name == EXTERNAL_IDS]
    if united_fields:
        conflicts.remove(EXTERNAL_IDS)
        ids = encode(united(_external_ids(values), _external_ids(others)))
        body[EXTERNAL_IDS] = move.seal(PROFILE, survivors.id, EXTERNAL_IDS, body[EXTERNAL_IDS], ids)
    birth_date = values.get(BIRTH_DATE) or others.get(BIRTH_DATE)
    return MergedProfile(
        pack(body, None),
        taken,
        conflicts,
        united_fields,
        frozenset(digest for name in taken for digest in move.digests(fields.get(name), others[name])),
        None if birth_date is None else decode(birth_date),
        _contact_changes(move, values, others, now),
    )


def _contact_changes(
    move: RecordMove, values: dict[str, bytes], others: dict[str, bytes], now: datetime
) -> list[ContactChange]:
    """Return which addresses of the merged profile are changed ones, and which addresses of the duplicate are dropped.

    An address that only one of the two had would now prove the other too: it has to be there for a while first, as if
    it had been written. Otherwise a merge with a made-up person would be a way to enter an address of one's own.
    """
    resealer = move.resealer
    holder = ContactHolder(resealer.tenant, resealer.target.id, resealer.target.keys, now)
    names = contact_fields(move.catalogue.collections[PROFILE].fields)
    ours, theirs = ({name: decode(of[name]) for name in names if name in of} for of in (values, others))
    merged = {**theirs, **ours}

    def among(address: JsonValue, addresses: Mapping[str, JsonValue]) -> bool:
        return any(same_address(address, other) for other in addresses.values())

    changes = []
    for name, address in merged.items():
        is_new = not (among(address, ours) and among(address, theirs))
        dropped = theirs.get(name)
        if among(dropped, merged):
            dropped = None
        if is_new or dropped is not None:
            kind: ChangeKind = "removed" if not is_new else "added" if dropped is None else "replaced"
            changes.append(sealed_change(holder, name, kind, dropped))
    return changes


def _external_ids(values: dict[str, bytes]) -> dict[str, JsonValue]:
    ids = decode(values[EXTERNAL_IDS])
    return ids if isinstance(ids, dict) else {}
