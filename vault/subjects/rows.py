"""Build the rows of new subjects and records: seal what is sealed, derive what leads to it. No I/O.

Two people's numbers in other systems, put together. Pure.

A person has one number a system, under the system's name. Whoever had two accounts in the shop has, after a merge, a
second one: ``{"shop": "4711", "shop-2": "4712"}``.
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
"""The profile's field that keeps other systems' ids, sealed, beside the digests that lead from them."""


class Rows(NamedTuple):
    """Whole rows for each table, in the tables' order of columns."""

    record: tuple[Any, ...]
    leads: list[tuple[Any, ...]]


class Maker(NamedTuple):
    """What all records of one write share."""

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
    """Seal the normalised values of a new record and derive the index rows that lead to it."""
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
    """Make the row of a new subject, with a fresh random pseudonym."""
    return (maker.tenant, subject, random_id(), "active", maker.now, None)


def external_rows(maker: Maker, subject: SubjectId, external_ids: Mapping[str, str]) -> list[tuple[Any, ...]]:
    """Make the rows that lead from other systems' ids to the subject."""
    return [
        (maker.tenant, external_digest(maker.index_keys, system, value), subject, maker.index_keys.version)
        for system, value in external_ids.items()
    ]


def external_digest(index_keys: IndexKeys, system: str, value: str) -> bytes:
    """Digest another system's id of a person."""
    return index_keys.digest(f"external:{system}", composed(value))


def record_digest(index_keys: IndexKeys, collection: str, value: str) -> bytes:
    """Digest another system's id of a record, such as an order number."""
    return index_keys.digest(f"external-record:{collection}", composed(value))


def checked_external_ids(given: Mapping[str, Any], *, at: str = "/external_ids") -> dict[str, str]:
    """Check other systems' ids, ``{"shop": "4711"}``, and return them in the one form in which they are kept.

    Raises:
        InvalidInput: a system is no slug, or an id is not a string of 1 to 200 characters. Which one is told by its
            place, for the keys too came in.
    """
    faults = []
    for position, (system, value) in enumerate(given.items(), 1):
        if not is_slug(system):
            faults.append(Fault(at, "invalid-system", f"key {position} is no name of a system: use a-z, 0-9, - and _"))
        elif not is_external_id(value):
            detail = f"the id at key {position} is not a string of 1 to {LONGEST_EXTERNAL_ID} printable characters"
            faults.append(Fault(at, "invalid-external-id", detail))
    if faults:
        raise InvalidInput("some external ids do not have their form", faults=faults, code="invalid-external-id")
    return {system: composed(value) for system, value in given.items()}


def composed(external_id: str) -> str:
    """Write an id in Unicode NFC, so that the same letters are the same id however they were typed."""
    return external_id if external_id.isascii() else unicodedata.normalize("NFC", external_id)


def is_external_id(value: Any) -> bool:
    """Tell whether a value may be another system's id."""
    return isinstance(value, str) and 1 <= len(value) <= LONGEST_EXTERNAL_ID and value.isprintable()


LONGEST_SYSTEM = 58
"""Characters of a system's name that stay before a number is put behind it."""
_NUMBERED = re.compile(r"(.+)-\d+")


def united(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """Put two people's external ids together; what one has keeps its name, what collides gets a number."""
    result = dict(mine)
    for system, value in theirs.items():
        if system not in result:
            result[system] = value
        elif not is_known(result, system, value):
            result[_free(result, _base(theirs, system))] = value
    return result


def unknown(ids: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out of what came in the numbers by which a person is known as a second one."""
    return {name: value for name, value in given.items() if ids.get(name) == value or not is_known(ids, name, value)}


def is_known(ids: Mapping[str, Any], system: str, value: Any) -> bool:
    """Tell whether a person has this number in a system, be it the first or a later one."""
    return any(each == value and system in {name, _unnumbered(name)} for name, each in ids.items())


def _base(ids: Mapping[str, Any], system: str) -> str:
    base = _unnumbered(system)
    return base if base in ids else system


def _unnumbered(system: str) -> str:
    found = _NUMBERED.fullmatch(system)
    return system if found is None else found[1]


def _free(ids: Mapping[str, Any], system: str) -> str:
    names = (f"{system[:LONGEST_SYSTEM]}-{number}" for number in count(2))
    return next(name for name in names if name not in ids)
