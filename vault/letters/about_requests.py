"""Letters about requests, and the announcement that a restriction will be lifted (Art. 18(3) GDPR).

Each letter about a request is a job of its own. The job starts after the change that it reports is committed.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from vault.access.authorization import require_permission
from vault.access.recording import audited, begin_once
from vault.consent.model import unpack
from vault.consent.restrictions import require_restricted
from vault.consent.transaction import changing, keys_of
from vault.consent.validation import require_words
from vault.consent.views import LiftAnnouncement
from vault.errors import Conflict
from vault.jobs.workflow import Workflow
from vault.letters.send import LetterContent, notify_person
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


def _letter(name: str, codes: Callable[[Request], dict[str, object]], *, state: str | None = None) -> Step:
    """Return the step that sends a letter, if the request is still in the given state."""

    async def send(services: Services, tenant: TenantId, request_id: UUID) -> None:
        async with services.data.reading() as connection:
            stored = await find_request(connection, await services.keyring.row_keys(tenant), request_id)
        request = None if stored is None else stored.request
        if request is None or request.subject is None or request.state != (state or request.state):
            return
        facts = {"kind": request.kind, "id": request.id, **codes(request)}
        await notify_person(services, tenant, request.subject, LetterContent(name, facts, request.language))

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
    await begin_once(on_commit)
    require_words(told, at="/told", code="invalid-evidence")
    keys = await keys_of(services, caller, subject)
    days = services.policies.active(caller.tenant).policy_set.requests.restriction_notice_days
    lift_from = services.clock.now() + timedelta(days=days)
    if told is None:
        (row,) = await services.subjects.find(SubjectQuery(caller.tenant, (subject,), profile=False))
        # No letter is sent in vain: the transaction refuses a person who is unknown or not restricted.
        if row is not None and unpack(row.standing).restricted_at is not None:
            await _write(services, caller, subject, lift_from)
    async with changing(services, caller, "lift-restriction", subject, keys=keys) as change:
        require_restricted(change)
        channel = "mail" if told is None else "other"
        event = change.event("lift-announced", by="staff", words=told, channel=channel, valid_until=lift_from)
        await change.append(event)
        return await change.answer(LiftAnnouncement(id=event.id, lift_from=lift_from), on_commit)


async def _write(services: Services, caller: Caller, subject: SubjectId, lift_from: datetime) -> None:
    content = LetterContent("restriction-lifting", {"on": lift_from.date()})
    outcome = await notify_person(services, caller.tenant, subject, content)
    if outcome != "sent":
        raise Conflict(
            "no letter could be sent to this person",
            code="person-not-told",
            hint="inform the person in another way, and say how in `told`",
        )
