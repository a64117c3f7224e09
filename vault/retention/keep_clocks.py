"""The clocks of people, moved on by what is written about them: within the transaction that writes it."""

from __future__ import annotations

from datetime import UTC, datetime, time
from typing import TYPE_CHECKING

from vault.retention.store import RECORD, move_clocks

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.ids import SubjectId, TenantId


class Newest:
    """The day of the newest record of each person and collection, among those that are about to be written.

    No more than the day (UTC) is kept, in which periods count: that somebody buys by night is nobody's business, and
    a second order of the same day changes no clock.

    Args:
        now: the present. A record that is dated later (a delivery that was arranged, a year mistyped) is a contact of
            today: otherwise one wrong date would keep a person in the vault for decades.
    """

    __slots__ = ("_found", "_today")

    def __init__(self, now: datetime) -> None:
        self._today = _day(now)
        self._found: dict[tuple[SubjectId, str], datetime] = {}

    def add(self, subject: SubjectId, collection: str, occurred_at: datetime | None) -> None:
        """Take note of a record; one that does not say when it happened has been collected just now."""
        kind = subject, RECORD + collection
        day = self._today if occurred_at is None else min(_day(occurred_at), self._today)
        known = self._found.get(kind)
        if known is None or known < day:
            self._found[kind] = day

    async def keep(self, connection: AsyncConnection, tenant: TenantId) -> None:
        """Move the clocks on: all of them by one statement, in the transaction that writes the records.

        Raises:
            Unavailable: the database does not answer.
        """
        await move_clocks(connection, tenant, self._found)


def _day(moment: datetime) -> datetime:
    return datetime.combine(moment.astimezone(UTC), time(), UTC)
