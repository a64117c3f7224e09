"""Objections (Art. 21 GDPR): final at once against direct marketing; otherwise use stops until they are decided."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from vault.access.authorization import require_permission
from vault.access.recording import audited
from vault.consent.legal_ground import may_object
from vault.consent.restrictions import require_words
from vault.consent.transaction import changing
from vault.consent.validation import keys_of, seal_words, words_fault
from vault.consent.views import RecordedEvent
from vault.errors import Conflict, Fault, InvalidInput, NotFound

if TYPE_CHECKING:
    from uuid import UUID

    from vault.access.recording import SaveResponse
    from vault.catalogue.model import Purpose
    from vault.consent.event import Kind
    from vault.context import Caller, Services
    from vault.ids import SubjectId

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
        services: the open vault.
        caller: the caller that records it.
        subject: the person who objects.
        purpose: the purpose objected to.
        reason: the grounds of the person's particular situation, in their words; sealed.
        on_commit: called in the transaction with the result; saves the response under an idempotency key.

    Raises:
        InvalidInput: an unknown purpose, or one to which there is no right to object.
        NotFound: there is no such subject.
    """
    await require_permission(services, caller, "vault:consents", "record", audit_action="object")
    policy = _checked(services, caller, purpose, reason)
    keys = await keys_of(services, caller, subject)
    async with changing(services, caller, "object", subject, purpose=purpose) as change:
        event = change.new_id()
        await change.append(
            change.event(
                "objected",
                id=event,
                by="subject",
                purpose=purpose,
                evidence=seal_words(keys, caller.tenant, subject, event, reason),
                final=policy.direct_marketing,
                occurred_at=change.next_moment(purpose),
            )
        )
        recorded = RecordedEvent(id=event, state=change.purpose_state(purpose).objection)
        if on_commit is not None:
            await on_commit(change.connection, recorded)
    return recorded


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
        services: the open vault.
        caller: the caller that decides.
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
    require_words(reason)
    keys = await keys_of(services, caller, subject)
    objected = await services.consents.event(caller.tenant, subject, event)
    if objected.kind != "objected" or objected.purpose is None:
        raise NotFound("this person has no such event", code="consent-event-not-found")
    name = objected.purpose
    async with changing(services, caller, "decide-objection", subject, purpose=name) as change:
        # Checked under the row lock: of two decisions at the same time, the second finds nothing pending.
        if objected.final or change.purpose_state(name).objection != "pending":
            raise Conflict(
                "this objection is not pending",
                code="objection-decided",
                hint="it was decided or withdrawn, or it is final because it is to direct marketing",
            )
        ruling = change.new_id()
        kind: Kind = "objection-upheld" if decision == "upheld" else "objection-overruled"
        sealed = seal_words(keys, caller.tenant, subject, ruling, reason)
        at = change.next_moment(name)
        await change.append(
            change.event(kind, id=ruling, by="staff", purpose=name, evidence=sealed, answers=event, occurred_at=at)
        )
        recorded = RecordedEvent(id=ruling, state=change.purpose_state(name).objection)
        if on_commit is not None:
            await on_commit(change.connection, recorded)
    return recorded


def _checked(services: Services, caller: Caller, purpose: str, reason: str | None) -> Purpose:
    known = services.policies.active(caller.tenant).policy_set.purposes.get(purpose)
    faults = [fault for fault in (words_fault(reason, at="/reason", code="invalid-reason"),) if fault]
    if known is None:
        detail = "There is no such purpose; GET /v1/purposes lists them."
        faults.append(Fault("/purpose", "unknown-purpose", detail))
    elif not may_object(known):
        detail = "There is no right to object on this legal basis (Art. 21); a consent can be withdrawn."
        faults.append(Fault("/purpose", "no-right-to-object", detail))
    if faults or known is None:
        raise InvalidInput("the objection cannot be recorded", faults=faults, code=faults[0].code)
    return known
