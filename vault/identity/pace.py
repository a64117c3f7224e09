"""How much a signed-in person may do: enough for anybody, and too little to fill the vault or to hold others up."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import timedelta
from math import ceil
from typing import TYPE_CHECKING, Final

from sqlalchemy import select

from vault.access.callers import the_person
from vault.access.on_record import note_failure
from vault.errors import TooMany, VaultError
from vault.ids import PrincipalId
from vault.principals.principal import Principal
from vault.requests.tables import REQUEST

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from uuid import UUID

    from vault.audit.entry import Action
    from vault.context import House
    from vault.identity.session import Session

MOST_A_DAY: Final = 20
"""Requests that one person makes within a day: each may cost a package, which lies here for weeks."""
DAY: Final = timedelta(days=1)
_encrypting: Final[set[UUID]] = set()


async def require_pace(house: House, session: Session, request_id: str, action: Action) -> None:
    """Count one thing that a person does; they get as many a minute as others get searches.

    Raises:
        TooMany: that was one too many.
    """
    # Counted under the person's own id: all people are one caller, and nobody is to use up what another one needs.
    whose = Principal(PrincipalId(session.subject), session.tenant, "the-person", "app", ())
    try:
        await house.limits.take(whose, "search", 1)
    except VaultError as error:
        await _note(house, session, request_id, action, error)
        raise


async def require_room(house: House, session: Session, request_id: str) -> None:
    """Go on only where a person has not made as many requests as there may be within a day.

    Raises:
        TooMany: they have, or do too much within this minute.
    """
    await require_pace(house, session, request_id, "submit-request")
    now = house.clock.now()
    earlier = await _that_counts(house, session, now)
    if earlier is not None:
        error = TooMany(
            f"{MOST_A_DAY} requests of one person within a day are all there may be",
            retry_after=ceil((earlier + DAY - now).total_seconds()),
            first=True,
            hint="Wait as long as is said; what was asked for is on its way.",
        )
        await _note(house, session, request_id, "submit-request", error)
        raise error


@contextmanager
def one_at_a_time(session: Session) -> Iterator[None]:
    """Let a person encrypt one package at a time: each takes a while, and everybody waits in one line.

    Raises:
        TooMany: another one of theirs is under way in this process.
    """
    if session.subject in _encrypting:
        raise TooMany("another package of yours is being encrypted", retry_after=5, first=True)
    _encrypting.add(session.subject)
    try:
        yield
    finally:
        _encrypting.discard(session.subject)


async def _that_counts(house: House, session: Session, now: datetime) -> datetime | None:
    """Return when the request came in that has to be a day old before another one is taken; none where one may be."""
    statement = (
        select(REQUEST.c.received_at)
        .where(
            REQUEST.c.tenant_id == session.tenant,
            REQUEST.c.subject_id == session.subject,
            REQUEST.c.received_at > now - DAY,
        )
        .order_by(REQUEST.c.received_at.desc())
        .offset(MOST_A_DAY - 1)
        .limit(1)
    )
    async with house.data.reading() as connection:
        found: datetime | None = (await connection.execute(statement)).scalar_one_or_none()
    return found


async def _note(house: House, session: Session, request_id: str, action: Action, error: VaultError) -> None:
    caller = the_person(session.tenant, request_id)
    await note_failure(house, caller, action, error, subjects=(session.pseudonym,))
