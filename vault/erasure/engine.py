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
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vault.erasure.reseal import RecordResealer, ResealedRows, RetainedRecord
from vault.errors import CannotOpen
from vault.ids import SubjectId
from vault.lifecycle.personal_data import ErasureContext, Resealer
from vault.subjects.changes import aliases_of, close_subjects

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.context import Services
    from vault.ids import TenantId
    from vault.lifecycle.personal_data import IsErased
    from vault.subjects.store import State


@dataclass(frozen=True, slots=True)
class SubjectErasure:
    """What an erasure does with one subject.

    Attributes:
        row: the subject's, locked.
        retained: what stays of its records.
        is_whole: whether everything else goes too; else the subject goes on.
        retained_standing: of a subject that is erased as a whole, the packed consent state if something stays.
        erased_standing: the same if nothing stays.
        loses_external_ids: of a subject that goes on, whether its ids in other systems are erased.
    """

    row: Any
    retained: Sequence[RetainedRecord]
    is_whole: bool
    retained_standing: bytes | None = None
    erased_standing: bytes | None = None
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


async def erase_subjects(
    services: Services,
    connection: AsyncConnection,
    tenant: TenantId,
    subjects: Sequence[SubjectErasure],
    resealer: RecordResealer,
    is_erased: IsErased,
    *,
    erasures: Collection[UUID] = (),
) -> dict[SubjectId, ErasedSubject]:
    """Erase subjects, each as a whole or in part.

    Args:
        is_erased: which values of subjects that go on are erased.
        erasures: see :class:`vault.lifecycle.personal_data.ErasureContext`.

    Raises:
        CannotOpen: a value that stays does not open, or a subject that goes on has no data key.
    """
    resealers, rows = await _reseal(services, tenant, subjects, resealer)
    whole = [erasure.subject for erasure in subjects if erasure.is_whole]
    partial = [erasure.subject for erasure in subjects if not erasure.is_whole]
    unlinked = frozenset(erasure.subject for erasure in subjects if erasure.loses_external_ids)
    aliases = await aliases_of(connection, tenant, whole) if whole else {}
    erasing = ErasureContext(connection, tenant, resealers, is_erased, unlinked, erasures)
    for owner in services.personal_data:
        if whole:
            await owner.erase(erasing, whole)
        if partial:
            await owner.reseal(erasing, partial)
    await services.subjects.add(connection, records=rows.records, index=list(dict.fromkeys(rows.index)))
    closings: dict[SubjectId, tuple[State, bytes | None]] = {
        erasure.subject: ("retained", erasure.retained_standing)
        if erasure.subject in resealers
        else ("erased", erasure.erased_standing)
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
    services: Services, tenant: TenantId, subjects: Sequence[SubjectErasure], resealer: RecordResealer
) -> tuple[dict[SubjectId, Resealer], ResealedRows]:
    staying = [erasure for erasure in subjects if erasure.retained or not erasure.is_whole]
    keys = await services.keyring.renew_many(tenant, [erasure.subject for erasure in staying]) if staying else {}
    resealers: dict[SubjectId, Resealer] = {}
    rows = ResealedRows()
    for erasure in staying:
        renewed = keys.get(erasure.subject)
        if renewed is None:
            if erasure.is_whole and erasure.subject not in keys:
                continue  # the subject has lost all keys: nothing of it opens any more, so nothing can stay
            raise CannotOpen
        is_indexed = not erasure.is_whole and erasure.row.state != "retained"
        resealer.add(rows, renewed, erasure.retained, is_indexed=is_indexed)
        resealers[erasure.subject] = Resealer.renewed(tenant, erasure.subject, renewed)
        await asyncio.sleep(0)  # a large batch must not keep other requests of this process waiting
    return resealers, rows
