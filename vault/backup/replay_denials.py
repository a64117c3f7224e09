"""Say no once more: withdrawals, refusals, objections and restrictions that came after a backup."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from msgspec.structs import replace

from vault.access.authorization import entry
from vault.access.operator import at_the_console
from vault.consent.append import stays_restricted
from vault.consent.state import fold, pack, unpack
from vault.subjects.changes import mark_due, set_standing
from vault.subjects.merged import locked_subjects
from vault.subjects.store import GONE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.consent.event import Event
    from vault.context import House
    from vault.ids import SubjectId, TenantId


async def deny_again(house: House, tenant: TenantId, said: Sequence[tuple[SubjectId, Event]]) -> int:
    """Append events of one tenant that are missing in the restored ledger of consents, by one transaction.

    Where a person stands is then summed up anew from all of their events.

    Args:
        house: the rooms.
        tenant: whose.
        said: who, and what; an event of somebody who was merged since is given for both.

    Returns:
        how many were missing.

    Raises:
        Unavailable: the database does not answer; nothing of it is in.
    """
    events: defaultdict[SubjectId, list[Event]] = defaultdict(list)
    for subject, event in said:
        events[subject].append(replace(event, subject=subject))
    async with house.data.transaction() as connection:
        rows = await locked_subjects(connection, tenant, list(events))
        there = await house.consents.events_of(connection, tenant, list(rows))
        told: list[UUID] = []
        added = 0
        for subject, row in rows.items():
            known = there.get(subject, [])
            missing = _missing(known, events[subject])
            if missing and row.state not in GONE:
                await _add(house, connection, tenant, row, known, missing)
                told.append(row.pseudonym)
                added += len(missing)
        if added:
            await mark_due(connection, tenant, list(rows), house.clock.now())
            made = entry(
                house,
                at_the_console(tenant),
                action="restore",
                decision="allowed",
                code="denied-again",
                subjects=tuple(told),
                count=added,
            )
            await house.ledger.append_in(connection, [made])
    return added


def _missing(known: Sequence[Event], events: Sequence[Event]) -> list[Event]:
    there = {each.id for each in known}
    return list({each.id: each for each in events if each.id not in there}.values())


async def _add(
    house: House,
    connection: AsyncConnection,
    tenant: TenantId,
    row: Any,
    known: Sequence[Event],
    missing: Sequence[Event],
) -> None:
    await house.consents.add(connection, tenant, missing)
    before = unpack(row.standing)
    summed = fold(sorted([*known, *missing], key=lambda event: event.id))
    standing = replace(summed, holds=before.holds, kept_for=before.kept_for)
    await set_standing(connection, tenant, row.id, pack(standing), restricted=stays_restricted(row, standing))
