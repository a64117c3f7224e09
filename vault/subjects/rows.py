"""The rows of subjects and records: what the body of a record contains, and how rows are built and found. No I/O.

The body has the record's values, each sealed on its own so that a read opens only what it shows, and their origins.
``msgpack([due, {field: sealed}, origins, since])``, with ``origins = msgpack([[source, collected_at, verified_at,
expires_at, purpose, [field, …]], …])`` as a binary string: a read needs no origin and skips it in one step, and
fields that were written together share one. ``due`` is the earliest ``expires_at`` of the record or nil. Times are
microseconds since 1970. ``since`` is the start of the retention time, :func:`happened_at`: a read sees by
it that no value can have expired. Older bodies have none, and need the full check at each read.

Blind indexes are keyed digests by which a sealed value can be found. A stolen table reveals that records share a value
(exact), a beginning (prefix) or an end (last_n), and how often. A shorter digest (``bits``) blurs this. Each match is
verified after unsealing.

A subject has one id in each other system, under the system's name. A subject that had two accounts in a shop has a
numbered second id after their merge: ``{"shop": "4711", "shop-2": "4712"}``.
"""

from __future__ import annotations

import re
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeGuard, cast

import msgspec

from vault.catalogue.types import encode, index_text
from vault.clock import to_microseconds
from vault.crypto.derive import FULL
from vault.crypto.seal import record_aad
from vault.errors import CannotOpen, Fault, InvalidInput
from vault.ids import Pseudonym, RecordId, SubjectId, is_slug, random_id
from vault.subjects.tables import SUBJECTS
from vault.unicode import is_stream_safe, normalize

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from vault.catalogue.model import Field, Index
    from vault.catalogue.types import JsonValue
    from vault.crypto.derive import IndexKeys
    from vault.crypto.keyring import Keyring
    from vault.crypto.row_mac import RowKeys
    from vault.crypto.seal import SubjectKeys
    from vault.ids import TenantId
    from vault.storage.columns import AnyRow
    from vault.subjects.store import Moments


class Stored(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One sealed value with its provenance; times in microseconds since 1970."""

    sealed: bytes
    source: str | None = None
    collected_at: int | None = None
    verified_at: int | None = None
    expires_at: int | None = None
    purpose: str | None = None


class Origin(NamedTuple):
    """The origin of values: stored with each of them, and shown to the person on access (Art. 15(1)(g))."""

    source: str
    collected_at: datetime
    purpose: str
    expires_at: datetime | None = None
    verified_at: datetime | None = None


class Sealed(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The parts of a body that a read needs."""

    due: int | None
    values: dict[str, bytes]
    origins: bytes
    since: int = 0


class _Shared(msgspec.Struct, array_like=True, frozen=True, gc=False):
    source: str | None
    collected_at: int | None
    verified_at: int | None
    expires_at: int | None
    purpose: str | None
    fields: list[str]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Sealed).decode
_decode_origins = msgspec.msgpack.Decoder(list[_Shared]).decode


def pack(body: Mapping[str, Stored], occurred_at: datetime | None) -> bytes:
    """Write a body.

    Args:
        occurred_at: the time in the record's row.
    """
    shared: dict[tuple[object, ...], list[str]] = {}
    for field, stored in body.items():
        shared.setdefault(msgspec.structs.astuple(stored)[1:], []).append(field)
    # Packed once more within the body: a read that needs no origin does not decode them.
    origins = _encode([[*origin, fields] for origin, fields in shared.items()])
    values = {field: stored.sealed for field, stored in body.items()}
    since = earliest_collected(body) if occurred_at is None else to_microseconds(occurred_at)
    return _encode(Sealed(earliest_expiry(body), values, origins, since or 0))


def open_body(packed: bytes) -> Sealed:
    """Read the sealed values of a body, and when the first of them expires.

    Raises:
        CannotOpen: the bytes are not a body.
    """
    try:
        return _decode(packed)
    except msgspec.MsgspecError:
        raise CannotOpen from None


NotWhole = msgspec.MsgspecError
"""Raised by :attr:`Picker.pick`."""


class Picked(Protocol):
    """Some values of a body, as a struct in the order of the fields; ``origins`` are still packed."""

    due: int | None
    values: msgspec.Struct
    origins: msgspec.Raw
    since: int


class Picker:
    """Reads some values of a body and skips all others, which takes a third of the time.

    Args:
        fields: the values to read.
    """

    __slots__ = ("pick",)

    def __init__(self, fields: Sequence[str]) -> None:
        names = {f"f{position}": field for position, field in enumerate(fields)}
        values = msgspec.defstruct("Picked", [(name, bytes) for name in names], rename=names, frozen=True, gc=False)
        body = msgspec.defstruct(
            "Body",
            [("due", int | None), ("values", values), ("origins", msgspec.Raw), ("since", int, 0)],
            array_like=True,
            frozen=True,
            gc=False,
        )
        self.pick: Callable[[bytes], Picked] = cast("Any", msgspec.msgpack.Decoder(body).decode)
        """Reads the values of a body; raises :data:`NotWhole` if one is missing, or the bytes are not a body."""


def unpack(packed: bytes) -> dict[str, Stored]:
    """Read a body with the origins of its values.

    Raises:
        CannotOpen: the bytes are not a body, or a value has no origin.
    """
    body = open_body(packed)
    try:
        origins = {field: origin for origin in _decode_origins(body.origins) for field in origin.fields}
        # A value without an origin is damage and not a value without an end: it must not be shown for ever.
        return {field: _stored(sealed, origins[field]) for field, sealed in body.values.items()}
    except (msgspec.MsgspecError, KeyError):
        raise CannotOpen from None


def happened_at(row: AnyRow | Moments, body: Mapping[str, Stored]) -> int:
    """Return the start of a record's retention time, in microseconds since 1970.

    It is when the record happened or, if that is unknown, when the first of its values was collected.
    """
    if row.occurred_at is not None:
        return to_microseconds(row.occurred_at)
    collected = earliest_collected(body)
    return to_microseconds(row.created_at) if collected is None else collected


def earliest_collected(body: Mapping[str, Stored]) -> int | None:
    """Return when the first of a record's values was collected; None if it is unknown of all."""
    return min((stored.collected_at for stored in body.values() if stored.collected_at is not None), default=None)


def coarser(body: Mapping[str, Stored], fields: Iterable[str]) -> set[str]:
    """Return the names of generalised values in a body: views that replaced the values of the fields."""
    names = set(fields)
    return {name for name in body if "." in name and name.partition(".")[0] in names}


def view_name(name: str) -> str:
    """Return the view that a value in a body is: a generalised value is a view already."""
    return name if "." in name else f"{name}.clear"


def seal_values(keys: SubjectKeys, aad: bytes, values: Mapping[str, bytes], origin: Origin) -> dict[str, Stored]:
    """Seal the canonical bytes of several fields of one record."""
    collected = to_microseconds(origin.collected_at)
    expires = None if origin.expires_at is None else to_microseconds(origin.expires_at)
    verified = None if origin.verified_at is None else to_microseconds(origin.verified_at)
    return {
        field: Stored(keys.seal(field, plaintext, aad), origin.source, collected, verified, expires, origin.purpose)
        for field, plaintext in values.items()
    }


def earliest_expiry(body: Mapping[str, Stored]) -> int | None:
    """Return when the first of a record's values expires; None if none does."""
    return min((stored.expires_at for stored in body.values() if stored.expires_at is not None), default=None)


def _stored(sealed: bytes, origin: _Shared) -> Stored:
    return Stored(sealed, origin.source, origin.collected_at, origin.verified_at, origin.expires_at, origin.purpose)


LONGEST_EXTERNAL_ID = 200
DAMAGED = "looks-like-spreadsheet-damage"
_SCIENTIFIC = re.compile(r"[+-]?[0-9][.,][0-9]+[Ee][+-][0-9]{2,3}")
EXTERNAL_IDS = "external_ids"
"""The field of the profile with other systems' ids, sealed; keyed digests of them are indexed in addition."""


PREFIXES = range(2, 9)
"""Lengths of the beginnings in a prefix index. One letter would match too many values."""


class Rows(NamedTuple):
    """A record's row and its index rows, with the columns in the order of the tables."""

    record: tuple[object, ...]
    leads: list[tuple[object, ...]]


class Maker(NamedTuple):
    """The arguments that all records of one write share."""

    tenant: TenantId
    index_keys: IndexKeys
    row_keys: RowKeys
    now: datetime

    @classmethod
    async def of(cls, keyring: Keyring, tenant: TenantId, now: datetime) -> Maker:
        """Return a maker with the tenant's keys."""
        return cls(tenant, await keyring.index_keys(tenant), await keyring.row_keys(tenant), now)


class NewRecord(NamedTuple):
    """A record to seal: where it goes, its normalised values with the fields that declare them, and their origin."""

    subject: SubjectId
    collection: str
    id: RecordId
    fields: Mapping[str, Field]
    values: Mapping[str, JsonValue]
    origin: Origin
    occurred_at: datetime | None = None
    external_digest: bytes | None = None


def record_rows(maker: Maker, keys: SubjectKeys, record: NewRecord) -> Rows:
    """Seal the values of a new record, and derive its index rows."""
    subject, collection, id_, fields, values, origin, occurred_at, external_digest = record
    tenant, index_keys, _row_keys, now = maker
    plain = {name: encode(value) for name, value in values.items()}
    body = pack(seal_values(keys, record_aad(tenant, subject, collection, id_), plain, origin), occurred_at)
    row = (tenant, subject, collection, id_, 1, now, now, occurred_at, now, external_digest, body)
    index = [
        (tenant, digest, subject, id_, index_keys.version)
        for name, field in fields.items()
        if field.indexes and name in values
        for digest in digests(index_keys, field, values[name])
    ]
    # Short digests of two values may be equal, and a row of the index is unique.
    return Rows(row, list(dict.fromkeys(index)))


def digests(keys: IndexKeys, field: Field, value: JsonValue) -> list[bytes]:
    """Return the digests by which a value can be found, each once."""
    if not field.indexes:
        return []
    text = index_text(field.type, value)
    all_digests = [
        keys.digest(_key_name(field, index.kind, part), part, bits=index.bits)
        for index in field.indexes
        for part in _parts(index.kind, text)
    ]
    return list(dict.fromkeys(all_digests))


def index_of(keys: IndexKeys, fields: Mapping[str, Field], values: Mapping[str, JsonValue]) -> frozenset[bytes]:
    """Return the digests by which a record with these values can be found. A field without a declaration has none."""
    declared = {name: fields[name] for name in values if name in fields}
    return frozenset(digest for name, field in declared.items() for digest in digests(keys, field, values[name]))


def may_collide(field: Field) -> bool:
    """Return whether a digest of a value of the field may be equal to one of another value, or of another field."""
    return any(index.bits < FULL for index in field.indexes)


def search_digest(keys: IndexKeys, field: Field, index: Index, text: str) -> bytes:
    """Return the digest that a search for a normalised text looks up."""
    # A longer beginning is looked up by its first letters; the candidates are compared with the whole text.
    part = text[: PREFIXES.stop - 1] if index.kind == "prefix" else text
    return keys.digest(_key_name(field, index.kind, part), part, bits=index.bits)


def matches(kind: str, stored: str, text: str) -> bool:
    """Return whether an unsealed, normalised value matches the text of a search."""
    if kind == "exact":
        return stored == text
    if kind == "prefix":
        return stored.startswith(text)
    return stored.endswith(text)


def tail_length(kind: str) -> int:
    """Return the ``n`` of ``last_<n>``."""
    return int(kind.removeprefix("last_"))


def _parts(kind: str, text: str) -> Iterable[str]:
    if kind == "exact":
        return (text,)
    if kind == "prefix":
        return (text[:size] for size in PREFIXES if size <= len(text))
    size = tail_length(kind)
    # A shorter text has no such end: indexed as a whole, it would be confirmed in full by a search.
    return (text[-size:],) if len(text) >= size else ()


def _key_name(field: Field, kind: str, part: str) -> str:
    """Return the name of the key. Prefixes of each length have a key of their own, so that digests do not correlate."""
    return f"{field.whole}:{kind}:{len(part)}" if kind == "prefix" else f"{field.whole}:{kind}"


def subject_row(maker: Maker, subject: SubjectId) -> tuple[TenantId, SubjectId, Pseudonym, str, datetime, None, bytes]:
    """Build the row of a new subject, with a random pseudonym and its MAC."""
    # Random, and not by time as other ids: the audit log must not show when a person became a customer.
    row = (maker.tenant, subject, Pseudonym(random_id()), "active", maker.now, None)
    return (*row, SUBJECTS.mac(maker.row_keys, row))


def external_rows(
    maker: Maker, subject: SubjectId, external_ids: Mapping[str, str]
) -> list[tuple[TenantId, bytes, SubjectId, int]]:
    """Build the references from other systems' ids to the subject."""
    return [
        (maker.tenant, external_digest(maker.index_keys, system, value), subject, maker.index_keys.version)
        for system, value in external_ids.items()
    ]


def external_digest(index_keys: IndexKeys, system: str, value: str) -> bytes:
    """Return the digest of another system's id of a subject."""
    return index_keys.digest(f"external:{system}", composed(value))


def record_digest(index_keys: IndexKeys, collection: str, value: str) -> bytes:
    """Return the digest of another system's id of a record, such as an order number."""
    return index_keys.digest(f"external-record:{collection}", composed(value))


def checked_external_ids(given: Mapping[str, object], *, at: str = "/external_ids") -> dict[str, str]:
    """Validate other systems' ids, ``{"shop": "4711"}``, and return them normalised.

    Raises:
        InvalidInput: a system is not a slug, or an id is not a string of 1 to 200 characters. The faults name positions
            only: the keys are input too.
    """
    faults = []
    external_ids = {}
    for position, (system, value) in enumerate(given.items(), 1):
        if not is_slug(system):
            faults.append(
                Fault(at, "invalid-system", f"key {position} is not a valid name of a system: use a-z, 0-9, - and _")
            )
        elif (wrong := external_id_fault(value, at=at, name=f"the id at key {position}")) is not None:
            faults.append(wrong)
        else:
            external_ids[system] = composed(str(value))
    if faults:
        codes = {fault.code for fault in faults}
        code = DAMAGED if codes == {DAMAGED} else "invalid-external-id"
        raise InvalidInput("some external ids are invalid", faults=faults, code=code)
    return external_ids


def composed(external_id: str) -> str:
    """Return an id in Unicode NFC, so that the same letters are the same id however they were typed."""
    return normalize("NFC", external_id) if is_external_id(external_id) else external_id  # no other one is stored


def external_id_fault(value: object, *, at: str, name: str = "it") -> Fault | None:
    """Return what is wrong with an id that is to be stored; None if nothing is.

    A number that a spreadsheet shows in its scientific form has lost digits, so it is no one's id any more.
    """
    if not is_external_id(value):
        detail = f"{name} is not a string of 1 to {LONGEST_EXTERNAL_ID} printable characters"
        return Fault(at, "invalid-external-id", detail)
    if is_scientific(value):
        return Fault(
            at,
            "looks-like-spreadsheet-damage",
            f"{name} is a number in scientific form, as spreadsheets show long ones",
        )
    return None


def is_scientific(text: str) -> bool:
    """Return whether a text is a number as spreadsheets show long ones: ``4.711E+03``."""
    return _SCIENTIFIC.fullmatch(text) is not None


def is_external_id(value: object) -> TypeGuard[str]:
    """Return whether a value can be another system's id."""
    return (
        isinstance(value, str)
        and 1 <= len(value) <= LONGEST_EXTERNAL_ID
        and value.isprintable()
        and is_stream_safe(value)
    )


LONGEST_SYSTEM = 58
"""Characters of a system's name that are kept when a number is appended."""
_NUMBERED = re.compile(r"(.+)-\d+")


def united(survivor: Mapping[str, JsonValue], duplicate: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Merge two subjects' external ids: the survivor's keep their names, a second id in a system gets a number."""
    result = dict(survivor)
    for system, value in duplicate.items():
        if system not in result:
            result[system] = value
        elif not is_known(result, system, value):
            result[_free(result, _base(duplicate, system))] = value
    return result


def unknown(ids: Mapping[str, JsonValue], given: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Return the given ids without those that the subject has under a numbered name."""
    return {name: value for name, value in given.items() if ids.get(name) == value or not is_known(ids, name, value)}


def is_known(ids: Mapping[str, JsonValue], system: str, value: JsonValue) -> bool:
    """Return whether the subject has this id in a system, also under a numbered name."""
    return any(known == value and system in {name, _unnumbered(name)} for name, known in ids.items())


def _base(ids: Mapping[str, JsonValue], system: str) -> str:
    base = _unnumbered(system)
    return base if base in ids else system


def _unnumbered(system: str) -> str:
    match = _NUMBERED.fullmatch(system)
    return system if match is None else match[1]


def _free(ids: Mapping[str, JsonValue], system: str) -> str:
    names = (f"{system[:LONGEST_SYSTEM]}-{number}" for number in count(2))
    return next(name for name in names if name not in ids)
