"""What stays of records, sealed again under the newest data key, so that every older key can be destroyed. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from vault.catalogue.types import decode, encode, show
from vault.clock import to_microseconds
from vault.crypto.seal import record_aad
from vault.subjects.record_body import pack, unpack
from vault.subjects.rows import digests

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from vault.catalogue.model import Catalogue, Field
    from vault.crypto.derive import IndexKeys
    from vault.crypto.seal import SubjectKeys
    from vault.erasure.verdict import Verdict, Verdicts
    from vault.subjects.record_body import Stored


@dataclass(frozen=True, slots=True)
class RetainedRecord:
    """What stays of one record.

    Attributes:
        row: the record's, as it was.
        values: those that stay as they are, by their names in the body.
        due: when a sweep looks at the record next.
        generalised: values of which only a view stays, with the whole name of the view; they are not in ``values``.
        stays_empty: whether the record stays without any value.
    """

    row: Any
    values: Mapping[str, Stored]
    due: datetime
    generalised: Mapping[str, tuple[Stored, str]] = field(default_factory=dict)
    stays_empty: bool = False


@dataclass(slots=True)
class ResealedRows:
    """Whole rows of records, and of the index that leads to them."""

    records: list[tuple[Any, ...]] = field(default_factory=list)
    index: list[tuple[Any, ...]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class RecordResealer:
    """Makes the new rows of records.

    Attributes:
        now: when the records change.
    """

    catalogue: Catalogue
    index_keys: IndexKeys
    now: datetime

    def add(
        self, rows: ResealedRows, keys: SubjectKeys, records: Sequence[RetainedRecord], *, is_indexed: bool
    ) -> None:
        """Add the rows of one subject.

        Args:
            keys: the subject's, the newest of which seals.
            is_indexed: whether the index leads to the subject. It does not if only a law keeps something of it.

        Raises:
            CannotOpen: a value that stays does not open.
        """
        for retained in records:
            row = retained.row
            collection = self.catalogue.collections.get(row.collection)
            fields: Mapping[str, Field] = {} if collection is None else collection.fields
            body, index = self._reseal(keys, retained, fields if is_indexed else {})
            rows.index += index
            for name, (stored, view) in retained.generalised.items():
                general = self._generalise(keys, row, name, stored, fields[name].type, view.rpartition(".")[2])
                if general is not None:
                    body[f"{name}.{view.rpartition('.')[2]}"] = general
            if body or retained.stays_empty:
                rows.records.append(self._row(retained, body, is_indexed=is_indexed))

    def _reseal(
        self, keys: SubjectKeys, retained: RetainedRecord, indexed: Mapping[str, Field]
    ) -> tuple[dict[str, Stored], list[tuple[Any, ...]]]:
        row, body, index = retained.row, {}, []
        aad = record_aad(row.tenant_id, row.subject_id, row.collection, row.id)
        version = self.index_keys.version
        for name, stored in retained.values.items():
            plain = keys.open(name, stored.sealed, aad)
            body[name] = replace(stored, sealed=keys.seal(name, plain, aad))
            declared = indexed.get(name)
            if declared is not None and declared.indexes:
                found = digests(self.index_keys, declared, decode(plain))
                index += [(row.tenant_id, digest, row.subject_id, row.id, version) for digest in found]
        return body, index

    def _generalise(
        self, keys: SubjectKeys, row: Any, name: str, stored: Stored, kind: str, view: str
    ) -> Stored | None:
        """Seal a view of a value in its place; None if the view shows nothing of it."""
        aad = record_aad(row.tenant_id, row.subject_id, row.collection, row.id)
        shown = show(kind, view, decode(keys.open(name, stored.sealed, aad)), self.now.date())
        return None if shown is None else replace(stored, sealed=keys.seal(f"{name}.{view}", encode(shown), aad))

    def _row(self, retained: RetainedRecord, body: Mapping[str, Stored], *, is_indexed: bool) -> tuple[Any, ...]:
        row = retained.row
        return (
            row.tenant_id, row.subject_id, row.collection, row.id, row.revision + 1, row.created_at, self.now,
            row.occurred_at, retained.due, row.external_digest if is_indexed else None, pack(body, row.occurred_at),
        )  # fmt: skip


def retained_records(records: Sequence[Any], verdicts: Verdicts, now: datetime, *, ends: bool) -> list[RetainedRecord]:
    """Select what verdicts keep of records. A value without a verdict is out of scope, and stays as it is.

    Args:
        ends: whether what is kept ends by itself on the day until which it is kept.
    """
    retained = []
    for row in records:
        decided = verdicts.get((row.collection, row.id), {})
        values = {name: stored for name, stored in unpack(row.body).items() if decided.get(name) != ()}
        if ends:
            values = {name: _ending(stored, decided.get(name) or ()) for name, stored in values.items()}
        retained.append(RetainedRecord(row, values, now))
    return retained


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
