"""Requests of which nobody has shown to be the person's expire: nothing is kept waiting for ever."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from vault import logs
from vault.access.callers import by_itself
from vault.errors import VaultError
from vault.requests.store import waiting_since
from vault.requests.transaction import changing_request

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from vault.context import House
    from vault.ids import TenantId

log = logs.get_logger()

PAGE: Final = 200


async def expire_requests(house: House) -> int:
    """Expire what has waited unverified for longer than requests.toml says, in all tenants; returns how many.

    The days count from the last thing that happened: a request that was reopened, or whose requester was asked who they
    are, has all of them before it.
    """
    expired = 0
    for tenant in await house.keyring.tenants():
        expired += await expire_of(house, tenant)
    return expired


async def expire_of(house: House, tenant: TenantId) -> int:
    """Expire one tenant's requests; returns how many."""
    days = house.policies.active(tenant).policy_set.requests.unverified_days
    before = house.clock.now() - timedelta(days=days)
    expired = 0
    while True:
        async with house.data.reading() as connection:
            waiting = await waiting_since(connection, tenant, before, limit=PAGE)
        now = sum([await _expire(house, tenant, request, before) for request in waiting])
        expired += now
        if len(waiting) < PAGE or not now:
            return expired


async def _expire(house: House, tenant: TenantId, request: UUID, before: datetime) -> bool:
    """Expire one; that one person's keys do not open, or are being changed, keeps no other request waiting."""
    try:
        async with changing_request(house, by_itself(tenant), request) as change:
            # Somebody may have verified it, or asked, since the list was made.
            due = change.request.state in {"received", "verifying"} and change.history[-1].at < before
            if due:
                change.move("expire")
            return due
    except VaultError as error:
        log.warning("a request does not expire", code=error.code, tenant=tenant)
        return False
