"""Changed contacts as personal data: the former addresses are sealed, and go with the person or with the field."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import bindparam, delete, select, update

from vault.catalogue.types import decode
from vault.clock import rfc3339
from vault.contacts.changes import COLLECTION, CONTACT_CHANGE, FORMER, add_changes, changes_of_subjects
from vault.contacts.shared import SHARED_CONTACT, forget_shared
from vault.crypto.seal import record_aad
from vault.lifecycle.personal_data import count_rows, rows_of
from vault.subjects.store import PROFILE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Table
    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.contacts.changes import ContactChange
    from vault.ids import SubjectId, TenantId
    from vault.lifecycle.erasures import Erasure
    from vault.lifecycle.personal_data import ErasureContext, ExportContext, MergeContext, Resealer, Sections

_THIS = CONTACT_CHANGE.c.subject_id == bindparam("of"), CONTACT_CHANGE.c.id == bindparam("this")


class ContactChangeSummary(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A changed address; ``former`` only as long as a letter has to go there."""

    field: str
    kind: str
    at: str
    former: object = None


class ContactData:
    """Changes of addresses, and who shares one."""

    tables: tuple[Table, ...] = (CONTACT_CHANGE, SHARED_CONTACT)
    retained: tuple[Table, ...] = ()

    async def erase(self, erasing: ErasureContext, subjects: Sequence[SubjectId]) -> None:
        """Delete them."""
        for table in self.tables:
            await erasing.connection.execute(delete(table).where(*rows_of(table, erasing.tenant, subjects)))

    async def reseal(self, erasing: ErasureContext, subjects: Sequence[SubjectId]) -> None:
        """Delete those of erased fields, and seal the others again."""
        erased, resealed = [], []
        for change in await changes_of_subjects(erasing.connection, erasing.tenant, subjects):
            this = {"of": change.subject, "this": change.id}
            if erasing.is_erased(change.subject, PROFILE, change.subject, change.field):
                erased.append(this)
            elif change.former is not None:
                resealed.append({**this, "sealed": _resealed(erasing.resealers[change.subject], change)})
        of_tenant = CONTACT_CHANGE.c.tenant_id == erasing.tenant
        if erased:
            await erasing.connection.execute(delete(CONTACT_CHANGE).where(of_tenant, *_THIS), erased)
        shared = select(SHARED_CONTACT.c.subject_id, SHARED_CONTACT.c.field)
        shared = shared.where(*rows_of(SHARED_CONTACT, erasing.tenant, subjects))
        fields = [tuple(row) for row in (await erasing.connection.execute(shared)).all()]
        gone = [(of, field) for of, field in fields if erasing.is_erased(of, PROFILE, of, field)]
        await forget_shared(erasing.connection, erasing.tenant, gone)
        if resealed:
            statement = update(CONTACT_CHANGE).where(of_tenant, *_THIS).values(former=bindparam("sealed"))
            await erasing.connection.execute(statement, resealed)

    async def move(self, merge: MergeContext) -> None:
        """Move the duplicate's to the survivor: an address that is young for one of them is young for both."""
        changes = await changes_of_subjects(merge.connection, merge.tenant, [merge.duplicate])
        for table in self.tables:  # the survivor shares an address with none but those who are noted already
            await merge.connection.execute(delete(table).where(*rows_of(table, merge.tenant, [merge.duplicate])))
        moved = [
            change._replace(subject=merge.survivor, former=_resealed(merge.resealer, change)) for change in changes
        ]
        await add_changes(merge.connection, merge.tenant, moved)

    async def export(self, package: ExportContext) -> Sections:
        """List the changes of addresses in scope."""
        async with package.services.data.reading() as connection:
            changes = await changes_of_subjects(connection, package.tenant, [package.subject])
        summaries = [
            ContactChangeSummary(
                field=f"{PROFILE}.{change.field}",
                kind=change.kind,
                at=rfc3339(change.changed_at),
                former=_opened(package, change),
            )
            for change in changes
            if package.is_requested(f"{PROFILE}.{change.field}")
        ]
        return {"contact_changes": summaries} if summaries else {}

    async def remains(self, connection: AsyncConnection, tenant: TenantId, erasure: Erasure) -> int:
        """Count them."""
        changes = await count_rows(connection, tenant, erasure, CONTACT_CHANGE, older="changed_at")
        return changes + await count_rows(connection, tenant, erasure, SHARED_CONTACT, older="since")


def _resealed(resealer: Resealer, change: ContactChange) -> bytes | None:
    return None if change.former is None else resealer.reseal(COLLECTION, change.id, FORMER, change.former)


def _opened(package: ExportContext, change: ContactChange) -> object:
    if change.former is None or package.is_about_others(f"{PROFILE}.{change.field}"):
        return None
    aad = record_aad(package.tenant, package.subject, COLLECTION, change.id)
    return decode(package.keys.open(FORMER, change.former, aad))
