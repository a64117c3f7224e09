"""Build the rows of new subjects and records: seal the values and derive the index rows. No I/O.

A subject has one id in each other system, under the system's name. A subject that had two accounts in a shop has a
numbered second id after their merge: ``{"shop": "4711", "shop-2": "4712"}``.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

from vault.crypto.seal import record_aad
from vault.errors import Fault, InvalidInput
from vault.ids import RecordId, SubjectId, is_slug, random_id
from vault.subjects.blind_index import digests
from vault.subjects.record_body import Origin, pack, seal_values
from vault.subjects.validation import encoded

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from vault.catalogue.model import Field
    from vault.crypto.derive import IndexKeys
    from vault.crypto.seal import SubjectKeys
    from vault.ids import TenantId


LONGEST_EXTERNAL_ID = 200
EXTERNAL_IDS = "external_ids"
"""The field of the profile with other systems' ids, sealed; keyed digests of them are indexed in addition."""


class Rows(NamedTuple):
    """A record's row and its index rows, with the columns in the order of the tables."""

    record: tuple[Any, ...]
    leads: list[tuple[Any, ...]]


class Maker(NamedTuple):
    """The arguments that all records of one write share."""

    tenant: TenantId
    index_keys: IndexKeys
    now: datetime


def record_rows(
    maker: Maker,
    keys: SubjectKeys,
    subject: SubjectId,
    collection: str,
    record: RecordId,
    fields: Mapping[str, Field],
    values: Mapping[str, Any],
    origin: Origin,
    *,
    occurred_at: datetime | None = None,
    external_digest: bytes | None = None,
) -> Rows:
    """Seal the normalised values of a new record, and derive its index rows."""
    tenant, index_keys, now = maker
    body = seal_values(keys, record_aad(tenant, subject, collection, record), encoded(values), origin)
    row = (tenant, subject, collection, record, 1, now, now, occurred_at, now, external_digest, pack(body, occurred_at))
    index = [
        (tenant, digest, subject, record, index_keys.version)
        for name, field in fields.items()
        if field.indexes and name in values
        for digest in digests(index_keys, field, values[name])
    ]
    return Rows(row, list(dict.fromkeys(index)))


def subject_row(maker: Maker, subject: SubjectId) -> tuple[Any, ...]:
    """Build the row of a new subject, with a random pseudonym."""
    return (maker.tenant, subject, random_id(), "active", maker.now, None)


def external_rows(maker: Maker, subject: SubjectId, external_ids: Mapping[str, str]) -> list[tuple[Any, ...]]:
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


def checked_external_ids(given: Mapping[str, Any], *, at: str = "/external_ids") -> dict[str, str]:
    """Validate other systems' ids, ``{"shop": "4711"}``, and return them normalised.

    Raises:
        InvalidInput: a system is not a slug, or an id is not a string of 1 to 200 characters. The faults name positions
            only: the keys are input too.
    """
    faults = []
    for position, (system, value) in enumerate(given.items(), 1):
        if not is_slug(system):
            faults.append(
                Fault(at, "invalid-system", f"key {position} is not a valid name of a system: use a-z, 0-9, - and _")
            )
        elif not is_external_id(value):
            detail = f"the id at key {position} is not a string of 1 to {LONGEST_EXTERNAL_ID} printable characters"
            faults.append(Fault(at, "invalid-external-id", detail))
    if faults:
        raise InvalidInput("some external ids are invalid", faults=faults, code="invalid-external-id")
    return {system: composed(value) for system, value in given.items()}


def composed(external_id: str) -> str:
    """Return an id in Unicode NFC, so that the same letters are the same id however they were typed."""
    return external_id if external_id.isascii() else unicodedata.normalize("NFC", external_id)


def is_external_id(value: Any) -> bool:
    """Return whether a value can be another system's id."""
    return isinstance(value, str) and 1 <= len(value) <= LONGEST_EXTERNAL_ID and value.isprintable()


LONGEST_SYSTEM = 58
"""Characters of a system's name that are kept when a number is appended."""
_NUMBERED = re.compile(r"(.+)-\d+")


def united(survivor: Mapping[str, Any], duplicate: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two subjects' external ids: the survivor's keep their names, a second id in a system gets a number."""
    result = dict(survivor)
    for system, value in duplicate.items():
        if system not in result:
            result[system] = value
        elif not is_known(result, system, value):
            result[_free(result, _base(duplicate, system))] = value
    return result


def unknown(ids: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the given ids without those that the subject has under a numbered name."""
    return {name: value for name, value in given.items() if ids.get(name) == value or not is_known(ids, name, value)}


def is_known(ids: Mapping[str, Any], system: str, value: Any) -> bool:
    """Return whether the subject has this id in a system, also under a numbered name."""
    return any(known == value and system in {name, _unnumbered(name)} for name, known in ids.items())


def _base(ids: Mapping[str, Any], system: str) -> str:
    base = _unnumbered(system)
    return base if base in ids else system


def _unnumbered(system: str) -> str:
    match = _NUMBERED.fullmatch(system)
    return system if match is None else match[1]


def _free(ids: Mapping[str, Any], system: str) -> str:
    names = (f"{system[:LONGEST_SYSTEM]}-{number}" for number in count(2))
    return next(name for name in names if name not in ids)
