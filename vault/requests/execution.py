"""The steps that every job of a request begins and ends with, and the guard around those in between.

Requests of which nobody has shown to be the person's expire: nothing is kept waiting for ever.

What requests do in a person's ledger of consents: stop what is objected to, withdraw, restrict, decide.

All of it happens inside of a transaction on the request (:func:`vault.requests.transaction.changing_request`), so
that the request and the ledger never tell different stories; the person's row is locked after the request's.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from vault import logs
from vault.access.authorization import SUBJECT_NOT_FOUND
from vault.access.callers import system_caller
from vault.consent.event import NO
from vault.consent.legal_ground import may_object
from vault.consent.record import is_asked_again
from vault.consent.transaction import Change, missing
from vault.consent.validation import seal_words
from vault.errors import NotFound, Unavailable, VaultError
from vault.ids import SubjectId
from vault.recipients.outbox import tell_recipients
from vault.requests.store import find_request, waiting_since
from vault.requests.transaction import changing_request

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from vault.audit.entry import Action
    from vault.catalogue.model import Scope
    from vault.consent.event import Event
    from vault.context import Services
    from vault.ids import TenantId
    from vault.jobs.workflow import Step
    from vault.policy.policy_set import PolicySet
    from vault.recipients.store import NoticeKind
    from vault.requests.model import Request
    from vault.requests.transaction import RequestChange


RUNNING: Final = "in_progress"


async def start_request(services: Services, tenant: TenantId, request: UUID) -> None:
    """Begin what was approved; nothing to do for a request that was cancelled meanwhile, or is under way already."""
    async with changing_request(services, system_caller(tenant), request) as change:
        if change.request.state == "approved":
            change.move("start")


async def complete_request(services: Services, tenant: TenantId, request: UUID) -> None:
    """End what was carried out."""
    async with changing_request(services, system_caller(tenant), request) as change:
        if change.request.state == RUNNING:
            change.move("complete", outcome=change.request.outcome or "done")


def guarded(step: Step) -> Step:
    """Make a kind's own step run only while its request is under way, and end in staff's hands where it cannot.

    What will be better later (:class:`Unavailable`) is raised on, and tried again. Any other error of the vault's own
    will be the same next time: the request goes back to review with the error's code, for people to decide; once it is
    approved again, another run begins.
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
    """Give a request that cannot go on by itself back to people, who approve it again or reject it."""
    async with changing_request(services, system_caller(tenant), request) as change:
        if change.request.state == RUNNING:
            change.move("hand-back", code=code, approvals=(), run=change.request.run + 1)


async def _is_running(services: Services, tenant: TenantId, request: UUID) -> bool:
    async with services.data.reading() as connection:
        kept = await find_request(connection, tenant, request)
    return kept is not None and kept.request.state == RUNNING


log = logs.get_logger()

PAGE: Final = 200


async def expire_requests(services: Services) -> int:
    """Expire what has waited unverified for longer than requests.toml says, in all tenants; returns how many.

    The days count from the last thing that happened: a request that was reopened, or whose requester was asked who they
    are, has all of them before it.
    """
    expired = 0
    for tenant in await services.keyring.tenants():
        expired += await expire_of(services, tenant)
    return expired


async def expire_of(services: Services, tenant: TenantId) -> int:
    """Expire one tenant's requests; returns how many."""
    days = services.policies.active(tenant).policy_set.requests.unverified_days
    before = services.clock.now() - timedelta(days=days)
    expired = 0
    while True:
        async with services.data.reading() as connection:
            waiting = await waiting_since(connection, tenant, before, limit=PAGE)
        now = sum([await _expire(services, tenant, request, before) for request in waiting])
        expired += now
        if len(waiting) < PAGE or not now:
            return expired


async def _expire(services: Services, tenant: TenantId, request: UUID, before: datetime) -> bool:
    """Expire one; that one person's keys do not open, or are being changed, keeps no other request waiting."""
    try:
        async with changing_request(services, system_caller(tenant), request) as change:
            # Somebody may have verified it, or asked, since the list was made.
            due = change.request.state in {"received", "verifying"} and change.history[-1].at < before
            if due:
                change.move("expire")
            return due
    except VaultError as error:
        log.warning("a request does not expire", code=error.code, tenant=tenant)
        return False


STOPS: Final = frozenset({"objection", "withdrawal"})
"""Kinds of request that stop a use of data as soon as it is sure who asks; what is left to decide is decided later."""


def may_object_to(policy_set: PolicySet, scope: Scope) -> tuple[str, ...]:
    """Name the purposes that an objection is to: those in its scope, or else all that may be objected to."""
    found = [each for each in policy_set.purposes.values() if may_object(each)]
    return tuple(each.name for each in found if not scope.purposes or each.name in scope.purposes)


def is_final(policy_set: PolicySet, scope: Scope) -> bool:
    """Tell whether an objection leaves nothing to decide: it is to direct marketing alone (Art. 21(3))."""
    names = may_object_to(policy_set, scope)
    return bool(names) and all(policy_set.purposes[name].direct_marketing for name in names)


async def stop_at_once(change: RequestChange) -> None:
    """Record the objection or the withdrawal of a request that was just verified; nothing for other kinds.

    Use stops with the transaction: an objection restricts until it is decided (Art. 18(1)(d)), and a consent that was
    withdrawn is none any more (Art. 7(3)). To be called once a request is verified; twice does no more than once.

    Raises:
        NotFound: the person is not there any more.
    """
    request = change.request
    if request.kind not in STOPS or request.carried_out == request.run or request.verification is None:
        return
    ledger = await ledger_of(change)
    if request.kind == "objection":
        await _object(change, ledger)
        await write_down(change, ledger, "object")
        await _tell(change, ledger, "subject.objected")
    else:
        await _withdraw(change, ledger)
        await write_down(change, ledger, "record-consent")
        await _tell(change, ledger, "subject.withdrawn")


async def decide_objections(change: RequestChange, *, upheld: bool, reason: str | None = None) -> None:
    """Decide the objections that a request brought, where they are pending still.

    A request that is approved upholds them, and one that is rejected overrules them; against direct marketing there is
    nothing to decide.

    Args:
        change: the open transaction on the request.
        upheld: whether use has ended for good; otherwise it may go on.
        reason: which compelling grounds override the person's (Art. 21(1)), in one line; sealed.

    Raises:
        NotFound: the person is not there any more.
    """
    if change.request.kind != "objection" or not change.request.results:
        return
    ledger = await ledger_of(change)
    for objected in (await _pending(change, ledger)).values():
        made, name = ledger.new_id(), str(objected.purpose)
        sealed = _sealed(change, ledger, made, reason)
        await ledger.append(
            ledger.event(
                "objection-upheld" if upheld else "objection-overruled",
                id=made,
                by="staff",
                purpose=name,
                evidence=sealed,
                answers=objected.id,
                occurred_at=ledger.next_moment(name),
            )
        )
    if ledger.events:
        await write_down(change, ledger, "decide-objection")


async def ledger_of(change: RequestChange) -> Change:
    """Lock the row of the person whom a request is about.

    Raises:
        NotFound: the person is not there any more.
    """
    if change.request.subject is None:
        raise NotFound(SUBJECT_NOT_FOUND.detail, code=SUBJECT_NOT_FOUND.code)
    subject = SubjectId(change.request.subject)
    ledger = await Change.lock(change.services, change.caller, change.connection, subject)
    if ledger is None:
        raise await missing(change.services, change.caller, change.connection, subject)
    return ledger


async def write_down(change: RequestChange, ledger: Change, action: Action) -> None:
    """Note on the request what was done in the ledger, and on the audit log."""
    mark_done(change, [each.id for each in ledger.events])
    if ledger.events:
        await change.services.audit_log.append_in(change.connection, ledger.entries(action))


def mark_done(change: RequestChange, results: list[UUID]) -> None:
    """Note on a request that it was carried out in this run, and what it changed."""
    request: Request = change.request
    change.request = replace(request, carried_out=request.run, results=(*request.results, *results))


async def _object(change: RequestChange, ledger: Change) -> None:
    policy_set = change.services.policies.active(change.caller.tenant).policy_set
    reason = change.opened_details().get("reason")
    pending = await _pending(change, ledger)
    for name in may_object_to(policy_set, change.request.scope):
        if name in pending or ledger.said(name).objection == "upheld":
            continue
        made = ledger.new_id()
        sealed = _sealed(change, ledger, made, reason)
        await ledger.append(
            ledger.event(
                "objected",
                id=made,
                by="subject",
                purpose=name,
                channel=change.request.channel,
                evidence=sealed,
                final=policy_set.purposes[name].direct_marketing,
                occurred_at=ledger.next_moment(name),
            )
        )


async def _withdraw(change: RequestChange, ledger: Change) -> None:
    policy_set = change.services.policies.active(change.caller.tenant).policy_set
    wanted = change.request.scope.purposes
    for name in wanted or sorted(ledger.standing.purposes):
        purpose = policy_set.purposes.get(name)
        if purpose is None or not (purpose.rests_on_consent or ledger.said(name).state != "none"):
            continue
        if ledger.said(name).state in NO and not await is_asked_again(ledger, name):
            continue
        await ledger.append(
            ledger.event(
                "withdrawn",
                by="subject",
                purpose=name,
                channel=change.request.channel,
                occurred_at=ledger.next_moment(name),
            )
        )


async def _pending(change: RequestChange, ledger: Change) -> dict[str, Event]:
    """Map the purposes of which this request's objection is undecided to it."""
    tenant, subject = change.caller.tenant, ledger.subject
    events = (await change.services.consents.events_of(change.connection, tenant, [subject])).get(subject, [])
    mine = {str(each.purpose): each for each in events if each.id in change.request.results and not each.final}
    return {
        name: each
        for name, each in mine.items()
        if each.kind == "objected" and ledger.said(name).objection == "pending"
    }


def _sealed(change: RequestChange, ledger: Change, event: UUID, words: str | None) -> bytes | None:
    if change.keys is None:
        return None
    return seal_words(change.keys, change.caller.tenant, ledger.subject, event, words)


async def _tell(change: RequestChange, ledger: Change, kind: NoticeKind) -> None:
    """Tell the apps that were shown what a purpose needs, for they may go on using it."""
    purposes = change.services.policies.active(change.caller.tenant).policy_set.purposes
    named = [purposes[each.purpose] for each in ledger.events if each.purpose is not None and each.purpose in purposes]
    fields = {view.rpartition(".")[0] for purpose in named for view in purpose.views}
    if fields:
        await tell_recipients(
            change.services,
            change.connection,
            change.caller.tenant,
            ledger.subject,
            ledger.pseudonym,
            kind=kind,
            fields=sorted(fields),
            request=change.request.id,
        )
