"""Letters about requests, and the announcement that a restriction will be lifted (Art. 18(3) GDPR).

Each letter about a request is a job of its own. The job starts after the change that it reports is committed.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from vault.access.authorization import require_permission
from vault.access.recording import audited
from vault.consent.model import unpack
from vault.consent.restrictions import require_restricted
from vault.consent.transaction import changing
from vault.consent.validation import keys_of, require_words, seal_words
from vault.consent.views import LiftAnnouncement
from vault.errors import Conflict
from vault.jobs.workflow import Workflow
from vault.letters.send import notify_person
from vault.requests.store import find_request
from vault.subjects.store import SubjectQuery

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
    """Return the step that sends a letter, if the request is still in the given state."""

    async def send(services: Services, tenant: TenantId, request_id: UUID) -> None:
        async with services.data.reading() as connection:
            stored = await find_request(connection, tenant, request_id)
        request = None if stored is None else stored.request
        if request is None or request.subject is None or request.state != (state or request.state):
            return
        facts = {"kind": request.kind, "id": request.id, **codes(request)}
        await notify_person(services, tenant, request.subject, name, language=request.language, **facts)

    return send


tell_completed: Final[Step] = _letter("request-completed", lambda _request: {}, state="completed")
"""The last step of a job with a result that no other letter reports."""

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
    """Inform the person that the restriction will be lifted, and record it.

    The letter is sent before the event is recorded, so the event is always true.

    Args:
        subject: a person with restricted data.
        told: how the person was informed in another way, such as by post; sealed. Then no letter is sent.
        on_commit: called in the transaction with the result; saves the response under an idempotency key.

    Raises:
        InvalidInput: ``told`` is invalid.
        NotFound: the subject does not exist.
        Conflict: the data is not restricted, or no letter could be sent.
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
        announcement = change.event(
            "lift-announced",
            id=event,
            by="staff",
            evidence=seal_words(keys, caller.tenant, subject, event, told),
            channel="mail" if told is None else "other",
            valid_until=lift_from,
        )
        await change.append(announcement)
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
            hint="inform the person in another way, and say how in `told`",
        )


async def _is_restricted(services: Services, caller: Caller, subject: SubjectId) -> bool:
    """Check before a letter is sent; the transaction refuses an unknown or unrestricted person."""
    (row,) = await services.subjects.find(SubjectQuery(caller.tenant, (subject,), profile=False))
    return row is not None and unpack(row.standing).restricted_at is not None


def _lift_from(services: Services, caller: Caller) -> datetime:
    days = services.policies.active(caller.tenant).policy_set.requests.restriction_notice_days
    return services.clock.now() + timedelta(days=days)
