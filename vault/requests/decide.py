"""Moves of a request: decisions of staff, the steps with which every job starts and completes, and expiry."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Literal

from msgspec.structs import replace

from vault import logs
from vault.access.authorization import require_permission
from vault.access.callers import system_caller
from vault.access.recording import audited
from vault.catalogue.company import Approve
from vault.consent.validation import require_words
from vault.errors import Conflict, Fault, InvalidInput, Unavailable, VaultError
from vault.requests.deadlines import day_of_receipt, local_date, with_deadlines
from vault.requests.kind import kind_of
from vault.requests.model import RUNNING, UNVERIFIED, Approval, Extension, Suspension, WrongState, after
from vault.requests.store import find_request, waiting_since
from vault.requests.transaction import changing_request, no_request, require_own_or
from vault.requests.verification import start_approved

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime
    from uuid import UUID

    from vault.context import Caller, Services
    from vault.ids import SubjectId, TenantId
    from vault.jobs.workflow import Step
    from vault.requests.kind import RequestKind
    from vault.requests.model import Request
    from vault.requests.transaction import RequestChange


Reason = Literal["complexity", "number"]
Outcome = Literal["confirmed", "changed"]
"""How the review of an automated decision ends: the decision is confirmed, or was changed."""


@asynccontextmanager
async def _deciding(
    services: Services, caller: Caller, request: UUID, note: str | None, *, letter: str | None = None
) -> AsyncIterator[RequestChange]:
    """Open the transaction of staff's decision on a request; afterwards, start the letter that informs the person."""
    await require_permission(services, caller, "vault:requests", "decide", audit_action="move-request")
    require_words(note, at="/note", code="invalid-note")
    async with changing_request(services, caller, request) as change:
        yield change
    if letter is not None:
        # The revision makes each letter a job of its own.
        await services.jobs.start(letter, caller.tenant, change.request.id, run=change.request.revision)


@audited("move-request")
async def approve_request(services: Services, caller: Caller, request: UUID, *, note: str | None = None) -> Request:
    """Approve a verified request, and start its job. With dual approval, the first approval only signs it.

    Args:
        note: why, in one line; sealed.

    Raises:
        Denied: the caller may not decide requests.
        NotFound: there is no such request.
        WrongState: the requester's identity is not verified, or the request is in another state.
        Conflict: dual approval is needed, and the caller submitted or already signed the request.
    """
    async with _deciding(services, caller, request, note) as change:
        require_verified(change.request, kind_of(change))
        if _approval(change) == Approve.FOUR_EYES:
            _sign(change, note)
        else:
            _approve(change, note)
    await start_approved(services, caller.tenant, change.request)
    return change.request


@audited("move-request")
async def reject_request(
    services: Services, caller: Caller, request: UUID, *, ground: str, note: str | None = None
) -> Request:
    """Reject a request on a legal ground. The person is informed of the ground and the remedies.

    Args:
        ground: a code of :meth:`vault.requests.kind.RequestKind.refusal_grounds`.
        note: why, in one line; sealed.

    Raises:
        InvalidInput: a request of this kind cannot be refused on this ground.
        Denied, NotFound, WrongState: as with :func:`approve_request`.
    """
    async with _deciding(services, caller, request, note, letter="tell-rejected") as change:
        kind = kind_of(change)
        is_final = kind.is_final(change.policy_set, change.request.scope)
        grounds = kind.refusal_grounds(change.request.regime, final=is_final)
        if ground not in grounds:
            fault = Fault("/ground", "unknown-ground", f"One of {', '.join(sorted(grounds))}.")
            raise InvalidInput("such a request cannot be refused on this ground", faults=[fault], code="unknown-ground")
        after(change.request.state, "reject")
        if kind.on_rejected is not None:
            await kind.on_rejected(change, note)
        change.move("reject", code=ground, note=note, ground=ground)
    return change.request


@audited("move-request")
async def extend_request(
    services: Services, caller: Caller, request: UUID, *, reason: Reason, note: str | None = None
) -> Request:
    """Extend the deadline, once and before it has passed. The person is informed (Art. 12(3) GDPR; 11 CCR § 7021(b)).

    Raises:
        Conflict: the deadline was extended before, or has passed.
        Denied, NotFound, WrongState: as with :func:`approve_request`.
    """
    async with _deciding(services, caller, request, note, letter="tell-extended") as change:
        current = change.request
        if current.extension is not None:
            raise Conflict("the deadline was extended before; it can be extended only once", code="extended-already")
        if local_date(change.now, current.jurisdiction) > current.due.on:
            raise Conflict(
                "the deadline has passed; it can be extended only before",
                code="extension-too-late",
                hint="answer the request now",
            )
        change.move("extend", code=reason, note=note)
        change.request = with_deadlines(
            change.policy_set, replace(change.request, extension=Extension(change.now, reason))
        )
    return change.request


@audited("move-request")
async def ask_identity(services: Services, caller: Caller, request: UUID, *, note: str | None = None) -> Request:
    """Request proof of identity. If asked in time, the deadline is suspended until the request is verified.

    An earlier verification is void.

    Raises:
        Denied, NotFound, WrongState: as with :func:`approve_request`.
    """
    async with _deciding(services, caller, request, note, letter="tell-identity") as change:
        current, spans = change.request, change.request.suspensions
        today = local_date(change.now, current.jurisdiction)
        waited = today - day_of_receipt(current.received_at, current.jurisdiction)
        # Only a prompt question suspends the deadline, and under the CCPA none does.
        prompt = current.regime == "gdpr" and waited.days <= change.policy_set.requests.question_days
        change.move(
            "ask-identity",
            code="in-time" if prompt else "too-late-for-the-clock",
            note=note,
            verification=None,
            approvals=(),
            suspensions=(*spans, Suspension(change.now)) if prompt else spans,
        )
    return change.request


@audited("move-request")
async def cancel_request(
    services: Services, caller: Caller, request: UUID, *, note: str | None = None, of: SubjectId | None = None
) -> Request:
    """Cancel a request that is not in progress yet: by staff, by the app that submitted it, or by the person.

    Args:
        note: why, in one line; sealed.
        of: the person, if they cancel in their own session; they have access to their own requests only.

    Raises:
        Denied: the caller may not cancel this request.
        NotFound: there is no such request.
        WrongState: it is in progress or closed.
    """
    require_words(note, at="/note", code="invalid-note")
    if of is None:
        await require_own_or(services, caller, request, "decide", audit_action="move-request")
    async with changing_request(services, caller, request) as change:
        if of is not None and change.request.subject != of:
            raise no_request()
        change.move("cancel", note=note)
    return change.request


@audited("move-request")
async def reopen_request(services: Services, caller: Caller, request: UUID, *, note: str | None = None) -> Request:
    """Reopen a closed request. It is unverified again; its history and deadline stay.

    Raises:
        Denied, NotFound, WrongState: as with :func:`approve_request`.
    """
    async with _deciding(services, caller, request, note) as change:
        closed_at = change.request.closed_at or change.now
        spans = change.request.suspensions
        if spans and spans[-1].until is None:
            spans = (*spans[:-1], replace(spans[-1], until=closed_at))
        change.move(
            "reopen",
            note=note,
            run=change.request.run + 1,
            verification=None,
            approvals=(),
            ground=None,
            outcome=None,
            closed_at=None,
        )
        change.request = with_deadlines(change.policy_set, replace(change.request, suspensions=spans))
    return change.request


@audited("move-request")
async def complete_request(
    services: Services, caller: Caller, request: UUID, *, outcome: Outcome, note: str | None = None
) -> Request:
    """Complete a request that a person carries out: the review of an automated decision (Art. 22(3)).

    Raises:
        Conflict: the request is completed by its job, or needs dual approval first.
        Denied, NotFound, WrongState: as with :func:`approve_request`.
    """
    async with _deciding(services, caller, request, note, letter="tell-completed") as change:
        if not kind_of(change).completed_by_staff:
            raise Conflict(
                "a request of this kind is completed by its job",
                code="completed-by-job",
                hint="approve it, or reject it",
            )
        if change.request.state == "in_review" and _approval(change) != Approve.FOUR_EYES:
            require_verified(change.request, kind_of(change))
            _approve(change, None)
        if change.request.state == "approved":
            change.move("start")
        change.move("complete", code=outcome, note=note, outcome=outcome)
    return change.request


def _approval(change: RequestChange) -> Approve:
    return kind_of(change).approval(change.policy_set, change.request.scope)


def _approve(change: RequestChange, note: str | None) -> None:
    approvals = (*change.request.approvals, Approval(change.now, change.caller.principal.id))
    change.move("approve", note=note, approvals=approvals)


def _sign(change: RequestChange, note: str | None) -> None:
    """Give the first or the second of two approvals."""
    approver = change.caller.principal.id
    approvals = change.request.approvals
    # Dual approval needs two people besides the one who submitted the request, or one person could do it all.
    if change.request.recorder == approver:
        raise Conflict(
            "a request that you submitted needs the approval of two others", code="own-request", hint="ask two others"
        )
    if any(approval.by == approver for approval in approvals):
        raise Conflict(
            "you have signed already; another person must sign second",
            code="signed-already",
            hint="ask another person who may decide",
        )
    if approvals:
        _approve(change, note)
    else:
        change.move("sign", note=note, approvals=(Approval(change.now, approver),))


def require_verified(request: Request, kind: RequestKind) -> None:
    """Require that a request can be approved.

    Raises:
        WrongState: it is in another state, or the requester's identity is not verified as its kind requires.
    """
    after(request.state, "approve")
    if request.verification is None or not kind.accepts(request.verification):
        raise WrongState("the requester's identity is not verified", hint="verify the request first")


PAGE: Final = 200

log = logs.get_logger()


async def start_request(services: Services, tenant: TenantId, request: UUID) -> None:
    """Start an approved request. A request that was cancelled since, or is running already, is left alone."""
    async with changing_request(services, system_caller(tenant), request) as change:
        if change.request.state == "approved":
            change.move("start")


async def finish_request(services: Services, tenant: TenantId, request: UUID) -> None:
    """Complete a request that was carried out."""
    async with changing_request(services, system_caller(tenant), request) as change:
        if change.request.state == RUNNING:
            change.move("complete", outcome=change.request.outcome or "done")


def guarded(step: Step) -> Step:
    """Make a step run only while its request is in progress, and hand the request back to staff if it fails.

    :class:`Unavailable` is raised on, and the step is retried. Any other error of the vault would recur: the request
    returns to review with the error's code. After a new approval another run begins.
    """

    async def run(services: Services, tenant: TenantId, request: UUID) -> float | None:
        async with services.data.reading() as connection:
            stored = await find_request(connection, await services.keyring.row_keys(tenant), request)
        if stored is None or stored.request.state != RUNNING:
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


async def expire_requests(services: Services) -> int:
    """Expire requests whose requester never verified their identity, in all tenants; return how many.

    The days in requests.toml count from the last event: a request that was reopened, or whose requester was asked for
    proof of identity, has all of them again.
    """
    return sum([await _expire_of(services, tenant) for tenant in await services.keyring.tenants()])


async def _expire_of(services: Services, tenant: TenantId) -> int:
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
