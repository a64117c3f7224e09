"""The one place where a request becomes verified: by whichever way somebody has shown to be the person.

Nothing else leads from an unverified request to one that can be approved; whoever checks a code, a session, a vouching
app or a member of staff's evidence ends here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from vault.access.callers import by_itself
from vault.catalogue.requests import DIRECT_MARKETING, Approve
from vault.errors import Conflict
from vault.requests.clock import with_clock
from vault.requests.execution import is_final, stop_at_once
from vault.requests.model import Approval
from vault.requests.transaction import changing_request

if TYPE_CHECKING:
    from uuid import UUID

    from vault.context import Caller, House
    from vault.ids import TenantId
    from vault.policy.policy_set import PolicySet
    from vault.requests.machine import Kind
    from vault.requests.model import Request, Verification
    from vault.requests.transaction import RequestChange

NEEDS_FRESH: Final = frozenset({"erasure", "rectification"})
"""Kinds that cannot be undone, or that could take a person's account over: an hour-old session is not enough."""


class NotFreshEnough(Conflict):
    """This kind of request needs somebody to show that they are the person within the minutes before."""

    code = "fresh-identity-needed"


def suffices(kind: Kind, verification: Verification) -> bool:
    """Tell whether a verification is good enough for a kind of request."""
    return verification.level == "fresh" or kind not in NEEDS_FRESH


def approval_of(policy_set: PolicySet, request: Request) -> Approve:
    """Return who approves a request, as requests.toml says."""
    rules = policy_set.requests
    if request.kind == "objection" and is_final(policy_set, request.scope):
        return rules.approval(DIRECT_MARKETING)
    return rules.approval(request.kind)


async def verify(house: House, change: RequestChange, verification: Verification, *, note: str | None = None) -> None:
    """Make a request verified, and approve it where the rules say that this happens by itself.

    Call it inside of the transaction on the request; after that transaction, call :func:`start_approved`.

    Args:
        house: the rooms.
        change: the open transaction on the request.
        verification: how somebody has shown to be the person.
        note: staff's evidence; sealed.

    Raises:
        NotFreshEnough: the kind of request needs a fresh verification.
        WrongState: the request is past that.
    """
    request = change.request
    if not suffices(request.kind, verification):
        raise NotFreshEnough(
            "this request needs a fresh proof of identity",
            hint="ask for a one-time code, or sign in anew and send the request at once",
        )
    before = request.state
    policy_set = house.policies.active(change.caller.tenant).policy_set
    change.move("verify", code=verification.how, note=note, verification=verification)
    _end_suspension(change)
    await stop_at_once(change)
    if before != "in_review" and approval_of(policy_set, change.request) == Approve.AUTOMATIC:
        approvals = (*change.request.approvals, Approval(change.now))
        change.move("approve", code="by-rule", by=by_itself(change.caller.tenant), approvals=approvals)


async def verify_request(
    house: House, caller: Caller, request: UUID, verification: Verification, *, note: str | None = None
) -> Request:
    """Make a request verified in a transaction of its own, and start its job where it is approved by that.

    Raises:
        NotFound: there is no such request.
        NotFreshEnough, WrongState: as with :func:`verify`.
    """
    async with changing_request(house, caller, request, action="verify-identity") as change:
        await verify(house, change, verification, note=note)
    await start_approved(house, caller.tenant, change.request)
    return change.request


async def start_approved(house: House, tenant: TenantId, request: Request) -> None:
    """Start the job of a request that is approved; nothing for others. Call it after the commit.

    A crash between the two loses nothing: jobs that are missing are found and started.
    """
    if request.state == "approved":
        await house.jobs.start(request.kind, tenant, request.id, run=request.run)


def _end_suspension(change: RequestChange) -> None:
    """Let the clock go on: the question about identity is answered."""
    spans = change.request.suspensions
    if not spans or spans[-1].until is not None:
        return
    ended = msgspec.structs.replace(spans[-1], until=change.now)
    change.request = with_clock(change, suspensions=(*spans[:-1], ended))
