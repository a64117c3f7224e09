"""The steps that every job of a request begins and ends with, and the guard around those in between."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from vault.access.callers import by_itself
from vault.errors import Unavailable, VaultError
from vault.requests.store import find_request
from vault.requests.transaction import changing_request

if TYPE_CHECKING:
    from uuid import UUID

    from vault.context import House
    from vault.ids import TenantId
    from vault.jobs.workflow import Step

RUNNING: Final = "in_progress"


async def start_request(house: House, tenant: TenantId, request: UUID) -> None:
    """Begin what was approved; nothing to do for a request that was cancelled meanwhile, or is under way already."""
    async with changing_request(house, by_itself(tenant), request) as change:
        if change.request.state == "approved":
            change.move("start")


async def complete_request(house: House, tenant: TenantId, request: UUID) -> None:
    """End what was carried out."""
    async with changing_request(house, by_itself(tenant), request) as change:
        if change.request.state == RUNNING:
            change.move("complete", outcome=change.request.outcome or "done")


def guarded(step: Step) -> Step:
    """Make a kind's own step run only while its request is under way, and end in staff's hands where it cannot.

    What will be better later (:class:`Unavailable`) is raised on, and tried again. Any other error of the vault's own
    will be the same next time: the request goes back to review with the error's code, for people to decide; once it is
    approved again, another run begins.
    """

    async def run(house: Any, tenant: TenantId, request: UUID) -> float | None:
        if not await _is_running(house, tenant, request):
            return None
        try:
            return await step(house, tenant, request)
        except Unavailable:
            raise
        except VaultError as error:
            await hand_back(house, tenant, request, code=error.code)
            return None

    return run


async def hand_back(house: House, tenant: TenantId, request: UUID, *, code: str) -> None:
    """Give a request that cannot go on by itself back to people, who approve it again or reject it."""
    async with changing_request(house, by_itself(tenant), request) as change:
        if change.request.state == RUNNING:
            change.move("hand-back", code=code, approvals=(), run=change.request.run + 1)


async def _is_running(house: House, tenant: TenantId, request: UUID) -> bool:
    async with house.data.reading() as connection:
        kept = await find_request(connection, tenant, request)
    return kept is not None and kept.request.state == RUNNING
