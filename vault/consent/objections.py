"""Objections (Art. 21 GDPR): to direct marketing final at once; otherwise they stop the use until they are decided."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from vault.access.authorization import require_permission
from vault.access.recording import audited
from vault.consent.legal_ground import may_object
from vault.consent.transaction import Recorded, changing
from vault.consent.validation import keys_of, seal_words, words_fault
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
) -> Recorded:
    """Record that a person objects to a purpose.

    Args:
        caller: who records it.
        subject: who objects.
        purpose: to which purpose.
        reason: the person's own words, on the grounds of their situation; sealed.
        on_commit: called in the transaction with the result; saves the response under an idempotency key.

    Raises:
        InvalidInput: an unknown purpose, or one to which there is no right to object.
        NotFound: there is no such subject.
    """
    await require_permission(services, caller, "vault:consents", "record", audit_action="object")
    meant = _checked(services, caller, purpose, reason)
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
                final=meant.direct_marketing,
                occurred_at=change.next_moment(purpose),
            )
        )
        recorded = Recorded(event, change.said(purpose).objection)
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
) -> Recorded:
    """Decide an objection that is pending: upheld, the use has ended; overruled, it may go on.

    Args:
        caller: who decides.
        subject: who objected.
        event: the objection.
        decision: ``upheld`` or ``overruled``.
        reason: which compelling grounds override the person's, or why none do (Art. 21(1)); sealed.
        on_commit: called in the transaction with the result; saves the response under an idempotency key.

    Raises:
        InvalidInput: the reason does not have its form.
        NotFound: the person made no such objection.
        Conflict: nothing is left to decide about it.
    """
    await require_permission(services, caller, "vault:restrictions", "manage", audit_action="decide-objection")
    _require_words(reason)
    keys = await keys_of(services, caller, subject)
    objected = await services.consents.event(caller.tenant, subject, event)
    if objected.kind != "objected" or objected.purpose is None:
        raise NotFound("this person's ledger has no such event", code="consent-event-not-found")
    name = objected.purpose
    async with changing(services, caller, "decide-objection", subject, purpose=name) as change:
        if objected.final or change.said(name).objection != "pending":
            raise Conflict(
                "nothing is left to decide about this objection",
                code="objection-decided",
                hint="it was decided or taken back, or is to direct marketing and final",
            )
        made = change.new_id()
        kind: Kind = "objection-upheld" if decision == "upheld" else "objection-overruled"
        sealed = seal_words(keys, caller.tenant, subject, made, reason)
        at = change.next_moment(name)
        await change.append(
            change.event(kind, id=made, by="staff", purpose=name, evidence=sealed, answers=event, occurred_at=at)
        )
        recorded = Recorded(made, change.said(name).objection)
        if on_commit is not None:
            await on_commit(change.connection, recorded)
    return recorded


def _checked(services: Services, caller: Caller, purpose: str, reason: str | None) -> Purpose:
    meant = services.policies.active(caller.tenant).policy_set.purposes.get(purpose)
    faults = [fault for fault in (words_fault(reason, at="/reason", code="invalid-reason"),) if fault]
    if meant is None:
        detail = "There is no such purpose; GET /v1/purposes lists them."
        faults.append(Fault("/purpose", "unknown-purpose", detail))
    elif not may_object(meant):
        detail = "There is no right to object to what rests on this ground (Art. 21); a consent can be withdrawn."
        faults.append(Fault("/purpose", "no-right-to-object", detail))
    if faults or meant is None:
        raise InvalidInput("the objection cannot be recorded", faults=faults, code=faults[0].code)
    return meant


def _require_words(reason: str) -> None:
    fault = words_fault(reason, at="/reason", code="invalid-reason")
    if fault is not None:
        raise InvalidInput("the reason does not have its form", faults=[fault], code="invalid-reason")
