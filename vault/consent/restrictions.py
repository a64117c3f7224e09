"""Restrictions (Art. 18 GDPR): a person's data is stored and, but for the exceptions of Art. 18(2), not used.

A restriction is lifted in two steps, for the person is to be told before (Art. 18(3)): the lifting is announced
(:mod:`vault.letters.about_requests`), and takes place once the days of the notice are over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from vault.access.authorization import require_permission
from vault.access.recording import audited
from vault.consent.transaction import Recorded, changing
from vault.consent.validation import keys_of, seal_words, words_fault
from vault.errors import Conflict, Fault, InvalidInput
from vault.recipients.outbox import EVERYTHING, tell_recipients

if TYPE_CHECKING:
    from uuid import UUID

    from vault.access.recording import SaveResponse
    from vault.consent.event import By, Event
    from vault.consent.transaction import Change
    from vault.context import Caller, Services
    from vault.crypto.seal import SubjectKeys
    from vault.ids import SubjectId
    from vault.recipients.store import NoticeKind

Ground = Literal["accuracy", "unlawful", "claims", "objection"]
"""Why data is restricted, Art. 18(1)(a) to (d): its accuracy is contested, its use is unlawful and the person wants
it kept, the person needs it for legal claims, or an objection is pending."""


@audited("restrict")
async def restrict(
    services: Services,
    caller: Caller,
    subject: SubjectId,
    *,
    ground: Ground,
    reason: str | None = None,
    on_commit: SaveResponse | None = None,
) -> Recorded:
    """Restrict a person's data; who is restricted already stays so, and the further ground is on record.

    Raises:
        InvalidInput: the reason does not have its form.
        NotFound: there is no such subject.
    """
    await require_permission(services, caller, "vault:restrictions", "manage", audit_action="restrict")
    require_words(reason)
    keys = await keys_of(services, caller, subject)
    async with changing(services, caller, "restrict", subject) as change:
        event = await restrict_in(change, keys, ground, reason)
        recorded = Recorded(event.id, "restricted")
        if on_commit is not None:
            await on_commit(change.connection, recorded)
    return recorded


@audited("lift-restriction")
async def lift_restriction(
    services: Services,
    caller: Caller,
    subject: SubjectId,
    *,
    reason: str | None = None,
    on_commit: SaveResponse | None = None,
) -> Recorded:
    """Lift the restriction, once the person was told and the days of the notice are over (Art. 18(3)).

    Raises:
        InvalidInput: the reason does not have its form.
        NotFound: there is no such subject.
        Conflict: the person's data is not restricted, the person was not told, or not long enough ago.
    """
    await require_permission(services, caller, "vault:restrictions", "manage", audit_action="lift-restriction")
    require_words(reason)
    keys = await keys_of(services, caller, subject)
    async with changing(services, caller, "lift-restriction", subject) as change:
        require_restricted(change)
        announced = await _announcement(change)
        event = change.new_id()
        sealed = seal_words(keys, caller.tenant, subject, event, reason)
        made = change.event("restriction-lifted", id=event, by="staff", evidence=sealed, answers=announced.id)
        await change.append(made)
        await _tell(change, "subject.restriction-lifted")
        recorded = Recorded(event, "active" if change.standing.restricted_at is None else "restricted")
        if on_commit is not None:
            await on_commit(change.connection, recorded)
    return recorded


async def restrict_in(
    change: Change, keys: SubjectKeys | None, ground: str | None, reason: str | None, *, request: UUID | None = None
) -> Event:
    """Restrict a person's data in an open transaction, and tell those who have read it (Art. 19).

    Args:
        change: the person's locked row.
        keys: the person's, to seal the reason with.
        ground: one of :data:`Ground`.
        reason: why, in one line.
        request: that asked for it.

    Raises:
        InvalidInput: there is no such ground.
    """
    if ground not in get_args(Ground):
        detail = f"One of {', '.join(get_args(Ground))} (Art. 18(1)(a) to (d))."
        raise InvalidInput("a restriction has a ground", faults=[Fault("/ground", "unknown-code", detail)])
    event = change.new_id()
    sealed = None if keys is None else seal_words(keys, change.caller.tenant, change.subject, event, reason)
    who: By = "staff" if request is None else "subject"
    made = change.event("restricted", id=event, by=who, evidence=sealed, ground=ground)
    was_free = change.standing.restricted_at is None
    await change.append(made)
    if was_free:
        await _tell(change, "subject.restricted", request)
    return made


def require_restricted(change: Change) -> None:
    """Go on only with somebody whose data is restricted.

    Raises:
        Conflict: it is not.
    """
    if change.standing.restricted_at is None:
        raise Conflict("this person's data is not restricted", code="not-restricted")


def require_words(reason: str | None, *, at: str = "/reason", code: str = "invalid-reason") -> None:
    """Check free words, if there are any.

    Raises:
        InvalidInput: they do not have their form.
    """
    fault = words_fault(reason, at=at, code=code)
    if fault is not None:
        raise InvalidInput("the reason does not have its form", faults=[fault], code=code)


async def _announcement(change: Change) -> Event:
    """Return the announcement on which a lifting rests: later than every restriction, and its days are over."""
    tenant, subject = change.caller.tenant, change.subject
    events = (await change.services.consents.events_of(change.connection, tenant, [subject])).get(subject, [])
    announced = None
    for event in events:
        if event.kind == "restricted":
            announced = None  # the person was told of the end of another restriction
        elif event.kind == "lift-announced" and event.origin == "recorded":
            announced = event  # told twice, the person counts on the later date
    if announced is None:
        raise Conflict(
            "the person has not been told that the restriction ends",
            code="notice-first",
            hint="announce the lifting first: POST /v1/subjects/{id}/restriction:announce",
        )
    if announced.valid_until is not None and change.now < announced.valid_until:
        raise Conflict(
            "the person was told, and the days of that notice are not over",
            code="notice-running",
            hint=f"lift the restriction from {announced.valid_until:%Y-%m-%d %H:%M} UTC on",
        )
    return announced


async def _tell(change: Change, kind: NoticeKind, request: UUID | None = None) -> None:
    await tell_recipients(
        change.services,
        change.connection,
        change.caller.tenant,
        change.subject,
        change.pseudonym,
        kind=kind,
        fields=EVERYTHING,
        request=request,
    )
