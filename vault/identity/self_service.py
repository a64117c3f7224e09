"""What a signed-in person does with their own requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from vault.access.authorization import audit_entry
from vault.errors import Denied, TooMany
from vault.export.download import open_package
from vault.identity.sessions import one_at_a_time, refused, require_pace
from vault.requests.decide import cancel_request
from vault.requests.model import Level, Move, State, Verification
from vault.requests.store import RequestQuery, events_of, find_request, list_requests
from vault.requests.transaction import changing_request, no_request
from vault.requests.verification import start_approved, verify
from vault.requests.views import RequestStatus
from vault.views import Moment, View

if TYPE_CHECKING:
    from uuid import UUID

    from vault.context import Services
    from vault.export.download import Download
    from vault.identity.sessions import Session
    from vault.requests.model import Level, Request

MOST = 200
"""Requests shown to a person; the limit for a day keeps people below it."""


class MyRequestEvent(View):
    """One event of a person's own request, without who of the staff did it and what they noted."""

    at: Moment
    move: Move
    state: State
    code: str | None


class MyRequest(RequestStatus):
    """A person's own request, without what staff did and noted."""

    verified: Annotated[Level | None, Field(description="How fresh the person's proof of identity was, if any.")]


class MyRequestWithHistory(MyRequest):
    """A person's own request, and what has happened to it."""

    history: list[MyRequestEvent]


class MyRequestList(View):
    """A person's own requests, newest first."""

    requests: list[MyRequest]


class FreshSessionNeeded(Denied):
    """The person has to sign in again before this."""

    code = "fresh-session-needed"

    def __init__(self) -> None:
        super().__init__(
            "this needs a session of the last ten minutes", hint="sign in again, and send the call at once"
        )


def verification_of(services: Services, session: Session) -> Verification:
    """Return the proof of identity that a session is; it is fresh for minutes after signing in."""
    now = services.clock.now()
    return Verification("session", "fresh" if session.is_fresh(now) else "single", now)


async def my_requests(services: Services, session: Session) -> MyRequestList:
    """List a person's requests, newest first.

    Raises:
        TooMany: the person has made too many calls in this minute. All functions here raise it.
    """
    await require_pace(services, session, "read-requests")
    keys = await services.keyring.row_keys(session.tenant)
    async with services.data.reading() as connection:
        requests = await list_requests(connection, keys, RequestQuery(subject=session.subject, limit=MOST))
    await _record(services, session)
    requests.sort(key=lambda request: request.id, reverse=True)
    return MyRequestList(requests=[_view(services, session, request) for request in requests])


async def my_request(services: Services, session: Session, request: UUID) -> MyRequestWithHistory:
    """Show one of a person's requests and its history.

    Raises:
        NotFound: the person has no such request.
    """
    await require_pace(services, session, "read-requests")
    async with services.data.reading() as connection:
        stored = await find_request(connection, await services.keyring.row_keys(session.tenant), request)
        events = await events_of(connection, session.tenant, request)
    if stored is None or stored.request.subject != session.subject:
        raise await refused(services, session, "read-requests", no_request())
    await _record(services, session, target=request)
    history = [MyRequestEvent(at=event.at, move=event.move, state=event.after, code=event.code) for event in events]
    verified = _level(stored.request)
    return MyRequestWithHistory.of(services, session.tenant, stored.request, verified=verified, history=history)


async def cancel_mine(services: Services, session: Session, request: UUID) -> MyRequest:
    """Cancel one of a person's requests.

    Raises:
        NotFound: the person has no such request.
        WrongState: it is in progress or closed.
    """
    await require_pace(services, session, "move-request")
    return _view(services, session, await cancel_request(services, session.caller, request, of=session.subject))


async def verify_mine(services: Services, session: Session, request: UUID) -> MyRequest:
    """Verify one of a person's requests by their session, if it was submitted in one that was not fresh enough.

    Raises:
        NotFound: the person has no such request.
        NotFreshEnough, WrongState: as with :func:`vault.requests.verification.verify`.
    """
    await require_pace(services, session, "verify-identity")
    async with changing_request(services, session.caller, request, action="verify-identity") as change:
        if change.request.subject != session.subject:
            raise no_request()
        await verify(change, verification_of(services, session))
    await start_approved(services, session.tenant, change.request)
    return _view(services, session, change.request)


async def fetch_mine(services: Services, session: Session, request: UUID, *, passphrase: str | None = None) -> Download:
    """Open the package that answers one of a person's requests, for download.

    Raises:
        FreshSessionNeeded: the session is not fresh any more.
        TooMany: another package of the person is being encrypted.
        NotFound, Conflict, Gone, InvalidInput: as with :func:`vault.export.download.open_package`.
    """
    await require_pace(services, session, "download-package")
    if not session.is_fresh(services.clock.now()):
        raise await refused(services, session, "download-package", FreshSessionNeeded())
    if passphrase is None:
        return await open_package(services, session.caller, request, person=session.subject)
    try:
        with one_at_a_time(session):
            return await open_package(services, session.caller, request, person=session.subject, passphrase=passphrase)
    except TooMany as error:
        raise await refused(services, session, "download-package", error) from None


def _view(services: Services, session: Session, request: Request) -> MyRequest:
    return MyRequest.of(services, session.tenant, request, verified=_level(request))


def _level(request: Request) -> Level | None:
    return None if request.verification is None else request.verification.level


async def _record(services: Services, session: Session, *, target: UUID | None = None) -> None:
    entry = audit_entry(
        services,
        session.caller,
        action="read-requests",
        decision="allowed",
        subjects=(session.pseudonym,),
        target=target,
    )
    await services.audit_log.append(entry)
