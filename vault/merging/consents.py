"""The other entry's ledger of consents, carried into the ledger of the person who stays, within a transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace
from sqlalchemy import delete

from vault.consent.event import Event
from vault.consent.evidence import open_words, seal_words
from vault.consent.guardians import expire_childs_consents
from vault.consent.state import unpack
from vault.consent.tables import CONFIRMATION, EVENT
from vault.consent.transaction import Change
from vault.ids import new_id
from vault.merging.says import carried

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.context import Caller, House
    from vault.merging.reseal import Move


async def carry_consents(
    house: House, connection: AsyncConnection, caller: Caller, move: Move, mine: Any, theirs: Any, born: object
) -> dict[UUID, UUID]:
    """Append what goes along to the survivor's ledger and delete the other's.

    Args:
        house: the rooms.
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
    events = (await house.consents.events_of(connection, tenant, [duplicate])).get(duplicate, [])
    going = carried(unpack(mine.standing), events)
    if theirs.state == "restricted" and unpack(theirs.standing).restricted_at is None:
        going.append(_restriction(house, move))
    change = await Change.lock(house, caller, connection, move.survivor.id)
    copies = [] if change is None else [_copied(change, move, each) for each in going]
    if change is not None and copies:
        await change.append(*copies)
    await expire_childs_consents(house, caller, connection, move.survivor.id, born)
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


def _restriction(house: House, move: Move) -> Event:
    """Make the event for a restriction of which the other's ledger does not tell, and the row does."""
    now = house.clock.now()
    return Event(
        id=new_id(),
        subject=move.duplicate.id,
        kind="restricted",
        by="staff",
        occurred_at=now,
        recorded_at=now,
        origin="merged",
    )
