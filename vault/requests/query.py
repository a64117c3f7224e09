"""See requests: the list by urgency, and one with its history and what was written about it, opened."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import msgspec

from vault.access.authorization import audit_entry, require_permission
from vault.access.recording import audited
from vault.errors import CannotOpen, Fault, InvalidInput
from vault.ids import SubjectId
from vault.requests.deadlines import default_jurisdiction, local_date
from vault.requests.model import OPEN
from vault.requests.store import events_of, find_request, list_requests
from vault.requests.transaction import DETAILS, no_request, request_aad, require_own_or
from vault.subjects.store import pseudonym_of

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import date
    from uuid import UUID

    from vault.context import Caller, Services
    from vault.crypto.seal import SubjectKeys
    from vault.requests.model import Event, Request
    from vault.requests.store import Kept

MOST: Final = 200
SOON: Final = timedelta(days=7)
NO_STATE: Final = "none"
Urgency = Literal["overdue", "soon"]


class Listed(NamedTuple):
    """A request in the list, and how many days are left of its legal deadline; none where the clock does not run."""

    request: Request
    days_left: int | None


class RequestPage(NamedTuple):
    """Some requests, the most urgent first; where to go on; the audit entry."""

    requests: list[Listed]
    next: tuple[str, UUID] | None
    audit: UUID


class Told(NamedTuple):
    """An event, and what was written about it."""

    event: Event
    note: str | None


class Shown(NamedTuple):
    """One request.

    ``details`` and ``history`` are none for an app that may follow its own requests and nothing more: where a request
    stands, it may know; who it is about, it said itself.
    """

    request: Request
    days_left: int | None
    details: dict[str, Any] | None
    history: list[Told] | None
    audit: UUID


@audited("read-requests")
async def list_of_requests(
    services: Services,
    caller: Caller,
    *,
    subject: SubjectId | None = None,
    states: Collection[str] = (),
    kinds: Collection[str] = (),
    urgency: Urgency | None = None,
    after: tuple[str, UUID] | None = None,
    limit: int = 50,
) -> RequestPage:
    """List requests by due date.

    Args:
        subject: only this person's.
        states: only these; none: all.
        kinds: only these; none: all.
        urgency: open requests whose deadline has passed, or comes within a week; those whose clock stands still are
            none of them.
        after: where the page before ended.
        limit: 1 to 200. A page by urgency may have fewer although there are more.

    Raises:
        Denied: no role of the caller's may see requests.
        InvalidInput: the limit is out of range.
    """
    await require_permission(services, caller, "vault:requests", "read", audit_action="read-requests")
    if not 1 <= limit <= MOST:
        fault = Fault("/limit", "out-of-range", f"1 to {MOST}")
        raise InvalidInput(f"a page has 1 to {MOST} requests", faults=[fault], code="invalid-page")
    policy_set = services.policies.active(caller.tenant).policy_set
    today = local_date(services.clock.now(), default_jurisdiction(policy_set))
    # What is closed is never urgent: of states that are all closed, nothing is.
    wanted = (set(states or OPEN) & OPEN or {NO_STATE}) if urgency else set(states)
    async with services.data.reading() as connection:
        found = await list_requests(
            connection,
            caller.tenant,
            subject=subject,
            states=wanted,
            kinds=kinds,
            due_before=_before(urgency, today),
            after=after,
            limit=limit + 1,
        )
        page = found[:limit]
        pseudonym = await pseudonym_of(connection, caller.tenant, subject)
    page = found[:limit]
    listed = [Listed(each, days_left(services, each)) for each in page]
    shown = [each for each in listed if urgency is None or each.days_left is not None]
    audit = await _note(services, caller, pseudonym)
    last = page[-1] if len(found) > limit else None
    return RequestPage(shown, None if last is None else (last.due.on.isoformat(), last.id), audit)


@audited("read-requests")
async def show_request(services: Services, caller: Caller, request: UUID, *, of: SubjectId | None = None) -> Shown:
    """Show one request with its history.

    Args:
        request: which.
        of: the person in whose session this happens; they see their own request, and staff's notes are none of it.

    Raises:
        Denied: no role of the caller's may see requests, and it did not bring this one in.
        NotFound: there is no such request, or none of this person's.
    """
    whole = of is None and await require_own_or(services, caller, request, "read", audit_action="read-requests")
    async with services.data.reading() as connection:
        kept = await find_request(connection, caller.tenant, request)
        if kept is None or (of is not None and kept.request.subject != of):
            raise no_request()
        events = await events_of(connection, caller.tenant, request) if whole else None
        pseudonym = await pseudonym_of(connection, caller.tenant, kept.request.subject)
    details, history = await _opened(services, caller, kept, events)
    audit = await _note(services, caller, pseudonym, target=request)
    return Shown(kept.request, days_left(services, kept.request), details, history, audit)


def days_left(services: Services, request: Request) -> int | None:
    """Say how many days are left, less than none of an overdue request; none of one that is closed or suspended."""
    if request.state not in OPEN or is_suspended(request):
        return None
    return (request.due.on - local_date(services.clock.now(), request.jurisdiction)).days


def is_suspended(request: Request) -> bool:
    """Tell whether the clock stands still, because it is in question who asks."""
    return bool(request.suspensions) and request.suspensions[-1].until is None and request.state in OPEN


def _before(urgency: Urgency | None, today: date) -> date | None:
    if urgency is None:
        return None
    return today if urgency == "overdue" else today + SOON + timedelta(days=1)


async def _opened(
    services: Services, caller: Caller, kept: Kept, events: list[Event] | None
) -> tuple[dict[str, Any] | None, list[Told] | None]:
    if events is None:
        return None, None
    request = kept.request
    keys: SubjectKeys | None = None
    if request.subject is not None:
        subject = SubjectId(request.subject)
        keys = (await services.keyring.subject_keys(caller.tenant, [subject])).get(subject)
    history = [Told(each, _open(keys, caller, request, f"note:{each.number}", each.note)) for each in events]
    return _open(keys, caller, request, DETAILS, kept.details), history


def _open(keys: SubjectKeys | None, caller: Caller, request: Request, field: str, sealed: bytes | None) -> Any:
    """Open words; none where they went with the keys of a person who was erased, in part or whole."""
    if keys is None or sealed is None or request.subject is None:
        return None
    try:
        return msgspec.json.decode(keys.open(field, sealed, request_aad(caller.tenant, request.subject, request.id)))
    except CannotOpen:
        return None


async def _note(services: Services, caller: Caller, pseudonym: UUID | None, target: UUID | None = None) -> UUID:
    made = audit_entry(
        services,
        caller,
        action="read-requests",
        decision="allowed",
        subjects=() if pseudonym is None else (pseudonym,),
        target=target,
        policy=services.policies.active(caller.tenant).version,
    )
    await services.audit_log.append(made)
    return made.id
