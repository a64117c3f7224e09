"""What a signed-in person sees of their own requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from vault.access.authorization import audit_entry
from vault.access.callers import data_subject_caller
from vault.access.recording import record_failure
from vault.errors import Denied, NotFound, TooMany, VaultError
from vault.export.download import open_package
from vault.identity.sessions import one_at_a_time, require_pace
from vault.requests.decide import cancel_request
from vault.requests.model import Verification
from vault.requests.store import events_of, find_request, list_requests
from vault.requests.transaction import changing_request, no_request
from vault.requests.verification import start_approved, verify

if TYPE_CHECKING:
    from uuid import UUID

    from vault.audit.entry import Action
    from vault.context import Caller, Services
    from vault.export.download import Download
    from vault.identity.sessions import Session
    from vault.requests.model import Event, Request

MOST = 200
"""Requests that one person is shown; nobody makes more."""


class Mine(NamedTuple):
    """A person's own request with its history."""

    request: Request
    history: list[Event]


class FreshSessionNeeded(Denied):
    """The person signed in too long ago for this."""

    code = "fresh-session-needed"

    def __init__(self) -> None:
        super().__init__(
            "this needs somebody who signed in within the last ten minutes", hint="sign in anew, and then at once"
        )


def verification_of(services: Services, session: Session) -> Verification:
    """Say what a session shows: fresh within the minutes after signing in."""
    now = services.clock.now()
    return Verification("session", "fresh" if session.is_fresh(now) else "single", now)


async def my_requests(services: Services, session: Session, request_id: str) -> list[Request]:
    """List a person's requests, newest first.

    Raises:
        TooMany: the person does too much within this minute, here as in all that follows.
    """
    await require_pace(services, session, request_id, "read-requests")
    async with services.data.reading() as connection:
        found = await list_requests(connection, session.tenant, subject=session.subject, limit=MOST)
    await _record(services, data_subject_caller(session.tenant, request_id), session)
    return sorted(found, key=lambda each: each.id, reverse=True)


async def my_request(services: Services, session: Session, request: UUID, request_id: str) -> Mine:
    """Show one of a person's requests, and what has happened to it.

    Raises:
        NotFound: there is no such request, or it is somebody else's.
    """
    await require_pace(services, session, request_id, "read-requests")
    caller = data_subject_caller(session.tenant, request_id)
    async with services.data.reading() as connection:
        kept = await find_request(connection, session.tenant, request)
        history = await events_of(connection, session.tenant, request)
    if kept is None or kept.request.subject != session.subject:
        raise await _refused(services, caller, session, "read-requests", no_request())
    await _record(services, caller, session, target=request)
    return Mine(kept.request, history)


async def cancel_mine(services: Services, session: Session, request: UUID, request_id: str) -> Request:
    """Cancel one of a person's requests.

    Raises:
        NotFound: there is no such request, or it is somebody else's.
        WrongState: it is under way or closed.
    """
    await require_pace(services, session, request_id, "move-request")
    return await cancel_request(services, data_subject_caller(session.tenant, request_id), request, of=session.subject)


async def verify_mine(services: Services, session: Session, request: UUID, request_id: str) -> Request:
    """Verify one of a person's requests by their session: one that needed a fresher session than it was made in.

    Raises:
        NotFound: there is no such request, or it is somebody else's.
        NotFreshEnough, WrongState: as with :func:`vault.requests.verification.verify`.
    """
    await require_pace(services, session, request_id, "verify-identity")
    caller = data_subject_caller(session.tenant, request_id)
    async with changing_request(services, caller, request, action="verify-identity") as change:
        if change.request.subject != session.subject:
            raise no_request()
        await verify(services, change, verification_of(services, session))
    await start_approved(services, session.tenant, change.request)
    return change.request


async def fetch_mine(
    services: Services, session: Session, request: UUID, request_id: str, *, passphrase: str | None = None
) -> Download:
    """Open the package that answers one of a person's requests.

    Raises:
        FreshSessionNeeded: the person signed in too long ago.
        TooMany: another package of theirs is being encrypted.
        NotFound, Conflict, Gone, InvalidInput: as with :func:`vault.export.download.open_package`.
    """
    await require_pace(services, session, request_id, "download-package")
    caller = data_subject_caller(session.tenant, request_id)
    if not session.is_fresh(services.clock.now()):
        raise await _refused(services, caller, session, "download-package", FreshSessionNeeded())
    if passphrase is None:
        return await open_package(services, caller, request, person=session.subject)
    try:
        with one_at_a_time(session):
            return await open_package(services, caller, request, person=session.subject, passphrase=passphrase)
    except TooMany as error:
        raise await _refused(services, caller, session, "download-package", error) from None


async def _record(services: Services, caller: Caller, session: Session, *, target: UUID | None = None) -> None:
    made = audit_entry(
        services,
        caller,
        action="read-requests",
        decision="allowed",
        subjects=(session.pseudonym,),
        target=target,
    )
    await services.audit_log.append(made)


async def _refused(
    services: Services, caller: Caller, session: Session, action: Action, error: NotFound | Denied | TooMany
) -> VaultError:
    await record_failure(services, caller, action, error, subjects=(session.pseudonym,))
    return error
