"""Records of one person, opened and sealed again under another's key, each at its new place. No I/O.

Nothing leaves here but sealed values, digests and names of fields.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from vault.catalogue.types import decode, encode
from vault.consent.guardians import BIRTH_DATE
from vault.crypto.seal import place
from vault.subjects.blind_index import digests
from vault.subjects.external_ids import united
from vault.subjects.record_body import pack, unpack
from vault.subjects.rows import EXTERNAL_IDS, Rows
from vault.subjects.store import PROFILE

if TYPE_CHECKING:
    from datetime import datetime

    from vault.catalogue.model import Catalogue, Field
    from vault.crypto.derive import IndexKeys
    from vault.crypto.seal import SubjectKeys
    from vault.ids import RecordId, SubjectId, TenantId
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
    where = place(move.tenant, side.id, row.collection, row.id)
    return {name: side.keys.open(name, stored.sealed, where) for name, stored in unpack(row.body).items()}


def _sealed(move: Move, collection: str, record: RecordId, name: str, origin: Stored, value: bytes) -> Stored:
    where = place(move.tenant, move.survivor.id, collection, record)
    return msgspec.structs.replace(origin, sealed=move.survivor.keys.seal(name, value, where))


def _digests(move: Move, field: Field | None, value: bytes) -> list[bytes]:
    """List the digests of a value; none where the catalogue no longer has the field, whose value stays all the same."""
    return [] if field is None else digests(move.index_keys, field, decode(value))
