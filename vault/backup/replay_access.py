"""Take away once more what was taken from apps after a backup: keys, roles, and all access."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vault.access.authorization import entry
from vault.access.operator import at_the_console
from vault.errors import NotFound
from vault.ids import KeyId, PrincipalId, TenantId

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.context import House
    from vault.lifecycle.restore_lines import AccessLine


async def bar_again(house: House, tenant: TenantId, line: AccessLine) -> bool:
    """Do what a line of an access tells of; of an app that came after the backup there is nothing to be taken.

    A backup that knows the audit entry of it knows all of it, and what was given back later too. Roles are only ever
    taken away: one that was given after the backup is given again by people.

    Args:
        house: the rooms.
        tenant: whose.
        line: what was done.

    Returns:
        whether it had yet to be done.

    Raises:
        Unavailable: the database does not answer.
    """
    if await house.ledger.has(tenant, line.entry):
        return False
    async with house.data.transaction() as connection:
        try:
            changed = await _bar(house, connection, tenant, line)
        except NotFound:
            return False
        if changed:
            made = entry(house, at_the_console(tenant), action=line.action, decision="allowed", target=line.target)
            await house.ledger.append_in(connection, [made])
    return changed


async def _bar(house: House, connection: AsyncConnection, tenant: TenantId, line: AccessLine) -> bool:
    if line.action == "revoke-key":
        return await house.principals.revoke_key(connection, tenant, KeyId(line.target))
    whom = PrincipalId(line.target)
    principal = await house.principals.get(connection, tenant, whom)
    if line.action == "disable-principal":
        await house.principals.disable(connection, tenant, whom)
        return principal.state != "disabled"
    left = [each for each in principal.roles if each not in line.roles]
    await house.principals.set_roles(connection, tenant, whom, left)
    return len(left) < len(principal.roles)
