"""What staff decide about a request: approve, reject, extend, ask who it is, complete; and what ends or reopens one.

What somebody can do whose request was refused or is late (Art. 12(4) GDPR).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from vault.access.authorization import require_permission
from vault.access.recording import audited
from vault.catalogue.requests import Approve
from vault.consent.validation import words_fault
from vault.errors import Conflict, Fault, InvalidInput
from vault.requests.deadlines import local_date, with_clock
from vault.requests.execution import decide_objections, is_final
from vault.requests.model import Approval, Extension, Suspension, WrongState, after, grounds_for
from vault.requests.transaction import changing_request, no_request, require_own_or
from vault.requests.verification import approval_of, start_approved, suffices

if TYPE_CHECKING:
    from uuid import UUID

    from vault.catalogue.controller import Authority
    from vault.context import Caller, Services
    from vault.ids import SubjectId
    from vault.policy.policy_set import PolicySet
    from vault.requests.model import Regime, Request
    from vault.requests.transaction import RequestChange


Reason = Literal["complexity", "number"]
Outcome = Literal["confirmed", "changed"]
"""How a review of an automated decision ends: the decision stands, or it was changed."""


@audited("move-request")
async def approve_request(services: Services, caller: Caller, request: UUID, *, note: str | None = None) -> Request:
    """Approve a request whose requester is verified, or sign it as the first of two; its job then begins.

    Args:
        caller: who decides.
        request: which.
        note: why, in one line; sealed.

    Raises:
        Denied: no role of the caller's may decide.
        NotFound: there is no such request.
        WrongState: nobody has shown to be the person, or the request is past that.
        Conflict: four eyes are needed, and the caller is not the one to give theirs.
    """
    await _may_decide(services, caller, note)
    async with changing_request(services, caller, request) as change:
        _require_verified(change)
        policy_set = services.policies.active(caller.tenant).policy_set
        if approval_of(policy_set, change.request) == Approve.FOUR_EYES:
            _sign(change, note)
        else:
            _approve(change, note)
    await start_approved(services, caller.tenant, change.request)
    return change.request


@audited("move-request")
async def reject_request(
    services: Services, caller: Caller, request: UUID, *, ground: str, note: str | None = None
) -> Request:
    """Reject a request on one of the grounds that the law gives; the person is told, with the remedies.

    Args:
        caller: who decides.
        request: which.
        ground: a code of :func:`vault.requests.model.grounds_for`.
        note: why, in one line; sealed.

    Raises:
        InvalidInput: it is no ground on which such a request may be refused.
        Denied, NotFound, WrongState: as with :func:`approve_request`.
    """
    await _may_decide(services, caller, note)
    async with changing_request(services, caller, request) as change:
        _check_ground(services, change, ground)
        after(change.request.state, "reject")
        await decide_objections(change, upheld=False, reason=note)
        change.move("reject", code=ground, note=note, ground=ground)
    await _tell(services, "tell-rejected", change.request, caller)
    return change.request


@audited("move-request")
async def extend_request(
    services: Services, caller: Caller, request: UUID, *, reason: Reason, note: str | None = None
) -> Request:
    """Extend the deadline: once, before it has passed, and the person is told why (Art. 12(3), 11 CCR § 7021(b)).

    Raises:
        Conflict: it was extended before, or the deadline has passed.
        Denied, NotFound, WrongState: as with :func:`approve_request`.
    """
    await _may_decide(services, caller, note)
    async with changing_request(services, caller, request) as change:
        current = change.request
        if current.extension is not None:
            raise Conflict("the deadline was extended before, and once is all there is", code="extended-already")
        if local_date(change.now, current.jurisdiction) > current.due.on:
            raise Conflict(
                "the deadline has passed, and can be extended only before that",
                code="extension-too-late",
                hint="answer the request now",
            )
        change.move("extend", code=reason, note=note)
        change.request = with_clock(change, extension=Extension(change.now, reason))
    await _tell(services, "tell-extended", change.request, caller)
    return change.request


@audited("move-request")
async def ask_identity(services: Services, caller: Caller, request: UUID, *, note: str | None = None) -> Request:
    """Ask who it is, where that is in doubt; asked promptly, it stops the clock until somebody has shown it.

    Whatever was shown before counts no more.

    Raises:
        Denied, NotFound, WrongState: as with :func:`approve_request`.
    """
    await _may_decide(services, caller, note)
    async with changing_request(services, caller, request) as change:
        prompt = _is_prompt(services, change)
        spans = change.request.suspensions
        change.move(
            "ask-identity",
            code="in-time" if prompt else "too-late-for-the-clock",
            note=note,
            verification=None,
            approvals=(),
            suspensions=(*spans, Suspension(change.now)) if prompt else spans,
        )
    await _tell(services, "tell-identity", change.request, caller)
    return change.request


@audited("move-request")
async def cancel_request(
    services: Services, caller: Caller, request: UUID, *, note: str | None = None, of: SubjectId | None = None
) -> Request:
    """Cancel a request that is not under way yet: by staff, by the app that brought it in, or by the person.

    Args:
        caller: who cancels.
        request: which.
        note: why, in one line; sealed.
        of: the person in whose session this happens; others' requests are not there for them.

    Raises:
        Denied: the caller is none of these.
        NotFound: there is no such request.
        WrongState: it is under way or closed.
    """
    _check_note(note)
    if of is None:
        await require_own_or(services, caller, request, "decide", audit_action="move-request")
    async with changing_request(services, caller, request) as change:
        if of is not None and change.request.subject != of:
            raise no_request()
        change.move("cancel", note=note)
    return change.request


@audited("move-request")
async def reopen_request(services: Services, caller: Caller, request: UUID, *, note: str | None = None) -> Request:
    """Reopen a closed request: it begins anew, unverified, with its history and the deadline of its receipt.

    Raises:
        Denied, NotFound, WrongState: as with :func:`approve_request`.
    """
    await _may_decide(services, caller, note)
    async with changing_request(services, caller, request) as change:
        closed_at = change.request.closed_at or change.now
        spans = change.request.suspensions
        if spans and spans[-1].until is None:
            spans = (*spans[:-1], msgspec.structs.replace(spans[-1], until=closed_at))
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
        change.request = with_clock(change, suspensions=spans)
    return change.request


@audited("move-request")
async def complete_request(
    services: Services, caller: Caller, request: UUID, *, outcome: Outcome, note: str | None = None
) -> Request:
    """Complete a review of an automated decision: a person has looked (Art. 22(3)). Others are completed by their jobs.

    Raises:
        Conflict: the request is of another kind, or four eyes have not approved it yet.
        Denied, NotFound, WrongState: as with :func:`approve_request`.
    """
    await _may_decide(services, caller, note)
    async with changing_request(services, caller, request) as change:
        if change.request.kind != "review":
            raise Conflict(
                "a request of this kind is completed by its job",
                code="completed-by-job",
                hint="approve it, or reject it",
            )
        policy_set = services.policies.active(caller.tenant).policy_set
        if change.request.state == "in_review" and approval_of(policy_set, change.request) != Approve.FOUR_EYES:
            _require_verified(change)
            _approve(change, None)
        if change.request.state == "approved":
            change.move("start")
        change.move("complete", code=outcome, note=note, outcome=outcome)
    await _tell(services, "tell-completed", change.request, caller)
    return change.request


def _approve(change: RequestChange, note: str | None) -> None:
    approvals = (*change.request.approvals, Approval(change.now, change.caller.principal.id))
    change.move("approve", note=note, approvals=approvals)


def _sign(change: RequestChange, note: str | None) -> None:
    """Give the first or the second of two signatures."""
    me = change.caller.principal.id
    signed = change.request.approvals
    if change.request.recorder == me:
        raise Conflict(
            "two others have to approve a request that you took in", code="own-request", hint="ask two others"
        )
    if any(each.by == me for each in signed):
        raise Conflict(
            "somebody else has to sign second", code="signed-already", hint="ask somebody else who may decide"
        )
    if signed:
        _approve(change, note)
    else:
        change.move("sign", note=note, approvals=(Approval(change.now, me),))


def _require_verified(change: RequestChange) -> None:
    """Make sure, once more, that nobody's request is approved who has not shown to be the person."""
    after(change.request.state, "approve")
    verification = change.request.verification
    if verification is None or not suffices(change.request.kind, verification):
        raise WrongState("nobody has shown to be the person", hint="verify the request first")


def _check_ground(services: Services, change: RequestChange, ground: str) -> None:
    request = change.request
    policy_set = services.policies.active(change.caller.tenant).policy_set
    final = request.kind == "objection" and is_final(policy_set, request.scope)
    known = grounds_for(request.kind, request.regime, final=final)
    if ground not in known:
        fault = Fault("/ground", "unknown-ground", f"One of {', '.join(sorted(known))}.")
        raise InvalidInput("such a request cannot be refused on this ground", faults=[fault], code="unknown-ground")


def _is_prompt(services: Services, change: RequestChange) -> bool:
    """Tell whether a question about identity comes early enough to stop the clock; CCPA's never stops."""
    request = change.request
    days = services.policies.active(change.caller.tenant).policy_set.requests.question_days
    waited = local_date(change.now, request.jurisdiction) - local_date(request.received_at, request.jurisdiction)
    return request.regime == "gdpr" and waited.days <= days


async def _may_decide(services: Services, caller: Caller, note: str | None) -> None:
    await require_permission(services, caller, "vault:requests", "decide", audit_action="move-request")
    _check_note(note)


def _check_note(note: str | None) -> None:
    fault = words_fault(note, at="/note", code="invalid-note")
    if fault is not None:
        raise InvalidInput("the note does not have its form", faults=[fault], code="invalid-note")


async def _tell(services: Services, letter: str, request: Request, caller: Caller) -> None:
    """Have the person told, each time it happens: the revision makes it another job."""
    await services.jobs.start(letter, caller.tenant, request.id, run=request.revision)


class Remedies(NamedTuple):
    """Where to complain, and by which articles; the authority is the one that controller.toml names."""

    complaint: str
    authority: Authority | None
    court: str


def remedies(policy_set: PolicySet, regime: Regime) -> Remedies:
    """Name the remedies under a law."""
    if regime == "ccpa":
        return Remedies("Cal. Civ. Code § 1798.199.45: California Privacy Protection Agency", None, "none of its own")
    return Remedies("Art. 77 GDPR", policy_set.controller.authority, "Art. 79 GDPR")
