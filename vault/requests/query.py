"""Read requests: the list by urgency, and one request with its history and what was written about it, opened."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Literal
from uuid import UUID

import msgspec

from vault.access.authorization import audit_entry, require_permission
from vault.access.callers import OPERATOR
from vault.access.recording import audited
from vault.errors import CannotOpen, Fault, InvalidInput
from vault.ids import SubjectId
from vault.requests.deadlines import default_jurisdiction, local_date
from vault.requests.model import OPEN
from vault.requests.store import events_of, find_request, list_requests
from vault.requests.transaction import DETAILS, no_request, request_aad, require_own_or
from vault.requests.views import (
    RequestDetails,
    RequestPage,
    SubmittersRequest,
    event_view,
    request_fields,
    request_view,
    status_fields,
)
from vault.subjects.store import pseudonym_of

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import date

    from vault.context import Caller, Services
    from vault.crypto.seal import SubjectKeys
    from vault.requests.model import Event, Request
    from vault.requests.store import StoredRequest
    from vault.requests.views import RequestEvent

MOST: Final = 200
SOON: Final = timedelta(days=7)
NO_STATE: Final = "none"
SEALED: Final = "sealed"
"""Stands for a note that is not opened."""
Urgency = Literal["overdue", "soon"]


@audited("read-requests")
async def list_of_requests(
    services: Services,
    caller: Caller,
    *,
    subject: SubjectId | None = None,
    states: Collection[str] = (),
    kinds: Collection[str] = (),
    urgency: Urgency | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> RequestPage:
    """List requests by their due date.

    Args:
        states: only these; if empty, all.
        kinds: only these; if empty, all.
        urgency: only open requests whose deadline has passed or comes within a week; suspended ones are left out.
        cursor: ``next`` of the previous page.
        limit: 1 to 200. With ``urgency``, a page may have fewer requests although there are more.

    Raises:
        Denied: the caller may not read requests.
        InvalidInput: the limit is out of range, or the cursor is invalid.
    """
    after = _position(cursor)
    await require_permission(services, caller, "vault:requests", "read", audit_action="read-requests")
    if not 1 <= limit <= MOST:
        fault = Fault("/limit", "out-of-range", f"1 to {MOST}")
        raise InvalidInput(f"a page has 1 to {MOST} requests", faults=[fault], code="invalid-page")
    policy_set = services.policies.active(caller.tenant).policy_set
    now = services.clock.now()
    today = local_date(now, default_jurisdiction(policy_set))
    # Closed requests are never urgent: if only closed states are asked for, no request matches.
    wanted = (set(states or OPEN) & OPEN or {NO_STATE}) if urgency else set(states)
    async with services.data.reading() as connection:
        requests = await list_requests(
            connection,
            caller.tenant,
            subject=subject,
            states=wanted,
            kinds=kinds,
            due_before=_before(urgency, today),
            after=after,
            limit=limit + 1,
        )
        pseudonym = await pseudonym_of(connection, caller.tenant, subject)
    views = [request_view(services, caller.tenant, request) for request in requests[:limit]]
    last = views[-1] if len(requests) > limit else None
    return RequestPage(
        requests=[view for view in views if urgency is None or view.days_left is not None],
        next=None if last is None else f"{last.due.isoformat()}.{last.id.hex}",
        audit=await _record(services, caller, pseudonym),
    )


@audited("read-requests")
async def show_request(services: Services, caller: Caller, request: UUID) -> RequestDetails | SubmittersRequest:
    """Show one request with its history.

    At the command line, what the person and staff wrote stays sealed.

    Raises:
        Denied: the caller may not read requests, and did not submit this one.
        NotFound: there is no such request.
    """
    in_full = await require_own_or(services, caller, request, "read", audit_action="read-requests")
    async with services.data.reading() as connection:
        stored = await find_request(connection, caller.tenant, request)
        if stored is None:
            raise no_request()
        events = await events_of(connection, caller.tenant, request)
        pseudonym = await pseudonym_of(connection, caller.tenant, stored.request.subject)
    if not in_full:
        fields = status_fields(services, caller.tenant, stored.request)
        return SubmittersRequest(**fields, audit=await _record(services, caller, pseudonym, target=request))
    details, history = await _opened(services, caller, stored, events)
    fields = request_fields(services, caller.tenant, stored.request)
    audit = await _record(services, caller, pseudonym, target=request)
    return RequestDetails(**fields, details=details, history=history, audit=audit)


def _position(cursor: str | None) -> tuple[str, UUID] | None:
    """Return the due date and id of the last request of the previous page."""
    if cursor is None:
        return None
    day, _, number = cursor.partition(".")
    try:
        return day, UUID(hex=number)
    except ValueError:
        fault = Fault("/cursor", "invalid-cursor", "Pass the previous page's `next` value unchanged.")
        raise InvalidInput("invalid cursor", faults=[fault], code="invalid-cursor") from None


def _before(urgency: Urgency | None, today: date) -> date | None:
    if urgency is None:
        return None
    return today if urgency == "overdue" else today + SOON + timedelta(days=1)


async def _opened(
    services: Services, caller: Caller, stored: StoredRequest, events: list[Event]
) -> tuple[dict[str, Any] | None, list[RequestEvent]]:
    """Open the details and the notes of a request; at the command line they stay sealed."""
    if caller.principal.id == OPERATOR:
        return None, [event_view(event, None if event.note is None else SEALED) for event in events]
    request = stored.request
    keys: SubjectKeys | None = None
    if request.subject is not None:
        subject = SubjectId(request.subject)
        keys = (await services.keyring.subject_keys(caller.tenant, [subject])).get(subject)
    history = [event_view(event, _open(keys, caller, request, f"note:{event.number}", event.note)) for event in events]
    return _open(keys, caller, request, DETAILS, stored.details), history


def _open(keys: SubjectKeys | None, caller: Caller, request: Request, field: str, sealed: bytes | None) -> Any:
    """Open details or a note; return None if the key was destroyed by an erasure."""
    if keys is None or sealed is None or request.subject is None:
        return None
    try:
        return msgspec.json.decode(keys.open(field, sealed, request_aad(caller.tenant, request.subject, request.id)))
    except CannotOpen:
        return None


async def _record(services: Services, caller: Caller, pseudonym: UUID | None, target: UUID | None = None) -> UUID:
    entry = audit_entry(
        services,
        caller,
        action="read-requests",
        decision="allowed",
        subjects=() if pseudonym is None else (pseudonym,),
        target=target,
        policy=services.policies.active(caller.tenant).version,
    )
    await services.audit_log.append(entry)
    return entry.id
