"""Show the policies in force: nothing personal is in them, but they are the controller's own business."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vault.access.authorization import entry
from vault.access.on_record import on_record

if TYPE_CHECKING:
    from vault.context import Caller, House
    from vault.policy.store import ActivePolicy


@on_record("read-policies")
async def read_policies(house: House, caller: Caller) -> ActivePolicy:
    """Return the policies that are in force for the caller's tenant: every principal of it may see them.

    An app has to know what it can ask for, and a member of staff why a request was denied.
    """
    active = house.policies.active(caller.tenant)
    made = entry(house, caller, action="read-policies", decision="allowed", policy=active.version)
    await house.ledger.append(made)
    return active
