"""What stays of a person, sealed anew under the newest data key, so that every older one can be destroyed. No I/O."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec.structs import replace

from vault.catalogue.types import decode
from vault.clock import to_microseconds
from vault.crypto.seal import record_aad
from vault.subjects.blind_index import digests
from vault.subjects.record_body import pack, unpack

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date
    from uuid import UUID

    from vault.catalogue.model import Catalogue
    from vault.crypto.derive import IndexKeys
    from vault.crypto.seal import SubjectKeys
    from vault.erasure.verdict import Verdict, Verdicts
    from vault.ids import SubjectId, TenantId
    from vault.subjects.record_body import Stored


class Anew(NamedTuple):
    """A person's keys, the newest of which seals, and where their values belong."""

    tenant: TenantId
    subject: SubjectId
    keys: SubjectKeys

    def sealed(self, collection: str, record: UUID, field: str, sealed: bytes) -> bytes:
        """Open a value and seal it anew at its place.

        Raises:
            CannotOpen: it does not open.
        """
        where = record_aad(self.tenant, self.subject, collection, record)
        return self.keys.seal(field, self.keys.open(field, sealed, where), where)

    def value(self, collection: str, record: UUID, field: str, stored: Stored) -> tuple[Stored, Any]:
        """Do the same for a value of a record; returns it with what it says."""
        where = record_aad(self.tenant, self.subject, collection, record)
        plain = self.keys.open(field, stored.sealed, where)
        return replace(stored, sealed=self.keys.seal(field, plain, where)), decode(plain)


class Left(NamedTuple):
    """What stays: whole rows of records, and of the digests that lead to them."""

    records: list[tuple[Any, ...]]
    leads: list[tuple[Any, ...]]


def what_stays(
    anew: Anew, records: Sequence[Any], found: Verdicts, *, now: datetime, leads: tuple[Catalogue, IndexKeys] | None
) -> Left:
    """Seal what stays of a person's records.

    Args:
        anew: the keys.
        records: all rows.
        found: the verdicts; a value that has none is out of scope, and stays as it is.
        now: when the records change.
        leads: what is needed to derive digests by which a person is found; none for somebody who is not to be found
            any more. Their values then end by themselves on the day until which they are kept.
    """
    left = Left([], [])
    for row in records:
        decided = found.get((row.collection, row.id), {})
        body: dict[str, Stored] = {}
        for name, stored in unpack(row.body).items():
            verdict = decided.get(name)
            if verdict == ():
                continue
            body[name], value = anew.value(row.collection, row.id, name, stored)
            if leads is None:
                body[name] = _ending(body[name], verdict or ())
            else:
                left.leads.extend(_leads(anew, row, name, value, *leads))
        if body:
            left.records.append(_row(row, body, now, leads=leads is not None))
    return Left(left.records, list(dict.fromkeys(left.leads)))


def _row(row: Any, body: Mapping[str, Stored], now: datetime, *, leads: bool) -> tuple[Any, ...]:
    return (
        row.tenant_id, row.subject_id, row.collection, row.id, row.revision + 1, row.created_at, now, row.occurred_at,
        now, row.external_digest if leads else None, pack(body, row.occurred_at),
    )  # fmt: skip


def _leads(
    anew: Anew, row: Any, name: str, value: Any, catalogue: Catalogue, index_keys: IndexKeys
) -> list[tuple[Any, ...]]:
    declared = catalogue.collections.get(row.collection)
    field = None if declared is None else declared.fields.get(name)
    if field is None:
        return []
    found = digests(index_keys, field, value)
    return [(anew.tenant, digest, anew.subject, row.id, index_keys.version) for digest in found]


def _ending(stored: Stored, verdict: Verdict) -> Stored:
    """Let a kept value end with the last day on which it is kept, or earlier, as it would have anyway.

    What a hold alone keeps has no such day: once it is lifted, the erasure goes on.
    """
    ends = [_over(keep.until) for keep in verdict if keep.until is not None]
    if verdict and not ends:
        return replace(stored, expires_at=None)
    if stored.expires_at is not None:
        ends = [min(stored.expires_at, max(ends, default=stored.expires_at))]
    return replace(stored, expires_at=max(ends)) if ends else stored


def _over(until: date) -> int:
    return to_microseconds(datetime.combine(until + timedelta(days=1), time(), UTC))
