"""The steps with which every job of a request starts and completes, the guard around the steps between, and expiry."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from vault import logs
from vault.access.callers import system_caller
from vault.errors import Unavailable, VaultError
from vault.requests.model import RUNNING, UNVERIFIED
from vault.requests.store import find_request, waiting_since
from vault.requests.transaction import changing_request

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from vault.context import Services
    from vault.ids import TenantId
    from vault.jobs.workflow import Step


PAGE: Final = 200

log = logs.get_logger()


async def start_request(services: Services, tenant: TenantId, request: UUID) -> None:
    """Start an approved request. A request that was cancelled since, or is running already, is left alone."""
    async with changing_request(services, system_caller(tenant), request) as change:
        if change.request.state == "approved":
            change.move("start")


async def complete_request(services: Services, tenant: TenantId, request: UUID) -> None:
    """Complete a request that was carried out."""
    async with changing_request(services, system_caller(tenant), request) as change:
        if change.request.state == RUNNING:
            change.move("complete", outcome=change.request.outcome or "done")


def guarded(step: Step) -> Step:
    """Make a step run only while its request is in progress, and hand the request back to staff if it fails.

    :class:`Unavailable` is raised on, and the step is retried. Any other error of the vault would recur: the request
    returns to review with the error's code. After a new approval another run begins.
    """

    async def run(services: Any, tenant: TenantId, request: UUID) -> float | None:
        if not await _is_running(services, tenant, request):
            return None
        try:
            return await step(services, tenant, request)
        except Unavailable:
            raise
        except VaultError as error:
            await hand_back(services, tenant, request, code=error.code)
            return None

    return run


async def hand_back(services: Services, tenant: TenantId, request: UUID, *, code: str) -> None:
    """Return a request that cannot continue to staff, who approve it again or reject it."""
    async with changing_request(services, system_caller(tenant), request) as change:
        if change.request.state == RUNNING:
            change.move("hand-back", code=code, approvals=(), run=change.request.run + 1)


async def _is_running(services: Services, tenant: TenantId, request: UUID) -> bool:
    async with services.data.reading() as connection:
        stored = await find_request(connection, tenant, request)
    return stored is not None and stored.request.state == RUNNING


async def expire_requests(services: Services) -> int:
    """Expire requests whose requester never verified their identity, in all tenants; return how many.

    The days in requests.toml count from the last event: a request that was reopened, or whose requester was asked for
    proof of identity, has all of them again.
    """
    expired = 0
    for tenant in await services.keyring.tenants():
        expired += await expire_of(services, tenant)
    return expired


async def expire_of(services: Services, tenant: TenantId) -> int:
    """Expire the unverified requests of one tenant; return how many."""
    days = services.policies.active(tenant).policy_set.requests.unverified_days
    before = services.clock.now() - timedelta(days=days)
    expired = 0
    while True:
        async with services.data.reading() as connection:
            waiting = await waiting_since(connection, tenant, before, limit=PAGE)
        count = sum([await _expire(services, tenant, request, before) for request in waiting])
        expired += count
        if len(waiting) < PAGE or not count:
            return expired


async def _expire(services: Services, tenant: TenantId, request: UUID, before: datetime) -> bool:
    """Expire one request. An error, such as that the person's keys do not open, does not stop the others."""
    try:
        async with changing_request(services, system_caller(tenant), request) as change:
            # It may have been verified, or asked about, since it was listed.
            due = change.request.state in UNVERIFIED and change.history[-1].at < before
            if due:
                change.move("expire")
            return due
    except VaultError as error:
        log.warning("a request does not expire", code=error.code, tenant=tenant)
        return False
