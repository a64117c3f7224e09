"""The other entry's ledger of consents, carried into the ledger of the person who stays, within a transaction.

What a person's other entry had said, carried into the ledger of the one that stays. Pure.

A merge only narrows:

- A no, an objection that stands and a restriction always go along, and count.
- A yes goes along where the one who stays has never said a word about that purpose, or where it changes nothing: as
  proof of what was agreed to at the time. To somebody who is restricted no yes is added that counts.
- A double opt-in that waits does not: its link was made for a person who is no more.

What the two have asked for goes along to the one who stays; no proof of identity counts for more than before.

Whoever verified a request has shown to be the person of one entry, and the other one's data is more than that. So of
every open request of either it is asked anew whose it is, and whoever is signed in signs in anew.

Legal holds on two people who are one: both people's holds go on, on the person who stays.

What was corrected or is disputed of the other entry's data, carried over to the person who stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from msgspec.structs import replace
from sqlalchemy import delete, update

from vault.consent.event import OBJECTION, YES, Event
from vault.consent.guardians import expire_childs_consents
from vault.consent.state import NOTHING, UNSAID, apply, fold, unpack
from vault.consent.store import CONFIRMATION, EVENT
from vault.consent.transaction import Change
from vault.consent.validation import open_words, seal_words
from vault.errors import Conflict, Unavailable
from vault.export.store import drop_packages
from vault.identity.tables import IDENTITY_CODE, SUBJECT_SESSION
from vault.ids import new_id
from vault.lifecycle.erasures import erasures_of
from vault.lifecycle.tables import ERASURE
from vault.rectification.store import (
    add_rectifications,
    drop_rectifications,
    open_details,
    rectifications_of,
    seal_details,
)
from vault.requests.model import OPEN
from vault.requests.store import events_of, request_ids_of, rewrite_event, save_request
from vault.requests.transaction import DETAILS, RequestChange, request_aad
from vault.retention.holds import held, held_by, join_marks, move_people
from vault.subjects.changes import locked_subject
from vault.subjects.store import PROFILE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.catalogue.model import Scope
    from vault.catalogue.requests import KindName
    from vault.consent.state import ConsentState, PurposeState
    from vault.context import Caller, Services
    from vault.merging.reseal import Move
    from vault.rectification.store import Rectification
    from vault.requests.model import Request
    from vault.requests.store import Kept


async def carry_consents(
    services: Services, connection: AsyncConnection, caller: Caller, move: Move, mine: Any, theirs: Any, born: object
) -> dict[UUID, UUID]:
    """Append what goes along to the survivor's ledger and delete the other's.

    Args:
        connection: the open transaction, in which both people's rows are locked.
        caller: who merges.
        move: from whom to whom.
        mine: the survivor's row.
        theirs: the other's row.
        born: the date of birth of the two who are one; a child's own consents do not stand.

    Returns:
        the events that went along, each with the id under which it stands now.
    """
    tenant, duplicate = move.tenant, move.duplicate.id
    events = (await services.consents.events_of(connection, tenant, [duplicate])).get(duplicate, [])
    going = carried(unpack(mine.standing), events)
    if theirs.state == "restricted" and unpack(theirs.standing).restricted_at is None:
        going.append(_restriction(services, move))
    change = await Change.lock(services, caller, connection, move.survivor.id)
    copies = [] if change is None else [_copied(change, move, each) for each in going]
    if change is not None and copies:
        await change.append(*copies)
    await expire_childs_consents(services, caller, connection, move.survivor.id, born)
    for table in (EVENT, CONFIRMATION):
        await connection.execute(delete(table).where(table.c.tenant_id == tenant, table.c.subject_id == duplicate))
    return {each.id: copy.id for each, copy in zip(going, copies, strict=False)}


def _copied(change: Change, move: Move, event: Event) -> Event:
    copy, (tenant, survivor, duplicate, *_rest) = change.new_id(), move
    words = open_words(duplicate.keys, tenant, event)
    return replace(
        event,
        id=copy,
        subject=survivor.id,
        recorder=change.caller.principal.id,
        recorded_at=change.now,
        evidence=seal_words(survivor.keys, tenant, survivor.id, copy, words),
    )


def _restriction(services: Services, move: Move) -> Event:
    """Make the event for a restriction of which the other's ledger does not tell, and the row does."""
    now = services.clock.now()
    return Event(
        id=new_id(),
        subject=move.duplicate.id,
        kind="restricted",
        by="staff",
        occurred_at=now,
        recorded_at=now,
        origin="merged",
    )


DENIED = frozenset({"refused", "withdrawn"})


class _Going(NamedTuple):
    event: Event
    narrows: bool


def carried(own: ConsentState, events: Sequence[Event]) -> list[Event]:
    """Choose which of the other entry's events go along.

    Args:
        own: where the one who stays stands.
        events: the other entry's whole ledger, in its order.

    Returns:
        copies with the origin ``merged``, in the order in which they are to be appended; their ids, subject and
        evidence are still those of the originals.
    """
    theirs = fold(events)
    chosen = [each for purpose, said in theirs.purposes.items() for each in _about(purpose, said, events)]
    if theirs.restricted_at is not None:
        chosen += [_Going(each, narrows=True) for each in _standing_restrictions(events)]
    standing, going = own, []
    for event, narrows in chosen:
        copy = replace(event, origin="merged", answers=event.id)
        after = apply(standing, copy)
        if narrows or after == standing or (own.restricted_at is None and _is_silent(own, event.purpose)):
            standing = after
            going.append(copy)
    return going


def _about(purpose: str, said: PurposeState, events: Sequence[Event]) -> Iterator[_Going]:
    """List what was said of one purpose and still matters: consents by their time, the last word, the objections."""
    mine = [each for each in events if each.purpose == purpose]
    last = next((each for each in mine if each.id.bytes == said.event), None)
    if last is not None and said.state not in {"none", "pending"}:
        before = [each for each in mine if each.kind in YES and each.occurred_at < last.occurred_at]
        for each in sorted(before, key=lambda each: each.occurred_at):
            yield _Going(each, narrows=False)
        yield _Going(last, narrows=said.state in DENIED)
    for each in _standing_objections(purpose, mine):
        if each is not last:
            yield _Going(each, narrows=True)


def _standing_objections(purpose: str, mine: Sequence[Event]) -> list[Event]:
    """List what made up an objection that stands: none that was overruled, or taken back, before."""
    found: list[Event] = []
    standing = NOTHING
    for event in mine:
        standing = apply(standing, event)
        if standing.purposes.get(purpose, UNSAID).objection not in {"pending", "upheld"}:
            found = []
        elif event.kind in OBJECTION:
            found.append(event)
    return found


def _standing_restrictions(events: Sequence[Event]) -> list[Event]:
    """List the restrictions since the last one was lifted."""
    found: list[Event] = []
    standing = NOTHING
    for event in events:
        standing = apply(standing, event)
        if standing.restricted_at is None:
            found = []
        elif event.kind == "restricted":
            found.append(event)
    return found


def _is_silent(standing: ConsentState, purpose: str | None) -> bool:
    said = standing.purposes.get(purpose or "", UNSAID)
    return said.state == "none" and said.objection == "none"


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
    services: Services,
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
    first: dict[tuple[KindName, Scope], UUID] = {}
    asked = []
    for kept in requests:
        request, details, history = _linked(kept.request, first), kept.details, []
        if request.subject == move.duplicate.id:
            request, details = _moved(move, request, begun, events), _anew(move, request.id, DETAILS, details)
            await _carry_notes(connection, move, request.id)
        if request.state == VERIFIED:
            history = await events_of(connection, move.tenant, request.id)
        change = RequestChange(services, caller, connection, request, details, history, pseudonym, move.survivor.keys)
        if request.state == VERIFIED:
            asked.append(change.move("ask-identity", code=MERGED, verification=None, approvals=()))
        if change.request != kept.request:
            await save_request(connection, move.tenant, change.request, change.details, change.events)
        await services.audit_log.append_in(connection, change.entries("move-request"))
    return asked


async def end_access(services: Services, connection: AsyncConnection, move: Move) -> None:
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
        .values(used_at=services.clock.now())
    )


async def tell_asked(services: Services, caller: Caller, requests: Sequence[Request]) -> None:
    """Have the person told that they are asked anew who they are. Call it after the commit."""
    for each in requests:
        await services.jobs.start("tell-identity", caller.tenant, each.id, run=each.revision)


def _moved(move: Move, request: Request, begun: frozenset[UUID], events: Mapping[UUID, UUID]) -> Request:
    return replace(
        request,
        subject=move.survivor.id,
        revision=request.revision + 1,
        results=tuple(events.get(each, each) for each in request.results),
        erasure=None if request.erasure in begun else request.erasure,
    )


def _linked(request: Request, first: dict[tuple[KindName, Scope], UUID]) -> Request:
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
    plain = move.duplicate.keys.open(field, sealed, request_aad(move.tenant, move.duplicate.id, request))
    return move.survivor.keys.seal(field, plain, request_aad(move.tenant, move.survivor.id, request))


async def _drop_begun(connection: AsyncConnection, move: Move) -> frozenset[UUID]:
    """Delete erasures of the other that were laid down and given back to staff before anything was taken away.

    Their requests go along, and begin an erasure of the survivor once they are approved again.
    """
    found = await erasures_of(connection, move.tenant, move.duplicate.id)
    begun = frozenset(each.id for each in found if each.finished_at is None)
    await connection.execute(delete(ERASURE).where(ERASURE.c.tenant_id == move.tenant, ERASURE.c.id.in_(sorted(begun))))
    return begun


async def carry_holds(connection: AsyncConnection, move: Move, theirs: Any, conflicts: Sequence[str]) -> None:
    """Put the one who stays under the other's holds; both people's rows are locked.

    Args:
        connection: the open transaction, in which consents are carried over already.
        move: from whom to whom.
        theirs: the other's row.
        conflicts: fields of which the survivor's value stays, and the other's is lost.

    Raises:
        Conflict: a hold covers a value that would be lost.
    """
    holds = unpack(theirs.standing).holds
    if any(held_by(unpack(theirs.standing), f"{PROFILE}.{name}", 0) for name in conflicts):  # of a profile, any day
        raise held()
    await move_people(connection, move.tenant, of=move.duplicate.id, to=move.survivor.id)
    mine = await locked_subject(connection, move.tenant, move.survivor.id)
    if holds and mine is not None:
        await join_marks(connection, move.tenant, mine, holds)


async def carry_rectifications(connection: AsyncConnection, move: Move) -> None:
    """Seal them under the survivor's key; the other's are gone afterwards. Both people's rows are locked."""
    theirs = await rectifications_of(connection, move.tenant, move.duplicate.id)
    await drop_rectifications(connection, move.tenant, move.duplicate.id)
    await add_rectifications(
        connection, move.tenant, move.survivor.id, [_moved_rectification(move, each) for each in theirs]
    )


def _moved_rectification(move: Move, rectification: Rectification) -> Rectification:
    """Keep the id and all that is said; a value of the profile is one of the survivor's profile now."""
    (tenant, survivor, duplicate, *_rest), details = move, None
    if rectification.details is not None:
        opened = open_details(duplicate.keys, tenant, duplicate.id, rectification)
        details = seal_details(survivor.keys, tenant, survivor.id, rectification.id, opened)
    record = survivor.id if rectification.record == duplicate.id else rectification.record
    return rectification._replace(record=record, details=details)
