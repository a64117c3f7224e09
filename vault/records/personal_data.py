"""Records as personal data, with the indexes that lead to them.

An erasure and a merge build the new rows of records themselves (:mod:`vault.erasure.execute`,
:mod:`vault.merging.reseal`); this module removes the old ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, func, insert, select, update

from vault.lifecycle.personal_data import count_rows, rows_of
from vault.subjects.store import GONE
from vault.subjects.tables import BLIND_INDEX, EXTERNAL_REF, RECORD, SUBJECT, SUBJECT_ALIAS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Table
    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.ids import SubjectId, TenantId
    from vault.lifecycle.erasures import Erasure
    from vault.lifecycle.personal_data import ErasureContext, ExportContext, MergeContext, Sections


class RecordData:
    """Records, what leads to them, and the subject's own row, which stays without a value."""

    tables: tuple[Table, ...] = (SUBJECT, RECORD, BLIND_INDEX, EXTERNAL_REF, SUBJECT_ALIAS)
    retained: tuple[Table, ...] = (SUBJECT,)

    async def erase(self, erasing: ErasureContext, subjects: Sequence[SubjectId]) -> None:
        """Delete records, indexes and aliases."""
        for table in (RECORD, BLIND_INDEX, EXTERNAL_REF, SUBJECT_ALIAS):
            await erasing.connection.execute(delete(table).where(*rows_of(table, erasing.tenant, subjects)))

    async def reseal(self, erasing: ErasureContext, subjects: Sequence[SubjectId]) -> None:
        """Delete records and their index, in order that the engine can insert the resealed rows."""
        for table in (RECORD, BLIND_INDEX):
            await erasing.connection.execute(delete(table).where(*rows_of(table, erasing.tenant, subjects)))
        unlinked = [subject for subject in subjects if subject in erasing.unlinked]
        if unlinked:
            await erasing.connection.execute(
                delete(EXTERNAL_REF).where(*rows_of(EXTERNAL_REF, erasing.tenant, unlinked))
            )

    async def move(self, merge: MergeContext) -> None:
        """Delete the duplicate's records, and let its ids lead to the survivor."""
        await take_away(merge)
        await lead_to(merge)

    async def export(self, package: ExportContext) -> Sections:  # noqa: ARG002 - the protocol's
        """Return nothing: the package streams the records itself, with the subject's row and aliases."""
        return {}

    async def remains(self, connection: AsyncConnection, tenant: TenantId, erasure: Erasure) -> int:
        """Count what leads to the subject, and records where none was kept; also the row of a subject that is back."""
        found = await count_rows(connection, tenant, erasure, BLIND_INDEX, EXTERNAL_REF, SUBJECT_ALIAS)
        if erasure.key_version is None:
            found += await count_rows(connection, tenant, erasure, RECORD)
        living = SUBJECT.c.tenant_id == tenant, SUBJECT.c.id == erasure.subject, SUBJECT.c.state.not_in(sorted(GONE))
        statement = select(func.count()).select_from(SUBJECT).where(*living)
        count: int = (await connection.execute(statement)).scalar_one()
        return found + count


async def take_away(merge: MergeContext) -> None:
    """Delete the duplicate's records and blind index. Its bare row stays: the pseudonym is in the audit log."""
    connection, tenant, duplicate = merge.connection, merge.tenant, merge.duplicate
    for table in (RECORD, BLIND_INDEX):
        await connection.execute(delete(table).where(table.c.tenant_id == tenant, table.c.subject_id == duplicate))
    await merge.services.subjects.close_duplicate(connection, merge.duplicate_row)


async def lead_to(merge: MergeContext) -> None:
    """Redirect the duplicate to the survivor: other systems' ids, earlier aliases, and the id itself."""
    connection, tenant, survivor = merge.connection, merge.tenant, merge.survivor
    for table in (EXTERNAL_REF, SUBJECT_ALIAS):
        is_duplicate = table.c.tenant_id == tenant, table.c.subject_id == merge.duplicate
        await connection.execute(update(table).where(*is_duplicate).values(subject_id=survivor))
    alias = {"alias_id": merge.duplicate, "subject_id": survivor, "entry_id": merge.entry, "created_at": merge.now}
    await connection.execute(insert(SUBJECT_ALIAS), [{"tenant_id": tenant, **alias}])
