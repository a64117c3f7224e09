"""Write on a person's row what the ledger says, where somebody or something has written another thing there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vault.access.authorization import entry
from vault.access.operator import at_the_console
from vault.consent.append import repair
from vault.subjects.changes import locked_subject

if TYPE_CHECKING:
    from vault.context import House
    from vault.ids import SubjectId, TenantId


async def repair_standing(house: House, tenant: TenantId, subject: SubjectId) -> None:
    """Sum up a person's events anew; that is on the audit log."""
    async with house.data.transaction() as connection:
        row = await locked_subject(connection, tenant, subject)
        if row is None:
            return
        await repair(house, connection, tenant, subject)
        made = entry(
            house,
            at_the_console(tenant),
            action="record-consent",
            decision="allowed",
            subjects=(row.pseudonym,),
        )
        await house.ledger.append_in(connection, [made])
