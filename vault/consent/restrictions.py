"""Restrictions (Art. 18 GDPR) and objections (Art. 21).

Restricted data is stored and, except in the cases of Art. 18(2), not used. A restriction is lifted in two steps,
because the person has to be informed first (Art. 18(3)): :mod:`vault.letters.about_requests` announces the lifting, and
it takes place once the notice period is over.

An objection to direct marketing is final at once. Otherwise the use stops until the objection is decided.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from vault.access.authorization import require_permission
from vault.access.recording import audited, begin_once
from vault.consent.legal_ground import may_object
from vault.consent.transaction import changing, keys_of
from vault.consent.validation import require_words, words_fault
from vault.consent.views import RecordedEvent
from vault.errors import Conflict, Fault, InvalidInput, NotFound
from vault.recipients.outbox import EVERYTHING

if TYPE_CHECKING:
    from uuid import UUID

    from vault.access.recording import SaveResponse
    from vault.catalogue.model import Purpose
    from vault.consent.model import By, Event, Kind
    from vault.consent.transaction import Change
    from vault.context import Caller, Services
    from vault.ids import SubjectId


RestrictionGround = Literal["accuracy", "unlawful", "claims", "objection"]
"""Why data is restricted, Art. 18(1)(a) to (d): its accuracy is contested, its use is unlawful but the person opposes
erasure, the person needs it for legal claims, or an objection is pending."""


@audited("restrict")
async def restrict(
    services: Services,
    caller: Caller,
    subject: SubjectId,
    *,
    ground: RestrictionGround,
    reason: str | None = None,
    on_commit: SaveResponse | None = None,
) -> RecordedEvent:
    """Restrict a person's data. If it is restricted already, the further ground is recorded.

    Raises:
        InvalidInput: the reason is invalid.
        NotFound: there is no such subject.
    """
    await require_permission(services, caller, "vault:restrictions", "manage", audit_action="restrict")
    await begin_once(on_commit)
    require_words(reason)
    keys = await keys_of(services, caller, subject)
    async with changing(services, caller, "restrict", subject, keys=keys) as change:
        event = await restrict_in(change, ground, reason)
        return await change.answer(RecordedEvent(id=event.id, state="restricted"), on_commit)


@audited("lift-restriction")
async def lift_restriction(
    services: Services,
    caller: Caller,
    subject: SubjectId,
    *,
    reason: str | None = None,
    on_commit: SaveResponse | None = None,
) -> RecordedEvent:
    """Lift the restriction, once the person was informed and the notice period is over (Art. 18(3)).

    Raises:
        InvalidInput: the reason is invalid.
        NotFound: there is no such subject.
        Conflict: the data is not restricted, the person was not informed, or the notice period is not over.
    """
    await require_permission(services, caller, "vault:restrictions", "manage", audit_action="lift-restriction")
    await begin_once(on_commit)
    require_words(reason)
    keys = await keys_of(services, caller, subject)
    async with changing(services, caller, "lift-restriction", subject, keys=keys) as change:
        require_restricted(change)
        announced = await _announcement(change)
        lifted = change.event("restriction-lifted", by="staff", words=reason, answers=announced.id)
        await change.append(lifted)
        await change.notify_recipients("subject.restriction-lifted", EVERYTHING, None)
        state = "active" if change.state.restricted_at is None else "restricted"
        return await change.answer(RecordedEvent(id=lifted.id, state=state), on_commit)


async def restrict_in(change: Change, ground: str | None, reason: str | None, *, request: UUID | None = None) -> Event:
    """Restrict a person's data in an open transaction, and notify the recipients who have read it (Art. 19).

    Args:
        ground: one of :data:`RestrictionGround`.
        reason: why, in one line; sealed.
        request: the request of the person that asked for it, if there is one.

    Raises:
        InvalidInput: there is no such ground.
    """
    if ground not in get_args(RestrictionGround):
        detail = f"One of {', '.join(get_args(RestrictionGround))} (Art. 18(1)(a) to (d))."
        raise InvalidInput("a restriction needs a ground", faults=[Fault("/ground", "unknown-code", detail)])
    by: By = "staff" if request is None else "subject"
    restricted = change.event("restricted", by=by, words=reason, ground=ground)
    was_free = change.state.restricted_at is None
    await change.append(restricted)
    if was_free:
        await change.notify_recipients("subject.restricted", EVERYTHING, request)
    return restricted


def require_restricted(change: Change) -> None:
    """Refuse a person whose data is not restricted.

    Raises:
        Conflict: the data is not restricted.
    """
    if change.state.restricted_at is None:
        raise Conflict("this person's data is not restricted", code="not-restricted")


async def _announcement(change: Change) -> Event:
    """Return the announcement that permits the lifting: later than every restriction, with its notice period over."""
    announced = None
    for event in await change.history():
        if event.kind == "restricted":
            announced = None  # it announced the end of an earlier restriction
        elif event.kind == "lift-announced" and event.origin == "recorded":
            announced = event  # informed twice, the person relies on the later date
    if announced is None:
        raise Conflict(
            "the person has not been informed that the restriction ends",
            code="notice-first",
            hint="announce the lifting first: POST /v1/subjects/{id}/restriction:announce",
        )
    if announced.valid_until is not None and change.now < announced.valid_until:
        raise Conflict(
            "the notice period is not over",
            code="notice-running",
            hint=f"lift the restriction from {announced.valid_until:%Y-%m-%d %H:%M} UTC on",
        )
    return announced


Decided = Literal["upheld", "overruled"]


@audited("object")
async def record_objection(
    services: Services,
    caller: Caller,
    subject: SubjectId,
    *,
    purpose: str,
    reason: str | None = None,
    on_commit: SaveResponse | None = None,
) -> RecordedEvent:
    """Record that a person objects to a purpose.

    Args:
        reason: the grounds of the person's particular situation, in their words; sealed.
        on_commit: called in the transaction with the result; saves the response under an idempotency key.

    Raises:
        InvalidInput: an unknown purpose, or one to which there is no right to object.
        NotFound: there is no such subject.
    """
    await require_permission(services, caller, "vault:consents", "record", audit_action="object")
    await begin_once(on_commit)
    policy = _checked(services, caller, purpose, reason)
    keys = await keys_of(services, caller, subject)
    async with changing(services, caller, "object", subject, keys=keys, purpose=purpose) as change:
        event = change.event(
            "objected",
            by="subject",
            purpose=purpose,
            words=reason,
            final=policy.direct_marketing,
            occurred_at=change.next_moment(purpose),
        )
        await change.append(event)
        recorded = RecordedEvent(id=event.id, state=change.purpose_state(purpose).objection)
        return await change.answer(recorded, on_commit)


@audited("decide-objection")
async def decide_objection(
    services: Services,
    caller: Caller,
    subject: SubjectId,
    event: UUID,
    *,
    decision: Decided,
    reason: str,
    on_commit: SaveResponse | None = None,
) -> RecordedEvent:
    """Decide a pending objection: upheld, use stays stopped; overruled, it may go on.

    Args:
        subject: the person who objected.
        event: id of the objection.
        decision: ``upheld`` or ``overruled``.
        reason: the compelling grounds that override the person's, or why there are none (Art. 21(1)); sealed.
        on_commit: called in the transaction with the result; saves the response under an idempotency key.

    Raises:
        InvalidInput: the reason is invalid.
        NotFound: the person made no such objection.
        Conflict: the objection is not pending.
    """
    await require_permission(services, caller, "vault:restrictions", "manage", audit_action="decide-objection")
    await begin_once(on_commit)
    require_words(reason)
    keys = await keys_of(services, caller, subject)
    objected = await services.consents.event(caller.tenant, subject, event)
    if objected.kind != "objected" or objected.purpose is None:
        raise NotFound("this person has no such event", code="consent-event-not-found")
    name = objected.purpose
    async with changing(services, caller, "decide-objection", subject, keys=keys, purpose=name) as change:
        # Checked under the row lock: of two decisions at the same time, the second finds nothing pending.
        if objected.final or change.purpose_state(name).objection != "pending":
            raise Conflict(
                "this objection is not pending",
                code="objection-decided",
                hint="it was decided or withdrawn, or it is final because it is to direct marketing",
            )
        kind: Kind = "objection-upheld" if decision == "upheld" else "objection-overruled"
        at = change.next_moment(name)
        ruling = change.event(kind, by="staff", purpose=name, words=reason, answers=event, occurred_at=at)
        await change.append(ruling)
        recorded = RecordedEvent(id=ruling.id, state=change.purpose_state(name).objection)
        return await change.answer(recorded, on_commit)


def _checked(services: Services, caller: Caller, purpose: str, reason: str | None) -> Purpose:
    known = services.policies.active(caller.tenant).policy_set.purposes.get(purpose)
    fault = words_fault(reason, at="/reason", code="invalid-reason")
    faults = [] if fault is None else [fault]
    if known is None:
        detail = "There is no such purpose; GET /v1/purposes lists them."
        faults.append(Fault("/purpose", "unknown-purpose", detail))
    elif not may_object(known):
        detail = "There is no right to object on this legal basis (Art. 21); a consent can be withdrawn."
        faults.append(Fault("/purpose", "no-right-to-object", detail))
    if faults or known is None:
        raise InvalidInput("the objection cannot be recorded", faults=faults, code=faults[0].code)
    return known
