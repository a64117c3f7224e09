"""The letters about a request: jobs of their own, which begin after the change they tell of was committed.

This stands beside the packages of operations and not in one of them: letters are identity's, requests are another's.

Tell a person that a restriction will be lifted, before it is (Art. 18(3) GDPR).

This stands beside the packages of operations and not in one of them, because whoever writes letters knows most of them.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from vault.access.authorization import require_permission
from vault.access.recording import audited
from vault.consent.restrictions import require_restricted, require_words
from vault.consent.state import unpack
from vault.consent.transaction import changing
from vault.consent.validation import keys_of, seal_words
from vault.consent.views import LiftAnnouncement
from vault.errors import Conflict
from vault.jobs.workflow import Workflow
from vault.letters.send import notify_person
from vault.requests.store import find_request
from vault.subjects.store import Wanted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime
    from uuid import UUID

    from vault.access.recording import SaveResponse
    from vault.context import Caller, Services
    from vault.ids import SubjectId, TenantId
    from vault.jobs.workflow import Step
    from vault.requests.model import Request


_Codes = dict[str, Any]


def _letter(name: str, codes: Callable[[Request], _Codes], *, state: str | None = None) -> Step:
    """Make the step that sends a letter, to whom it still concerns: while the request is in that state."""

    async def send(services: Services, tenant: TenantId, request: UUID) -> None:
        async with services.data.reading() as connection:
            kept = await find_request(connection, tenant, request)
        if kept is None or kept.request.subject is None or kept.request.state != (state or kept.request.state):
            return
        told = kept.request
        facts = {"kind": told.kind, "id": told.id, **codes(told)}
        await notify_person(services, tenant, told.subject, name, language=told.language, **facts)

    return send


tell_completed: Final[Step] = _letter("request-completed", lambda _request: {}, state="completed")
"""The last step of a job whose result nobody tells otherwise."""

LETTERS: Final[Mapping[str, Workflow]] = {
    name: Workflow(name, (("send", step),))
    for name, step in {
        "tell-received": _letter("request-received", lambda request: {"due": request.due.on}),
        "tell-identity": _letter("request-identity", lambda _request: {}, state="verifying"),
        "tell-extended": _letter(
            "request-extended",
            lambda request: {
                "due": request.due.on,
                "reason": request.extension.reason if request.extension else "complexity",
            },
        ),
        "tell-rejected": _letter(
            "request-rejected", lambda request: {"ground": request.ground or ""}, state="rejected"
        ),
        "tell-completed": tell_completed,
    }.items()
}
"""A job for each letter, by the name under which it is started."""


LETTER = "restriction-lifting"


@audited("lift-restriction")
async def announce_lifting(
    services: Services,
    caller: Caller,
    subject: SubjectId,
    *,
    told: str | None = None,
    on_commit: SaveResponse | None = None,
) -> LiftAnnouncement:
    """Tell the person that the restriction will be lifted, and note that they were told.

    The letter goes out first and is noted after: what the ledger says has happened.

    Args:
        caller: who announces it.
        subject: whose data is restricted.
        told: how the person was told otherwise, such as by post: then no letter is sent; sealed.
        on_commit: called in the transaction with the result; saves the response under an idempotency key.

    Raises:
        InvalidInput: ``told`` does not have its form.
        NotFound: there is no such subject.
        Conflict: the person's data is not restricted, or no letter could be sent.
    """
    await require_permission(services, caller, "vault:restrictions", "manage", audit_action="lift-restriction")
    require_words(told, at="/told", code="invalid-evidence")
    keys = await keys_of(services, caller, subject)
    lift_from = _lift_from(services, caller)
    if told is None and await _is_restricted(services, caller, subject):
        await _write(services, caller, subject, lift_from)
    async with changing(services, caller, "lift-restriction", subject) as change:
        require_restricted(change)
        event = change.new_id()
        made = change.event(
            "lift-announced",
            id=event,
            by="staff",
            evidence=seal_words(keys, caller.tenant, subject, event, told),
            channel="mail" if told is None else "other",
            valid_until=lift_from,
        )
        await change.append(made)
        announced = LiftAnnouncement(id=event, lift_from=lift_from)
        if on_commit is not None:
            await on_commit(change.connection, announced)
    return announced


async def _write(services: Services, caller: Caller, subject: SubjectId, lift_from: datetime) -> None:
    outcome = await notify_person(services, caller.tenant, subject, LETTER, on=lift_from.date())
    if outcome != "sent":
        raise Conflict(
            "no letter could be sent to this person",
            code="person-not-told",
            hint="tell the person in another way, and say how in `told`",
        )


async def _is_restricted(services: Services, caller: Caller, subject: SubjectId) -> bool:
    """Look before a letter goes out; whoever is not there, or not restricted, is refused in the transaction."""
    (found,) = await services.subjects.find(Wanted(caller.tenant, (subject,), profile=False))
    return found is not None and unpack(found.standing).restricted_at is not None


def _lift_from(services: Services, caller: Caller) -> datetime:
    days = services.policies.active(caller.tenant).policy_set.requests.restriction_notice_days
    return services.clock.now() + timedelta(days=days)
