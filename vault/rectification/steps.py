"""Carry out what was approved: the steps of rectification, restriction, objection and withdrawal.

Each step is one transaction on the request, which keeps what was done and in which run: killed before its commit it has
done nothing, and called again after it does nothing more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from vault.access.callers import by_itself
from vault.consent.restrictions import restrict_in
from vault.rectification.correct import correct
from vault.requests.execution import decide_objections, ledger_of, stop_at_once, write_down
from vault.requests.transaction import changing_request

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from vault.ids import TenantId
    from vault.jobs.workflow import Step
    from vault.requests.transaction import RequestChange


async def rectify(house: Any, tenant: TenantId, request: UUID) -> None:
    """Correct the values that a request names, or put the person's own statement beside them (Art. 16)."""
    index_keys = await house.keyring.index_keys(tenant)
    async with changing_request(house, by_itself(tenant), request, action="rectify") as change:
        if is_due(change):
            await correct(change, index_keys)


async def restrict(house: Any, tenant: TenantId, request: UUID) -> None:
    """Restrict the person's data (Art. 18(1))."""
    async with changing_request(house, by_itself(tenant), request, action="restrict") as change:
        if is_due(change):
            told = change.opened_details()
            ledger = await ledger_of(change)
            await restrict_in(ledger, change.keys, told.get("ground"), told.get("reason"), request=request)
            await write_down(change, ledger, "restrict")


async def uphold(house: Any, tenant: TenantId, request: UUID) -> None:
    """Uphold the objections of a request that was approved (Art. 21(1))."""
    async with changing_request(house, by_itself(tenant), request, action="decide-objection") as change:
        if is_under_way(change):
            await stop_at_once(change)
            await decide_objections(change, upheld=True)


async def withdraw(house: Any, tenant: TenantId, request: UUID) -> None:
    """Withdraw consents (Art. 7(3)), should that not have happened when the request was verified."""
    async with changing_request(house, by_itself(tenant), request, action="record-consent") as change:
        if is_under_way(change):
            await stop_at_once(change)


def is_under_way(change: RequestChange) -> bool:
    """Tell whether a request is being carried out: a job that comes late finds nothing to do."""
    return change.request.state == "in_progress" and change.request.subject is not None


def is_due(change: RequestChange) -> bool:
    """Tell whether what a request asks for is still to be done in this run."""
    return is_under_way(change) and change.request.carried_out != change.request.run


CARRY_OUT: Final[Mapping[str, tuple[tuple[str, Step], ...]]] = {
    "rectification": (("rectify", rectify),),
    "restriction": (("restrict", restrict),),
    "objection": (("uphold", uphold),),
    "withdrawal": (("withdraw", withdraw),),
}
"""The steps of each kind of request that changes something; a review changes nothing by itself."""
