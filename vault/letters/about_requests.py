"""The letters about a request: jobs of their own, which begin after the change they tell of was committed.

This stands beside the packages of operations and not in one of them: letters are identity's, requests are another's.

Tell a person that a restriction will be lifted, before it is (Art. 18(3) GDPR).

This stands beside the packages of operations and not in one of them, because whoever writes letters knows most of them.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from vault.access.authorization import require_right
from vault.access.recording import on_record
from vault.consent.restrictions import require_restricted, require_words
from vault.consent.state import unpack
from vault.consent.transaction import changing
from vault.consent.validation import keys_of, seal_words
from vault.errors import Conflict
from vault.jobs.workflow import Workflow
from vault.letters.send import notify_person
from vault.requests.store import find_request
from vault.subjects.store import Wanted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime
    from uuid import UUID

    from vault.access.recording import Keep
    from vault.context import Caller, House
    from vault.ids import SubjectId, TenantId
    from vault.jobs.workflow import Step
    from vault.requests.model import Request


_Codes = dict[str, Any]


def _letter(name: str, codes: Callable[[Request], _Codes], *, state: str | None = None) -> Step:
    """Make the step that sends a letter, to whom it still concerns: while the request is in that state."""

    async def send(house: House, tenant: TenantId, request: UUID) -> None:
        async with house.data.reading() as connection:
            kept = await find_request(connection, tenant, request)
        if kept is None or kept.request.subject is None or kept.request.state != (state or kept.request.state):
            return
        told = kept.request
        facts = {"kind": told.kind, "id": told.id, **codes(told)}
        await notify_person(house, tenant, told.subject, name, language=told.language, **facts)

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


class Announced(NamedTuple):
    """The event in the person's ledger, and from when on the restriction may be lifted."""

    id: UUID
    lift_from: datetime


@on_record("lift-restriction")
async def announce_lifting(
    house: House, caller: Caller, subject: SubjectId, *, told: str | None = None, keep: Keep | None = None
) -> Announced:
    """Tell the person that the restriction will be lifted, and note that they were told.

    The letter goes out first and is noted after: what the ledger says has happened.

    Args:
        house: the rooms.
        caller: who announces it.
        subject: whose data is restricted.
        told: how the person was told otherwise, such as by post: then no letter is sent; sealed.
        keep: keeps the answer under an idempotency key.

    Raises:
        InvalidInput: ``told`` does not have its form.
        NotFound: there is no such subject.
        Conflict: the person's data is not restricted, or no letter could be sent.
    """
    await require_right(house, caller, "vault:restrictions", "manage", audited_as="lift-restriction")
    require_words(told, at="/told", code="invalid-evidence")
    keys = await keys_of(house, caller, subject)
    lift_from = _lift_from(house, caller)
    if told is None and await _is_restricted(house, caller, subject):
        await _write(house, caller, subject, lift_from)
    async with changing(house, caller, "lift-restriction", subject) as change:
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
        announced = Announced(event, lift_from)
        if keep is not None:
            await keep(change.connection, announced)
    return announced


async def _write(house: House, caller: Caller, subject: SubjectId, lift_from: datetime) -> None:
    outcome = await notify_person(house, caller.tenant, subject, LETTER, on=lift_from.date())
    if outcome != "sent":
        raise Conflict(
            "no letter could be sent to this person",
            code="person-not-told",
            hint="tell the person in another way, and say how in `told`",
        )


async def _is_restricted(house: House, caller: Caller, subject: SubjectId) -> bool:
    """Look before a letter goes out; whoever is not there, or not restricted, is refused in the transaction."""
    (found,) = await house.subjects.find(Wanted(caller.tenant, (subject,), profile=False))
    return found is not None and unpack(found.standing).restricted_at is not None


def _lift_from(house: House, caller: Caller) -> datetime:
    days = house.policies.active(caller.tenant).policy_set.requests.restriction_notice_days
    return house.clock.now() + timedelta(days=days)
