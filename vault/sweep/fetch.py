"""All that is needed to tell until when people's values are kept: fetched for several of them at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vault.retention.reviews import reviews_in
from vault.retention.store import NO_CLOCKS, clocks_in
from vault.subjects.due import records_of_people
from vault.subjects.store import PROFILE
from vault.sweep.evaluate import Person

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.ids import TenantId


async def people_in(
    connection: AsyncConnection, tenant: TenantId, rows: Sequence[Any], *, due: datetime | None = None
) -> list[Person]:
    """Fetch what there is of people, in the order of their rows.

    Args:
        connection: the open transaction.
        tenant: whose.
        rows: the people's own.
        due: only records that are due by this moment; of whom the profile is due, all of them.
    """
    subjects = [row.id for row in rows]
    if not subjects:
        return []
    records = await records_of_people(connection, tenant, subjects, due)
    clocks = await clocks_in(connection, tenant, subjects)
    reviews = await reviews_in(connection, tenant, subjects)
    return [
        Person(
            row,
            records[row.id],
            clocks.get(row.id, NO_CLOCKS),
            {place: found for place, found in reviews.items() if place[0] == row.id} if reviews else reviews,
            is_whole=due is None or _stands_for_all(records[row.id], due),
        )
        for row in rows
    ]


def _stands_for_all(records: Sequence[Any], due: datetime) -> bool:
    return any(row.collection == PROFILE and row.due_at is not None and row.due_at <= due for row in records)
