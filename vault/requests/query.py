"""Read requests: the list by urgency, and one request with its history and what was written about it, opened."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Literal
from uuid import UUID

from vault.access.authorization import audit_entry, require_permission
from vault.access.callers import OPERATOR
from vault.access.paging import check_page
from vault.access.recording import audited
from vault.errors import CannotOpen, Fault, InvalidInput
from vault.ids import SubjectId
from vault.requests.deadlines import default_jurisdiction, local_date
from vault.requests.model import OPEN
from vault.requests.store import RequestQuery, events_of, find_request, list_requests
from vault.requests.transaction import DETAILS, no_request, open_sealed, require_own_or
from vault.requests.views import DataSubjectRequest, RequestDetails, RequestEvent, RequestPage, SubmittersRequest

if TYPE_CHECKING:
    from vault.context import Caller, Services
    from vault.crypto.seal import SubjectKeys
    from vault.requests.model import Event
    from vault.requests.store import StoredRequest

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
    query: RequestQuery,
    *,
    urgency: Urgency | None = None,
    cursor: str | None = None,
) -> RequestPage:
    """List requests by their due date.

    Args:
        query: with a limit of 1 to 200.
        urgency: only open requests whose deadline has passed or comes within a week; suspended ones are left out,
            so that a page may have fewer requests although there are more.
        cursor: ``next`` of the previous page.

    Raises:
        Denied: the caller may not read requests.
        InvalidInput: the limit is out of range, or the cursor is invalid.
    """
    after = _position(cursor)
    await require_permission(services, caller, "vault:requests", "read", audit_action="read-requests")
    check_page(query.limit, MOST, "requests")
    following = replace(query, after=after, limit=query.limit + 1)
    if urgency is not None:
        policy_set = services.policies.active(caller.tenant).policy_set
        today = local_date(services.clock.now(), default_jurisdiction(policy_set))
        # Closed requests are never urgent: if only closed states are asked for, no request matches.
        states = set(query.states or OPEN) & OPEN or {NO_STATE}
        end = today if urgency == "overdue" else today + SOON + timedelta(days=1)
        following = replace(following, states=states, due_before=end)
    async with services.data.reading() as connection:
        requests = await list_requests(connection, await services.keyring.row_keys(caller.tenant), following)
        pseudonym = await services.subjects.pseudonym_of(connection, caller.tenant, query.subject)
    views = [DataSubjectRequest.of(services, caller.tenant, request) for request in requests[: query.limit]]
    last = views[-1] if len(requests) > query.limit else None
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
        stored = await find_request(connection, await services.keyring.row_keys(caller.tenant), request)
        if stored is None:
            raise no_request()
        events = await events_of(connection, caller.tenant, request)
        pseudonym = await services.subjects.pseudonym_of(connection, caller.tenant, stored.request.subject)
    opened = await _opened(services, caller, stored, events) if in_full else {}
    audit = await _record(services, caller, pseudonym, target=request)
    view = RequestDetails if in_full else SubmittersRequest
    return view.of(services, caller.tenant, stored.request, audit=audit, **opened)


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


async def _opened(services: Services, caller: Caller, stored: StoredRequest, events: list[Event]) -> dict[str, object]:
    """Open the details and the notes of a request; at the command line they stay sealed."""
    request = stored.request
    if caller.principal.id == OPERATOR:
        history = [RequestEvent.of(event, None if event.note is None else SEALED) for event in events]
        return {"details": None, "history": history}
    keys: SubjectKeys | None = None
    if request.subject is not None:
        subject = SubjectId(request.subject)
        keys = (await services.keyring.subject_keys(caller.tenant, [subject])).get(subject)

    def opened(field: str, sealed: bytes | None) -> Any:
        try:
            return open_sealed(keys, caller.tenant, request, field, sealed)
        except CannotOpen:  # an erasure destroyed the key
            return None

    history = [RequestEvent.of(event, opened(f"note:{event.number}", event.note)) for event in events]
    return {"details": opened(DETAILS, stored.details), "history": history}


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
