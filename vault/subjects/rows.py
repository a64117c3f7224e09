"""Build the rows of new subjects and records: seal the values and derive their digests. No I/O.

Blind indexes are keyed digests by which a sealed value can be found. A stolen table reveals that records share a value
(exact), a beginning (prefix) or an end (last_n), and how often. A shorter digest (``bits``) blurs this. Each match is
verified after unsealing.

A subject has one id in each other system, under the system's name. A subject that had two accounts in a shop has a
numbered second id after their merge: ``{"shop": "4711", "shop-2": "4712"}``.
"""

from __future__ import annotations

import re
from itertools import count
from typing import TYPE_CHECKING, NamedTuple, TypeGuard

from vault.catalogue.types import encode, index_text
from vault.crypto.derive import FULL
from vault.crypto.seal import record_aad
from vault.errors import Fault, InvalidInput
from vault.ids import Pseudonym, RecordId, SubjectId, is_slug, random_id
from vault.subjects.record_body import Origin, pack, seal_values
from vault.unicode import is_stream_safe, normalize

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from vault.catalogue.model import Field, Index
    from vault.catalogue.types import JsonValue
    from vault.crypto.derive import IndexKeys
    from vault.crypto.seal import SubjectKeys
    from vault.ids import TenantId


LONGEST_EXTERNAL_ID = 200
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
    now: datetime


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
    tenant, index_keys, now = maker
    plain = {name: encode(value) for name, value in values.items()}
    body = pack(seal_values(keys, record_aad(tenant, subject, collection, id_), plain, origin), occurred_at)
    row = (tenant, subject, collection, id_, 1, now, now, occurred_at, now, external_digest, body)
    index = [
        (tenant, digest, subject, id_, index_keys.version)
        for name, field in fields.items()
        if field.indexes and name in values
        for digest in digests(index_keys, field, values[name])
    ]
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
    return (text[-size:],) if len(text) >= size else ()


def _key_name(field: Field, kind: str, part: str) -> str:
    """Return the name of the key. Prefixes of each length have a key of their own, so that digests do not correlate."""
    return f"{field.whole}:{kind}:{len(part)}" if kind == "prefix" else f"{field.whole}:{kind}"


def subject_row(maker: Maker, subject: SubjectId) -> tuple[TenantId, SubjectId, Pseudonym, str, datetime, None]:
    """Build the row of a new subject, with a random pseudonym."""
    return (maker.tenant, subject, Pseudonym(random_id()), "active", maker.now, None)


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
        elif not is_external_id(value):
            detail = f"the id at key {position} is not a string of 1 to {LONGEST_EXTERNAL_ID} printable characters"
            faults.append(Fault(at, "invalid-external-id", detail))
        else:
            external_ids[system] = composed(value)
    if faults:
        raise InvalidInput("some external ids are invalid", faults=faults, code="invalid-external-id")
    return external_ids


def composed(external_id: str) -> str:
    """Return an id in Unicode NFC, so that the same letters are the same id however they were typed."""
    return normalize("NFC", external_id) if is_external_id(external_id) else external_id  # no other one is stored


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
