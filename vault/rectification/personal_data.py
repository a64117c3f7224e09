"""Corrections and disputes as personal data: they are sealed under the subject's key, and go with the values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import bindparam, delete, select, update

from vault.lifecycle.personal_data import count_rows, rows_of
from vault.rectification.store import COLLECTION, DETAILS, add_rectifications, rectifications_of
from vault.rectification.tables import RECTIFICATION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Table
    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.ids import SubjectId, TenantId
    from vault.lifecycle.erasures import Erasure
    from vault.lifecycle.personal_data import ErasureContext, MergeContext
    from vault.rectification.store import Rectification

_THIS = RECTIFICATION.c.subject_id == bindparam("of"), RECTIFICATION.c.id == bindparam("this")


class RectificationData:
    """Values that were corrected or are disputed."""

    tables: tuple[Table, ...] = (RECTIFICATION,)
    retained: tuple[Table, ...] = ()

    async def erase(self, erasing: ErasureContext, subjects: Sequence[SubjectId]) -> None:
        """Delete them."""
        await erasing.connection.execute(delete(RECTIFICATION).where(*rows_of(RECTIFICATION, erasing.tenant, subjects)))

    async def reseal(self, erasing: ErasureContext, subjects: Sequence[SubjectId]) -> None:
        """Delete those of erased values, and seal the others again."""
        statement = select(RECTIFICATION).where(*rows_of(RECTIFICATION, erasing.tenant, subjects))
        erased, resealed = [], []
        for row in (await erasing.connection.execute(statement)).all():
            this = {"of": row.subject_id, "this": row.id}
            if erasing.is_erased(row.subject_id, row.collection, row.record_id, row.field):
                erased.append(this)
            elif row.details is not None:
                details = erasing.resealers[row.subject_id].reseal(COLLECTION, row.id, DETAILS, row.details)
                resealed.append({**this, "sealed": details})
        of_tenant = RECTIFICATION.c.tenant_id == erasing.tenant
        if erased:
            await erasing.connection.execute(delete(RECTIFICATION).where(of_tenant, *_THIS), erased)
        if resealed:
            change = update(RECTIFICATION).where(of_tenant, *_THIS).values(details=bindparam("sealed"))
            await erasing.connection.execute(change, resealed)

    async def move(self, merge: MergeContext) -> None:
        """Seal the duplicate's under the survivor's key."""
        moved = await rectifications_of(merge.connection, merge.tenant, merge.duplicate)
        await merge.connection.execute(
            delete(RECTIFICATION).where(*rows_of(RECTIFICATION, merge.tenant, [merge.duplicate]))
        )
        rows = [_moved(merge, rectification) for rectification in moved]
        await add_rectifications(merge.connection, merge.tenant, merge.survivor, rows)

    async def remains(self, connection: AsyncConnection, tenant: TenantId, erasure: Erasure) -> int:
        """Count them all."""
        return await count_rows(connection, tenant, erasure, RECTIFICATION)


def _moved(merge: MergeContext, rectification: Rectification) -> Rectification:
    """Keep the id and the details; a value of the duplicate's profile is one of the survivor's profile now."""
    details = rectification.details
    if details is not None:
        details = merge.resealer.reseal(COLLECTION, rectification.id, DETAILS, details)
    record = merge.survivor if rectification.record == merge.duplicate else rectification.record
    return rectification._replace(record=record, details=details)
