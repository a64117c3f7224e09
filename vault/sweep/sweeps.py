"""Sweeps for people: start one now, see how far each is and what it did, see what one would do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from vault.access.authorization import entry
from vault.access.on_record import on_record
from vault.access.rights import require_right
from vault.errors import InvalidInput
from vault.sweep.query import Tally, count_ends
from vault.sweep.run import run_sweep
from vault.sweep.store import SweepRun, find_sweep
from vault.sweep.store import list_sweeps as listed
from vault.sweep.workflow import SWEEP, lay_down, pace_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from vault.context import Caller, House
    from vault.ids import TenantId
    from vault.sweep.pace import Pace
    from vault.sweep.query import Waiting

MOST: Final = 200
_AT_ONCE: Final = 1_000
STARTED: Final = "started"
"""How the audit log calls a sweep that somebody started; what it then did is one entry a person."""
Keep = Callable[[AsyncConnection, SweepRun], Awaitable[None]]
"""Keeps the answer to a start, so that it can be given again."""


class SweepPage(NamedTuple):
    """Some sweeps, the newest first, and where to go on."""

    sweeps: Sequence[SweepRun]
    next: UUID | None


class DryRun(NamedTuple):
    """What a sweep would do now: with how many of how many people's values."""

    waiting: Sequence[Waiting]
    people: int


@on_record("sweep")
async def start_sweep(house: House, caller: Caller, keep: Keep | None = None) -> SweepRun:
    """Start a sweep now, as a job, or join the one that is under way.

    Args:
        house: the rooms.
        caller: who asks.
        keep: keeps the answer under an idempotency key, in the transaction of the audit entry.

    Raises:
        Denied: no role of the caller's may start one.
        Unavailable: the database does not answer.
    """
    await require_right(house, caller, "vault:retention", "sweep", audited_as="sweep")
    run = await lay_down(house, caller.tenant)
    made = entry(house, caller, action="sweep", decision="allowed", code=STARTED, target=run.id, policy=run.policy)
    async with house.data.transaction() as connection:
        await house.ledger.append_in(connection, [made])
        if keep is not None:
            await keep(connection, run)
    await house.jobs.start(SWEEP.name, caller.tenant, run.id)
    return run


@on_record("read-retention")
async def list_sweeps(house: House, caller: Caller, *, before: UUID | None = None, limit: int = 50) -> SweepPage:
    """List sweeps: how far each has come, and what it did.

    Raises:
        Denied: no role of the caller's may see them.
        InvalidInput: the limit is out of 1 to 200.
    """
    if not 1 <= limit <= MOST:
        raise InvalidInput(f"a page has 1 to {MOST} sweeps", code="invalid-page")
    await require_right(house, caller, "vault:retention", "read", audited_as="read-retention")
    async with house.data.reading() as connection:
        found = await listed(connection, caller.tenant, before=before, limit=limit + 1)
    await house.ledger.append(entry(house, caller, action="read-retention", decision="allowed"))
    return SweepPage(found[:limit], found[limit - 1].id if len(found) > limit else None)


async def sweep(
    house: House,
    tenant: TenantId,
    *,
    watch: Callable[[SweepRun], object] | None = None,
    pace: Pace | None = None,
    confirm: bool = False,
) -> SweepRun | None:
    """Sweep now, in the foreground, to the end; none where another process is at it.

    Args:
        house: the rooms.
        tenant: whose.
        watch: is told, after some people at a time, how far it has come.
        pace: lets people through; none: as fast as the policies in force allow.
        confirm: let it take something from however many people by the policies in force.

    Returns:
        what it did; or what it would take, where somebody has to confirm that (:attr:`SweepRun.is_held_up`).

    Raises:
        NotFound: no policies are in force.
        Unavailable: a database does not answer; the next sweep goes on from there.
    """
    run = await lay_down(house, tenant)
    if watch is not None:
        watch(run)
    if await run_sweep(house, tenant, run.id, pace or pace_of(house, tenant), watch, confirm=confirm) is None:
        return None
    async with house.data.reading() as connection:
        return await find_sweep(connection, tenant, run.id)


@on_record("read-retention")
async def dry_run(house: House, caller: Caller, *, watch: Callable[[int], object] | None = None) -> DryRun:
    """Tell what a sweep would do now, by field; nothing is changed.

    Args:
        house: the rooms.
        caller: who asks.
        watch: is told how many people have been looked at so far.

    Raises:
        Denied: no role of the caller's may see what is kept until when.
        Unavailable: the database does not answer.
    """
    await require_right(house, caller, "vault:retention", "read", audited_as="read-retention")
    now = house.clock.now()
    tally = Tally(now.date(), now.date(), None)
    people, after, more = 0, None, True
    while more:
        count, after, more = await count_ends(house, caller.tenant, tally, now, days=0, after=after, most=_AT_ONCE)
        people += count
        if watch is not None:
            watch(people)
    await house.ledger.append(entry(house, caller, action="read-retention", decision="allowed"))
    return DryRun(tally.waiting(), people)
