"""What a signed-in person sees of their own requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from vault.access.authorization import entry
from vault.access.callers import the_person
from vault.access.recording import note_failure
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
    from vault.context import Caller, House
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


def verification_of(house: House, session: Session) -> Verification:
    """Say what a session shows: fresh within the minutes after signing in."""
    now = house.clock.now()
    return Verification("session", "fresh" if session.is_fresh(now) else "single", now)


async def my_requests(house: House, session: Session, request_id: str) -> list[Request]:
    """List a person's requests, newest first.

    Raises:
        TooMany: the person does too much within this minute, here as in all that follows.
    """
    await require_pace(house, session, request_id, "read-requests")
    async with house.data.reading() as connection:
        found = await list_requests(connection, session.tenant, subject=session.subject, limit=MOST)
    await _record(house, the_person(session.tenant, request_id), session)
    return sorted(found, key=lambda each: each.id, reverse=True)


async def my_request(house: House, session: Session, request: UUID, request_id: str) -> Mine:
    """Show one of a person's requests, and what has happened to it.

    Raises:
        NotFound: there is no such request, or it is somebody else's.
    """
    await require_pace(house, session, request_id, "read-requests")
    caller = the_person(session.tenant, request_id)
    async with house.data.reading() as connection:
        kept = await find_request(connection, session.tenant, request)
        history = await events_of(connection, session.tenant, request)
    if kept is None or kept.request.subject != session.subject:
        raise await _refused(house, caller, session, "read-requests", no_request())
    await _record(house, caller, session, target=request)
    return Mine(kept.request, history)


async def cancel_mine(house: House, session: Session, request: UUID, request_id: str) -> Request:
    """Cancel one of a person's requests.

    Raises:
        NotFound: there is no such request, or it is somebody else's.
        WrongState: it is under way or closed.
    """
    await require_pace(house, session, request_id, "move-request")
    return await cancel_request(house, the_person(session.tenant, request_id), request, of=session.subject)


async def verify_mine(house: House, session: Session, request: UUID, request_id: str) -> Request:
    """Verify one of a person's requests by their session: one that needed a fresher session than it was made in.

    Raises:
        NotFound: there is no such request, or it is somebody else's.
        NotFreshEnough, WrongState: as with :func:`vault.requests.verification.verify`.
    """
    await require_pace(house, session, request_id, "verify-identity")
    caller = the_person(session.tenant, request_id)
    async with changing_request(house, caller, request, action="verify-identity") as change:
        if change.request.subject != session.subject:
            raise no_request()
        await verify(house, change, verification_of(house, session))
    await start_approved(house, session.tenant, change.request)
    return change.request


async def fetch_mine(
    house: House, session: Session, request: UUID, request_id: str, *, passphrase: str | None = None
) -> Download:
    """Open the package that answers one of a person's requests.

    Raises:
        FreshSessionNeeded: the person signed in too long ago.
        TooMany: another package of theirs is being encrypted.
        NotFound, Conflict, Gone, InvalidInput: as with :func:`vault.export.download.open_package`.
    """
    await require_pace(house, session, request_id, "download-package")
    caller = the_person(session.tenant, request_id)
    if not session.is_fresh(house.clock.now()):
        raise await _refused(house, caller, session, "download-package", FreshSessionNeeded())
    if passphrase is None:
        return await open_package(house, caller, request, person=session.subject)
    try:
        with one_at_a_time(session):
            return await open_package(house, caller, request, person=session.subject, passphrase=passphrase)
    except TooMany as error:
        raise await _refused(house, caller, session, "download-package", error) from None


async def _record(house: House, caller: Caller, session: Session, *, target: UUID | None = None) -> None:
    made = entry(
        house,
        caller,
        action="read-requests",
        decision="allowed",
        subjects=(session.pseudonym,),
        target=target,
    )
    await house.ledger.append(made)


async def _refused(
    house: House, caller: Caller, session: Session, action: Action, error: NotFound | Denied | TooMany
) -> VaultError:
    await note_failure(house, caller, action, error, subjects=(session.pseudonym,))
    return error
