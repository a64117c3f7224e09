"""Sweep once after a restore: what had ended, and was swept since the backup, is there again and goes again."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from sqlalchemy import update

from vault.errors import NotFound
from vault.sweep.pace import Pace
from vault.sweep.sweeps import sweep
from vault.sweep.tables import RETENTION_SWEEP

if TYPE_CHECKING:
    from collections.abc import Callable

    from vault.context import House
    from vault.ids import TenantId

PER_MINUTE: Final = 10**9
"""Nobody works with a vault that is closed, so nobody has to be spared."""


async def sweep_again(house: House, tenant: TenantId, told: Callable[[str, int], None]) -> None:
    """Take what has ended, of everybody who is due.

    Whoever was at a sweep when the backup was made is not any more.

    Args:
        house: the rooms.
        tenant: whose.
        told: is told how many people were looked at.

    Raises:
        Unavailable: a database does not answer.
    """
    table = RETENTION_SWEEP
    async with house.data.transaction() as connection:
        mine = (table.c.tenant_id == tenant, table.c.finished_at.is_(None))
        await connection.execute(update(table).where(*mine).values(runner=None))
    with suppress(NotFound):  # no policies are in force: nothing is known to have ended
        pace = Pace(PER_MINUTE, time.monotonic, asyncio.sleep)
        # Much may have been swept since the backup; should that have been a mistake, the backup is still there.
        await sweep(house, tenant, watch=lambda run: told("swept", run.counts.people), pace=pace, confirm=True)
