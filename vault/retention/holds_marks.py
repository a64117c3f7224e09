"""The marks of holds on people's rows: every read and every deletion looks at the row, and at no table of holds.

All of it happens within a transaction in which the people's rows are locked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace
from sqlalchemy import bindparam, update

from vault.consent.state import Held, pack, unpack
from vault.subjects.changes import mark_due
from vault.subjects.tables import SUBJECT

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import date, datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.consent.state import Standing
    from vault.ids import SubjectId, TenantId
    from vault.retention.hold_store import Hold

AT_ONCE = 500


def mark_of(hold: Hold) -> Held:
    """Make the mark of a hold."""
    since, until = _day(hold.since), _day(hold.until)
    return Held(hold.id.bytes, hold.purpose, hold.also_for, hold.names, since, until)


def marked(standing: Standing, mark: Held) -> Standing:
    """Put a mark on somebody; one of the same hold that was there before gives way."""
    return replace(standing, holds=(*_others(standing, mark.hold), mark))


def unmarked(standing: Standing, hold: UUID) -> Standing:
    """Take the mark of a hold off somebody."""
    return replace(standing, holds=_others(standing, hold.bytes))


async def put_marks(connection: AsyncConnection, tenant: TenantId, rows: Mapping[SubjectId, Any], hold: Hold) -> None:
    """Put the mark of a hold on people whose rows are locked."""
    mark = mark_of(hold)
    await _write(connection, tenant, {who: marked(unpack(row.standing), mark) for who, row in rows.items()})


async def take_marks(
    connection: AsyncConnection, tenant: TenantId, rows: Mapping[SubjectId, Any], hold: UUID, now: datetime
) -> None:
    """Take the mark of a hold off people whose rows are locked; the next sweep looks what has ended meanwhile."""
    await _write(connection, tenant, {who: unmarked(unpack(row.standing), hold) for who, row in rows.items()})
    people = list(rows)
    for start in range(0, len(people), AT_ONCE):
        await mark_due(connection, tenant, people[start : start + AT_ONCE], now)


async def join_marks(connection: AsyncConnection, tenant: TenantId, row: Any, others: Collection[Held]) -> None:
    """Put somebody else's marks on a person whose row is locked, beside their own."""
    standing = unpack(row.standing)
    for mark in others:
        standing = marked(standing, mark)
    await _write(connection, tenant, {row.id: standing})


async def _write(connection: AsyncConnection, tenant: TenantId, standings: Mapping[SubjectId, Standing]) -> None:
    rows = [{"its": tenant, "who": who, "now": pack(standing)} for who, standing in standings.items()]
    if rows:
        mine = (SUBJECT.c.tenant_id == bindparam("its"), SUBJECT.c.id == bindparam("who"))
        await connection.execute(update(SUBJECT).where(*mine).values(standing=bindparam("now")), rows)


def _others(standing: Standing, hold: bytes) -> tuple[Held, ...]:
    return tuple(each for each in standing.holds if each.hold != hold)


def _day(day: date | None) -> int | None:
    return None if day is None else day.toordinal()
