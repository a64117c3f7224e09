"""The durable job of a sweep: created when a subject is due, and continued after an interruption."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from sqlalchemy.exc import IntegrityError

from vault.errors import NotFound
from vault.ids import RecordId, SubjectId, new_id
from vault.jobs.workflow import Work, Workflow
from vault.retention.reviews import fetch_reviews
from vault.subjects.due import count_people, due_people, make_due, people_after
from vault.sweep.run import Pace, run_sweep
from vault.sweep.store import Counts, SweepRun, add_sweep, find_sweep, sweep_under_way, swept_policy

if TYPE_CHECKING:
    from datetime import datetime

    from vault.context import Services
    from vault.ids import TenantId
    from vault.sweep.store import Kind

AGAIN: Final = 30.0
"""Seconds until the next check whether a sweep that another process runs has ended."""
HELD_UP: Final = 3_600.0
"""Seconds until the next check whether a sweep was confirmed."""
PAGE: Final = 500
_FIRST: Final = UUID(int=0)


async def sweep_step(services: Any, tenant: TenantId, sweep: UUID) -> float | None:
    """Run a sweep; returns None if it is finished, else the seconds until the next attempt."""
    await run_sweep(services, tenant, sweep, pace_of(services, tenant))
    async with services.data.reading() as connection:
        found = await find_sweep(connection, tenant, sweep)
    if found is None or found.finished_at is not None:
        return None
    return HELD_UP if found.is_held_up else AGAIN


SWEEP: Final = Workflow("retention-sweep", (("sweep", sweep_step),))
"""The job of one sweep of one tenant."""


def pace_of(services: Services, tenant: TenantId) -> Pace:
    """Return the throttle that the policies in force ask for."""
    per_minute = services.policies.active(tenant).policy_set.schedule.per_minute
    return Pace(per_minute, time.monotonic, asyncio.sleep)


async def pending_sweeps(services: Services) -> list[Work]:
    """List the unfinished sweeps of all tenants."""
    found = []
    for tenant in await services.keyring.tenants():
        async with services.data.reading() as connection:
            run = await sweep_under_way(connection, tenant)
        if run is not None:
            found.append(Work(SWEEP.name, tenant, run.id))
    return found


async def begin_sweeps(services: Services) -> None:
    """Create a sweep for each tenant with a subject that is due, and start its job. Runs every hour."""
    for tenant in await services.keyring.tenants():
        try:
            run = await _laid_down_if_due(services, tenant)
        except NotFound:  # no policies are in force, so nothing can be due
            continue
        if run is not None:
            await services.jobs.start(SWEEP.name, tenant, run.id)


async def lay_down(services: Services, tenant: TenantId) -> SweepRun:
    """Create a sweep, or return the one that is under way.

    Raises:
        NotFound: no policies are in force.
    """
    now = services.clock.now()
    await _decided_are_due(services, tenant, now)
    kind, policy = await kind_of(services, tenant)
    of = await count_people(services.data, tenant, None if kind == "all" else now)
    run = SweepRun(id=new_id(), kind=kind, policy=policy, started_at=now, changed_at=now, counts=Counts(of=of))
    try:
        async with services.data.transaction() as connection:
            under_way = await sweep_under_way(connection, tenant)
            if under_way is None:
                await add_sweep(connection, tenant, run)
    except IntegrityError:  # another process was faster
        return await lay_down(services, tenant)
    return under_way or run


async def _laid_down_if_due(services: Services, tenant: TenantId) -> SweepRun | None:
    now = services.clock.now()
    await _decided_are_due(services, tenant, now)
    async with services.data.reading() as connection:
        under_way = await sweep_under_way(connection, tenant)
    if under_way is not None:
        return under_way
    kind, _policy = await kind_of(services, tenant)
    if kind == "all":
        subjects = await people_after(services.data, tenant, after=_FIRST, most=1)
    else:
        subjects = await due_people(services.data, tenant, now, most=1)
    return await lay_down(services, tenant) if subjects else None


async def kind_of(services: Services, tenant: TenantId) -> tuple[Kind, str]:
    """Return which subjects a sweep has to cover now, and the version of the policies.

    Raises:
        NotFound: no policies are in force.
    """
    version = services.policies.active(tenant).version
    async with services.data.reading() as connection:
        swept = await swept_policy(connection, tenant)
    return ("due" if swept == version else "all"), version


async def _decided_are_due(services: Services, tenant: TenantId, now: datetime) -> None:
    """Make the records of reviews that were decided with 'erase' due."""
    after: UUID | None = None
    while True:
        async with services.data.reading() as connection:
            page = await fetch_reviews(connection, tenant, states=("erase",), after=after, limit=PAGE)
        if page:
            records = [(SubjectId(review.subject), review.collection, RecordId(review.record)) for review in page]
            async with services.data.transaction() as connection:
                await make_due(connection, tenant, records, now)
        if len(page) < PAGE:
            return
        after = page[-1].id
