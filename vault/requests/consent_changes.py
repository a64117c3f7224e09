"""Requests that change a person's consents: restriction (Art. 18 GDPR), objection (Art. 21) and withdrawal (Art. 7(3)).

An objection and a withdrawal stop a use of data as soon as the request is verified; staff decide about an objection
later. All of it happens within a transaction on the request (:func:`vault.requests.transaction.changing_request`), so
that the request and the consent events agree. The person's row is locked after the request's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, get_args

from vault.access.authorization import subject_not_found
from vault.access.callers import system_caller
from vault.consent.legal_ground import may_object
from vault.consent.model import NO
from vault.consent.record import is_asked_again
from vault.consent.restrictions import RestrictionGround, restrict_in
from vault.consent.transaction import Change, missing
from vault.errors import Fault
from vault.ids import SubjectId
from vault.requests.kind import IDENTITY, Ground, RequestKind
from vault.requests.transaction import changing_request

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from vault.audit.entry import Action
    from vault.catalogue.model import Scope
    from vault.consent.model import Event
    from vault.context import Services
    from vault.ids import TenantId
    from vault.policy.policy_set import PolicySet
    from vault.recipients.store import NoticeKind
    from vault.requests.transaction import RequestChange


async def lock_consents(change: RequestChange) -> Change:
    """Lock the row of the person of a request, for changes of their consents.

    Raises:
        NotFound: the person does not exist any more.
    """
    if change.request.subject is None:
        raise subject_not_found()
    subject = SubjectId(change.request.subject)
    consents = await Change.lock(change.services, change.caller, change.connection, subject, change.keys)
    if consents is None:
        raise await missing(change.services, change.caller, change.connection, subject)
    return consents


def objection_purposes(policy_set: PolicySet, scope: Scope) -> tuple[str, ...]:
    """Return the purposes that an objection is to: those in its scope, or all to which a person may object."""
    purposes = [purpose for purpose in policy_set.purposes.values() if may_object(purpose)]
    return tuple(purpose.name for purpose in purposes if not scope.purposes or purpose.name in scope.purposes)


def is_to_direct_marketing(policy_set: PolicySet, scope: Scope) -> bool:
    """Return whether an objection is to direct marketing alone, so that nothing is left to decide (Art. 21(3))."""
    names = objection_purposes(policy_set, scope)
    return bool(names) and all(policy_set.purposes[name].direct_marketing for name in names)


async def object_at_once(change: RequestChange) -> None:
    """Record an objection: the use is restricted until it is decided (Art. 18(1)(d)).

    Raises:
        NotFound: the person does not exist any more.
    """
    consents = await lock_consents(change)
    policy_set = change.policy_set
    reason = change.opened_details().get("reason")
    pending = await _pending_objections(change, consents)
    for name in objection_purposes(policy_set, change.request.scope):
        if name in pending or consents.purpose_state(name).objection == "upheld":
            continue
        await consents.append(
            consents.event(
                "objected",
                by="subject",
                purpose=name,
                channel=change.request.channel,
                words=reason,
                final=policy_set.purposes[name].direct_marketing,
                occurred_at=consents.next_moment(name),
            )
        )
    await _save(change, consents, "object")
    await _notify_recipients(change, consents, "subject.objected")


async def withdraw_at_once(change: RequestChange) -> None:
    """Record the withdrawal of consents: of the purposes in the scope, or of all (Art. 7(3)).

    Raises:
        NotFound: the person does not exist any more.
    """
    consents = await lock_consents(change)
    for name in change.request.scope.purposes or sorted(consents.state.purposes):
        purpose = change.policy_set.purposes.get(name)
        if purpose is None or not (purpose.rests_on_consent or consents.purpose_state(name).state != "none"):
            continue
        if consents.purpose_state(name).state in NO and not await is_asked_again(consents, name):
            continue
        await consents.append(
            consents.event(
                "withdrawn",
                by="subject",
                purpose=name,
                channel=change.request.channel,
                occurred_at=consents.next_moment(name),
            )
        )
    await _save(change, consents, "record-consent")
    await _notify_recipients(change, consents, "subject.withdrawn")


async def decide_objections(change: RequestChange, *, upheld: bool, reason: str | None = None) -> None:
    """Decide the objections of a request that are still pending; those to direct marketing need no decision.

    Args:
        upheld: whether the use ends for good; otherwise it may continue.
        reason: the compelling grounds that override the person's (Art. 21(1)), in one line; sealed.

    Raises:
        NotFound: the person does not exist any more.
    """
    if not change.request.results:
        return
    consents = await lock_consents(change)
    for objection in (await _pending_objections(change, consents)).values():
        name = str(objection.purpose)
        await consents.append(
            consents.event(
                "objection-upheld" if upheld else "objection-overruled",
                by="staff",
                purpose=name,
                words=reason,
                answers=objection.id,
                occurred_at=consents.next_moment(name),
            )
        )
    if consents.events:
        await _save(change, consents, "decide-objection")


async def restrict(services: Services, tenant: TenantId, request: UUID) -> None:
    """Restrict the person's data (Art. 18(1))."""
    async with changing_request(services, system_caller(tenant), request, action="restrict") as change:
        if change.is_due:
            details = change.opened_details()
            consents = await lock_consents(change)
            await restrict_in(consents, details.get("ground"), details.get("reason"), request=request)
            await _save(change, consents, "restrict")


async def uphold(services: Services, tenant: TenantId, request: UUID) -> None:
    """Uphold the objections of a request that was approved (Art. 21(1))."""
    async with changing_request(services, system_caller(tenant), request, action="decide-objection") as change:
        if change.is_running:
            if change.is_due and change.request.verification is not None:
                await object_at_once(change)
            await decide_objections(change, upheld=True)


async def withdraw(services: Services, tenant: TenantId, request: UUID) -> None:
    """Withdraw consents, if that did not happen when the request was verified (Art. 7(3))."""
    async with changing_request(services, system_caller(tenant), request, action="record-consent") as change:
        if change.is_due and change.request.verification is not None:
            await withdraw_at_once(change)


async def _save(change: RequestChange, consents: Change, action: Action) -> None:
    """Note the consent events in the request and in the audit log."""
    change.mark_done([event.id for event in consents.events])
    if consents.events:
        await change.services.audit_log.append_in(change.connection, consents.entries(action))


async def _pending_objections(change: RequestChange, consents: Change) -> dict[str, Event]:
    """Return this request's undecided objections, by purpose."""
    results = change.request.results
    by_purpose = {
        str(event.purpose): event for event in await consents.history() if event.id in results and not event.final
    }
    return {
        name: event
        for name, event in by_purpose.items()
        if event.kind == "objected" and consents.purpose_state(name).objection == "pending"
    }


async def _notify_recipients(change: RequestChange, consents: Change, kind: NoticeKind) -> None:
    """Notify the apps that were shown fields of these purposes, for they may still use them."""
    purposes = change.policy_set.purposes
    stopped = {str(event.purpose) for event in consents.events} & purposes.keys()
    fields = {view.rpartition(".")[0] for name in stopped for view in purposes[name].views}
    if fields:
        await consents.notify_recipients(kind, sorted(fields), change.request.id)


def _restriction_faults(_policy_set: PolicySet, _scope: Scope, details: Mapping[str, object]) -> list[Fault]:
    if details.get("ground") in get_args(RestrictionGround):
        return []
    detail = f"One of {', '.join(get_args(RestrictionGround))} (Art. 18(1)(a) to (d))."
    return [Fault("/details/ground", "unknown-code", detail)]


def _objection_faults(policy_set: PolicySet, scope: Scope, _details: Mapping[str, object]) -> list[Fault]:
    allowed = objection_purposes(policy_set, scope)
    faults = _purpose_faults(policy_set, scope)
    if not faults and (not allowed or any(name not in allowed for name in scope.purposes)):
        detail = "There is no right to object to what rests on this ground (Art. 21); a consent can be withdrawn."
        faults.append(Fault("/scope/purposes", "no-right-to-object", detail))
    return faults


def _withdrawal_faults(policy_set: PolicySet, scope: Scope, _details: Mapping[str, object]) -> list[Fault]:
    faults = _purpose_faults(policy_set, scope)
    if not faults and any(not policy_set.purposes[name].rests_on_consent for name in scope.purposes):
        detail = "This purpose does not rest on consent, so there is none to take back."
        faults.append(Fault("/scope/purposes", "purpose-without-consent", detail))
    return faults


def _purpose_faults(policy_set: PolicySet, scope: Scope) -> list[Fault]:
    if all(name in policy_set.purposes for name in scope.purposes):
        return []
    return [Fault("/scope/purposes", "unknown-purpose", "There is no such purpose; GET /v1/purposes lists them.")]


RESTRICTION: Final = RequestKind(
    name="restriction",
    steps=(("restrict", restrict),),
    keys=("ground",),
    check=_restriction_faults,
    grounds=(Ground("no-ground", "none of the grounds for restriction applies", "Art. 18(1) GDPR", ""),),
)
OBJECTION: Final = RequestKind(
    name="objection",
    steps=(("uphold", uphold),),
    check=_objection_faults,
    grounds=(
        Ground("compelling-grounds", "compelling legitimate grounds override the person's", "Art. 21(1) GDPR", ""),
        Ground("legal-claims", "the processing is for legal claims", "Art. 21(1) GDPR", "Cal. Civ. Code § 1798.145(a)"),
        Ground("public-interest", "the research or statistics are in the public interest", "Art. 21(6) GDPR", ""),
    ),
    stop_at_once=object_at_once,
    on_rejected=lambda change, reason: decide_objections(change, upheld=False, reason=reason),
    is_final=is_to_direct_marketing,
)
WITHDRAWAL: Final = RequestKind(
    name="withdrawal",
    steps=(("withdraw", withdraw),),
    check=_withdrawal_faults,
    # The person gives no reason, and nothing is weighed: Art. 12(5) is about other rights.
    general_grounds=(IDENTITY,),
    grounds=(Ground("no-consent", "there is no consent to take back", "Art. 7(3) GDPR", "Cal. Civ. Code § 1798.120"),),
    stop_at_once=withdraw_at_once,
)
