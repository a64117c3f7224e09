"""What the audit log says of backups: each tenant's log, for each tenant's people are in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vault.access.authorization import entry
from vault.access.operator import at_the_console

if TYPE_CHECKING:
    from uuid import UUID

    from vault.context import House


async def note_backup(house: House, backup: UUID, code: str | None, *, decision: str = "allowed") -> None:
    """Write down, for every tenant, that a backup was made, tried or thinned out; durable before it returns.

    One that was made is written on the ledger of tombstones too: by that a restore knows whose ledger it is.

    Args:
        house: the rooms.
        backup: its id.
        code: ``verified``, ``pruned`` or ``keys-pruned``; none where it was made.
        decision: ``failed`` where a try did not succeed.

    Raises:
        Unavailable: the audit log, or for a backup that was made the ledger of tombstones, does not answer.
    """
    if code is None and decision == "allowed":
        await house.tombstones.add_backup(backup, house.clock.now())
    for tenant in await house.keyring.tenants():
        made = entry(house, at_the_console(tenant), action="backup", decision=decision, target=backup, code=code)
        await house.ledger.append(made)
