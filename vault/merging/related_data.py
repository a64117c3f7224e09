"""What the two have asked for goes along to the one who stays; no proof of identity counts for more than before.

Whoever verified a request has shown to be the person of one entry, and the other one's data is more than that. So of
every open request of either it is asked anew whose it is, and whoever is signed in signs in anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec.structs import replace
from sqlalchemy import delete, update

from vault.errors import Conflict, Unavailable
from vault.export.store import drop_packages
from vault.identity.tables import IDENTITY_CODE, SUBJECT_SESSION
from vault.lifecycle.erasures import erasures_of
from vault.lifecycle.tables import ERASURE
from vault.requests.machine import OPEN
from vault.requests.store import events_of, request_ids_of, rewrite_event, save_request
from vault.requests.transaction import DETAILS, RequestChange, request_place

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.catalogue.scope import Scope
    from vault.context import Caller, House
    from vault.merging.reseal import Move
    from vault.requests.machine import Kind
    from vault.requests.model import Request
    from vault.requests.store import Kept

UNDER_WAY: Final = frozenset({"approved", "in_progress"})
VERIFIED: Final = "in_review"
"""The one state in which a request is verified, and not under way."""
MERGED: Final = "merged"
"""In a request's history: why the person is asked again who they are."""


async def require_at_rest(connection: AsyncConnection, move: Move, requests: Sequence[Kept]) -> None:
    """Go on only while nothing that either has asked for is being carried out; both people's rows are locked.

    Raises:
        Conflict: something is. An erasure above all must not lose the person it is about.
        Unavailable: a request came in between the locks; it is not among ``requests``.
    """
    both = (move.survivor.id, move.duplicate.id)
    if await request_ids_of(connection, move.tenant, both) - {each.request.id for each in requests}:
        raise Unavailable("a request of one of the two came in at this moment", hint="send it again")
    erasures = [erasure for each in both for erasure in await erasures_of(connection, move.tenant, each)]
    # One that was laid down by itself has no request that could be laid down anew for whoever stays.
    half_erased = any(each.finished_at is None and (each.state != "begun" or each.request is None) for each in erasures)
    if half_erased or any(each.request.state in UNDER_WAY for each in requests):
        raise Conflict(
            "a request of one of the two is being carried out",
            code="request-under-way",
            hint="merge them once it is completed",
        )


async def carry_requests(
    house: House,
    connection: AsyncConnection,
    caller: Caller,
    move: Move,
    requests: Sequence[Kept],
    *,
    pseudonym: UUID,
    events: Mapping[UUID, UUID],
) -> list[Request]:
    """Let the other's requests be the survivor's, and ask anew who it is where a request of either is verified.

    Args:
        house: the rooms.
        connection: the open transaction, in which the requests and both people's rows are locked.
        caller: who merges.
        move: from whom to whom.
        requests: all of both, by id.
        pseudonym: the survivor's.
        events: of the ledger of consents that went along, with the ids under which they stand now.

    Returns:
        the requests whose person is asked anew.

    Raises:
        CannotOpen: something that was written does not open; then nothing is carried.
    """
    begun = await _drop_begun(connection, move)
    first: dict[tuple[Kind, Scope], UUID] = {}
    asked = []
    for kept in requests:
        request, details, history = _linked(kept.request, first), kept.details, []
        if request.subject == move.duplicate.id:
            request, details = _moved(move, request, begun, events), _anew(move, request.id, DETAILS, details)
            await _carry_notes(connection, move, request.id)
        if request.state == VERIFIED:
            history = await events_of(connection, move.tenant, request.id)
        change = RequestChange(house, caller, connection, request, details, history, pseudonym, move.survivor.keys)
        if request.state == VERIFIED:
            asked.append(change.move("ask-identity", code=MERGED, verification=None, approvals=()))
        if change.request != kept.request:
            await save_request(connection, move.tenant, change.request, change.details, change.events)
        await house.ledger.append_in(connection, change.entries("move-request"))
    return asked


async def end_access(house: House, connection: AsyncConnection, move: Move) -> None:
    """Sign both out, use up their codes, and delete the other's packages; a request that had one can be reopened.

    Codes are not deleted: they count, so that nobody is sent too many.
    """
    both = (move.survivor.id, move.duplicate.id)
    await drop_packages(connection, move.tenant, move.duplicate.id)
    sessions, codes = SUBJECT_SESSION.c, IDENTITY_CODE.c
    await connection.execute(
        delete(SUBJECT_SESSION).where(sessions.tenant_id == move.tenant, sessions.subject_id.in_(both))
    )
    await connection.execute(
        update(IDENTITY_CODE)
        .where(codes.tenant_id == move.tenant, codes.subject_id.in_(both), codes.used_at.is_(None))
        .values(used_at=house.clock.now())
    )


async def tell_asked(house: House, caller: Caller, requests: Sequence[Request]) -> None:
    """Have the person told that they are asked anew who they are. Call it after the commit."""
    for each in requests:
        await house.jobs.start("tell-identity", caller.tenant, each.id, run=each.revision)


def _moved(move: Move, request: Request, begun: frozenset[UUID], events: Mapping[UUID, UUID]) -> Request:
    return replace(
        request,
        subject=move.survivor.id,
        revision=request.revision + 1,
        results=tuple(events.get(each, each) for each in request.results),
        erasure=None if request.erasure in begun else request.erasure,
    )


def _linked(request: Request, first: dict[tuple[Kind, Scope], UUID]) -> Request:
    """Link a request to an open one for the same thing that came in before, as if it were taken in now."""
    if request.state not in OPEN:
        return request
    earlier = first.setdefault((request.kind, request.scope), request.id)
    return request if request.duplicate_of or earlier == request.id else replace(request, duplicate_of=earlier)


async def _carry_notes(connection: AsyncConnection, move: Move, request: UUID) -> None:
    for event in await events_of(connection, move.tenant, request):
        if event.note is not None:
            note = _anew(move, request, f"note:{event.number}", event.note)
            await rewrite_event(connection, move.tenant, request, replace(event, note=note))


def _anew(move: Move, request: UUID, field: str, sealed: bytes | None) -> bytes | None:
    """Seal under the survivor's key, at the survivor's place, what is sealed under the other's."""
    if sealed is None:
        return None
    plain = move.duplicate.keys.open(field, sealed, request_place(move.tenant, move.duplicate.id, request))
    return move.survivor.keys.seal(field, plain, request_place(move.tenant, move.survivor.id, request))


async def _drop_begun(connection: AsyncConnection, move: Move) -> frozenset[UUID]:
    """Delete erasures of the other that were laid down and given back to staff before anything was taken away.

    Their requests go along, and begin an erasure of the survivor once they are approved again.
    """
    found = await erasures_of(connection, move.tenant, move.duplicate.id)
    begun = frozenset(each.id for each in found if each.finished_at is None)
    await connection.execute(delete(ERASURE).where(ERASURE.c.tenant_id == move.tenant, ERASURE.c.id.in_(sorted(begun))))
    return begun
