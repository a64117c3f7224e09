"""The engine of every erasure: of one subject on request, and of many subjects by a sweep of retention.

All of it happens in one transaction, in which the subjects' requests and rows are locked:

1. A further data key is made for each subject of which something stays. It is made under the lock, so that nothing is
   sealed with it that is about to be erased. A writer that sealed with an older key waits for the lock, and is then
   refused (:mod:`vault.lifecycle.key_fence`).
2. The records that stay are sealed again. A value that does not open stops the erasure before anything is written.
3. Each owner of personal data deletes or reseals what it has (:mod:`vault.lifecycle.personal_data`).
4. The new rows of records are inserted, and the rows of wholly erased subjects are closed.

If the transaction fails, the new keys open nothing, and the next attempt makes others. The older keys are destroyed
after the commit.
"""

from __future__ import annotations

import asyncio
import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from vault.catalogue.types import decode, encode, show
from vault.crypto.seal import record_aad
from vault.errors import CannotOpen
from vault.ids import SubjectId
from vault.lifecycle.personal_data import Resealer
from vault.subjects.changes import aliases_of, close_subjects
from vault.subjects.record_body import pack
from vault.subjects.rows import digests

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from vault.catalogue.model import Catalogue, Field
    from vault.context import Services
    from vault.crypto.derive import IndexKeys
    from vault.crypto.seal import SubjectKeys
    from vault.lifecycle.personal_data import ErasureContext
    from vault.subjects.record_body import Stored
    from vault.subjects.store import State


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


@dataclass(frozen=True, slots=True)
class SubjectErasure:
    """What an erasure does with one subject.

    Attributes:
        row: the subject's, locked.
        retained: what stays of its records.
        is_whole: whether everything else goes too; else the subject goes on.
        retained_state: of a subject that is erased as a whole, the packed consent state if something stays.
        erased_state: the same if nothing stays.
        loses_external_ids: of a subject that goes on, whether its ids in other systems are erased.
    """

    row: Any
    retained: Sequence[RetainedRecord]
    is_whole: bool
    retained_state: bytes | None = None
    erased_state: bytes | None = None
    loses_external_ids: bool = False

    @property
    def subject(self) -> SubjectId:
        """Return the subject's id."""
        return SubjectId(self.row.id)


@dataclass(frozen=True, slots=True)
class ErasedSubject:
    """What happened to one subject.

    Attributes:
        key_version: of the data key under which the rest was sealed; None if nothing stayed.
        aliases: ids of subjects that had been merged into this one, if it was erased as a whole.
    """

    key_version: int | None
    aliases: tuple[UUID, ...] = ()


@dataclass(frozen=True, slots=True)
class RecordResealer:
    """Makes the new rows of records, sealed with the newest data key of their subjects.

    Attributes:
        now: when the records change.
        records: whole rows of records.
        index: whole rows of the index that leads to them.
    """

    catalogue: Catalogue
    index_keys: IndexKeys
    now: datetime
    records: list[tuple[Any, ...]] = field(default_factory=list)
    index: list[tuple[Any, ...]] = field(default_factory=list)

    def add(self, keys: SubjectKeys, retained: Sequence[RetainedRecord], *, is_indexed: bool) -> None:
        """Add the rows of one subject.

        Args:
            keys: the subject's, the newest of which seals.
            is_indexed: whether the index leads to the subject. It does not if only a law keeps something of it.

        Raises:
            CannotOpen: a value that stays does not open.
        """
        for record in retained:
            row = record.row
            collection = self.catalogue.collections.get(row.collection)
            fields: Mapping[str, Field] = {} if collection is None else collection.fields
            body = self._reseal(keys, record, fields, is_indexed=is_indexed)
            if body or record.stays_empty:
                external_digest = row.external_digest if is_indexed else None
                self.records.append((
                    row.tenant_id, row.subject_id, row.collection, row.id, row.revision + 1, row.created_at, self.now,
                    row.occurred_at, record.due, external_digest, pack(body, row.occurred_at),
                ))  # fmt: skip

    def _reseal(
        self, keys: SubjectKeys, record: RetainedRecord, fields: Mapping[str, Field], *, is_indexed: bool
    ) -> dict[str, Stored]:
        row, body = record.row, {}
        aad = record_aad(row.tenant_id, row.subject_id, row.collection, row.id)
        for name, stored in record.values.items():
            plain = keys.open(name, stored.sealed, aad)
            body[name] = replace(stored, sealed=keys.seal(name, plain, aad))
            if is_indexed and name in fields and fields[name].indexes:
                self.index.extend(
                    (row.tenant_id, digest, row.subject_id, row.id, self.index_keys.version)
                    for digest in digests(self.index_keys, fields[name], decode(plain))
                )
        for name, (stored, view) in record.generalised.items():
            view_name = view.rpartition(".")[2]
            value = decode(keys.open(name, stored.sealed, aad))
            shown = show(fields[name].type, view_name, value, self.now.date())
            if shown is not None:  # a view may show nothing of a value
                form = f"{name}.{view_name}"
                body[form] = replace(stored, sealed=keys.seal(form, encode(shown), aad))
        return body


async def erase_subjects(
    services: Services, erasing: ErasureContext, subjects: Sequence[SubjectErasure], resealer: RecordResealer
) -> dict[SubjectId, ErasedSubject]:
    """Erase subjects, each as a whole or in part.

    Args:
        erasing: the transaction, still without resealers and unlinked subjects.

    Raises:
        CannotOpen: a value that stays does not open, or a subject that goes on has no data key.
    """
    connection, tenant = erasing.connection, erasing.tenant
    resealers = await _reseal(services, erasing, subjects, resealer)
    whole = [erasure.subject for erasure in subjects if erasure.is_whole]
    partial = [erasure.subject for erasure in subjects if not erasure.is_whole]
    unlinked = frozenset(erasure.subject for erasure in subjects if erasure.loses_external_ids)
    aliases = await aliases_of(connection, tenant, whole) if whole else {}
    erasing = dataclasses.replace(erasing, resealers=resealers, unlinked=unlinked)
    for owner in services.personal_data:
        if whole:
            await owner.erase(erasing, whole)
        if partial:
            await owner.reseal(erasing, partial)
    await services.subjects.add(connection, records=resealer.records, index=list(dict.fromkeys(resealer.index)))
    closings: dict[SubjectId, tuple[State, bytes | None]] = {
        erasure.subject: ("retained", erasure.retained_state)
        if erasure.subject in resealers
        else ("erased", erasure.erased_state)
        for erasure in subjects
        if erasure.is_whole
    }
    await close_subjects(connection, tenant, closings)
    return {
        erasure.subject: ErasedSubject(
            resealers[erasure.subject].target.keys.current_version if erasure.subject in resealers else None,
            tuple(aliases.get(erasure.subject, ())),
        )
        for erasure in subjects
    }


async def _reseal(
    services: Services, erasing: ErasureContext, subjects: Sequence[SubjectErasure], resealer: RecordResealer
) -> dict[SubjectId, Resealer]:
    """Seal what stays of the records; returns the resealers of the subjects of which something stays."""
    staying = [erasure for erasure in subjects if erasure.retained or not erasure.is_whole]
    subject_ids = [erasure.subject for erasure in staying]
    keys = await services.keyring.renew_many(erasing.tenant, subject_ids) if staying else {}
    resealers: dict[SubjectId, Resealer] = {}
    for erasure in staying:
        renewed = keys.get(erasure.subject)
        if renewed is None:
            if erasure.is_whole and erasure.subject not in keys:
                continue  # the subject has lost all keys: nothing of it opens any more, so nothing can stay
            raise CannotOpen
        resealer.add(renewed, erasure.retained, is_indexed=not erasure.is_whole and erasure.row.state != "retained")
        resealers[erasure.subject] = Resealer.renewed(erasing.tenant, erasure.subject, renewed)
        await asyncio.sleep(0)  # a large batch must not keep other requests of this process waiting
    return resealers
