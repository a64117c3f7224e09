"""Sweeps for people: start one now, see how far each is and what it did, see what one would do.

What ends in the next days, counted by day and field: nothing is opened, nothing written but the audit entry.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import date, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from vault.access.authorization import audit_entry, require_permission
from vault.access.recording import audited
from vault.catalogue.model import UnknownName
from vault.errors import Fault, InvalidInput
from vault.ids import SubjectId
from vault.subjects.due import due_people_after, people_after, rows_of_people
from vault.sweep.evaluate import forecast, load_subjects, next_midnight
from vault.sweep.run import run_sweep
from vault.sweep.store import SweepRun, find_sweep, kept_people
from vault.sweep.store import list_sweeps as listed
from vault.sweep.workflow import SWEEP, kind_of, lay_down, pace_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from vault.context import Caller, Services
    from vault.ids import TenantId
    from vault.sweep.evaluate import Forecast
    from vault.sweep.run import Pace


DAYS: Final = 90
MOST_DAYS: Final = 366
"""Nobody is looked at later than a year after the last time, so no further can be seen."""
PEOPLE: Final = 2_000
MOST_PEOPLE: Final = 10_000
"""People in one answer: some seconds."""
_BATCH: Final = 200
_FIRST: Final = UUID(int=0)


class Ends(NamedTuple):
    """How many values of a field end on a day, and what happens then: erase, restrict, review, or a view that stays."""

    on: date
    field: str
    then: str
    values: int


class Waiting(NamedTuple):
    """How many values of a field are over, and still there: for the next sweep, under a hold, or in review."""

    field: str
    state: str
    then: str
    values: int


class Due(NamedTuple):
    """What ends.

    Attributes:
        today: the day of the answer (UTC).
        until: the last day that was looked at.
        ends: by day and field.
        waiting: what is over already; and under a hold, what would end in these days.
        people: of how many people records were looked at.
        next: where to go on, where there are more; none: these were all.
        audit: the audit entry.
    """

    today: date
    until: date
    ends: Sequence[Ends]
    waiting: Sequence[Waiting]
    people: int
    next: UUID | None
    audit: UUID


class Tally:
    """Counts what is foreseen.

    Args:
        today: the day.
        until: the last day that counts.
        field: the whole name of the one field that counts; none: all do.
    """

    def __init__(self, today: date, until: date, field: str | None) -> None:
        self._today = today.toordinal()
        self._until = until.toordinal()
        self._field = field
        self._ends: Counter[tuple[int, str, str]] = Counter()
        self._waiting: Counter[tuple[str, str, str]] = Counter()

    def add(self, value: Forecast) -> None:
        """Count a value, if it ends in these days."""
        if self._field is not None and value.name != self._field and not value.name.startswith(f"{self._field}."):
            return
        if value.on is None or value.on > self._until:
            return
        is_over = value.on <= self._today
        if value.is_held or value.in_review or is_over:
            state = "held" if value.is_held else "in-review" if value.in_review else "next-sweep"
            self._waiting[value.name, state, value.then] += 1
        else:
            self._ends[value.on, value.name, value.then] += 1

    def ends(self) -> list[Ends]:
        """List what ends, by day and field."""
        return [Ends(date.fromordinal(on), name, then, count) for (on, name, then), count in sorted(self._ends.items())]

    def waiting(self) -> list[Waiting]:
        """List what is over and still there, by field."""
        return [Waiting(*key, count) for key, count in sorted(self._waiting.items())]


@audited("read-retention")
async def due(
    services: Services,
    caller: Caller,
    *,
    days: int = DAYS,
    field: str | None = None,
    after: UUID | None = None,
    limit: int = PEOPLE,
) -> Due:
    """Count what ends in the next days, as things stand: an order, a consent or a hold may change it.

    Args:
        days: how many, today's included; none (0): only what is over already.
        field: only this one.
        after: ``next`` of the answer before.
        limit: so many people are looked at for one answer.

    Raises:
        Denied: no role of the caller's may see what is kept until when.
        InvalidInput: the days or the limit are out of range, or there is no such field.
        Unavailable: the database does not answer.
    """
    await require_permission(services, caller, "vault:retention", "read", audit_action="read-retention")
    whole = _checked(services, caller.tenant, days, field, limit)
    now = services.clock.now()
    today = now.date()
    tally = Tally(today, today + timedelta(days=days), whole)
    people, last, more = await count_ends(services, caller.tenant, tally, now, days=days, after=after, most=limit)
    made = audit_entry(
        services, caller, action="read-retention", decision="allowed", fields=() if whole is None else (whole,)
    )
    await services.audit_log.append(made)
    until = today + timedelta(days=days)
    return Due(today, until, tally.ends(), tally.waiting(), people, last if more else None, made.id)


async def count_ends(
    services: Services, tenant: TenantId, tally: Tally, now: datetime, *, days: int, after: UUID | None, most: int
) -> tuple[int, UUID | None, bool]:
    """Count what is foreseen of people, in the order of their ids.

    Returns:
        how many people were looked at, the last of them, and whether there are more.
    """
    policy_set = services.policies.active(tenant).policy_set
    moment = next_midnight(now.date().toordinal() + days)
    everybody = (await kind_of(services, tenant))[0] == "all"
    due_by = None if everybody else moment
    looked, last = 0, after
    while looked < most:
        size = min(_BATCH, most - looked)
        subjects, kept = await _next(services, tenant, due_by, last or _FIRST, size)
        async with services.data.reading() as connection:
            rows = [row for row in await rows_of_people(connection, tenant, subjects) if row.state != "erased"]
            found = await load_subjects(connection, tenant, [row for row in rows if row.id not in kept], due=due_by)
            found += await load_subjects(connection, tenant, [row for row in rows if row.id in kept])
        for person in found:
            for value in forecast(policy_set, person, now):
                tally.add(value)
            await asyncio.sleep(0)
        looked += len(subjects)
        last = subjects[-1] if subjects else last
        if len(subjects) < size:
            return looked, last, False
    more, _kept = await _next(services, tenant, due_by, last or _FIRST, 1)
    return looked, last, bool(more)


async def _next(
    services: Services, tenant: TenantId, due_by: datetime | None, after: UUID, most: int
) -> tuple[list[SubjectId], frozenset[UUID]]:
    """Pick the next people, and those among them of whom a review or a hold keeps what is not due."""
    if due_by is None:
        return await people_after(services.data, tenant, after=after, most=most), frozenset()
    async with services.data.reading() as connection:
        kept = [SubjectId(each) for each in await kept_people(connection, tenant, after=after, most=most)]
    found = await due_people_after(services.data, tenant, due_by, after=after, most=most)
    picked = sorted({*found, *kept}, key=lambda each: each.bytes)[:most]
    return picked, frozenset(kept)


def _checked(services: Services, tenant: TenantId, days: int, field: str | None, limit: int) -> str | None:
    faults = []
    if not 0 <= days <= MOST_DAYS:
        faults.append(Fault("/days", "invalid-value", f"from 0 to {MOST_DAYS}"))
    if not 1 <= limit <= MOST_PEOPLE:
        faults.append(Fault("/limit", "invalid-value", f"from 1 to {MOST_PEOPLE:,}"))
    whole = None
    if field is not None:
        try:
            whole = services.policies.active(tenant).policy_set.catalogue.field(field).whole
        except UnknownName:
            faults.append(Fault("/field", "unknown-field", "the catalogue declares no such field"))
    if faults:
        raise InvalidInput("what is asked for is not said properly", faults=faults, code="invalid-preview")
    return whole


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


@audited("sweep")
async def start_sweep(services: Services, caller: Caller, keep: Keep | None = None) -> SweepRun:
    """Start a sweep now, as a job, or join the one that is under way.

    Args:
        keep: keeps the answer under an idempotency key, in the transaction of the audit entry.

    Raises:
        Denied: no role of the caller's may start one.
        Unavailable: the database does not answer.
    """
    await require_permission(services, caller, "vault:retention", "sweep", audit_action="sweep")
    run = await lay_down(services, caller.tenant)
    made = audit_entry(
        services, caller, action="sweep", decision="allowed", code=STARTED, target=run.id, policy=run.policy
    )
    async with services.data.transaction() as connection:
        await services.audit_log.append_in(connection, [made])
        if keep is not None:
            await keep(connection, run)
    await services.jobs.start(SWEEP.name, caller.tenant, run.id)
    return run


@audited("read-retention")
async def list_sweeps(services: Services, caller: Caller, *, before: UUID | None = None, limit: int = 50) -> SweepPage:
    """List sweeps: how far each has come, and what it did.

    Raises:
        Denied: no role of the caller's may see them.
        InvalidInput: the limit is out of 1 to 200.
    """
    if not 1 <= limit <= MOST:
        raise InvalidInput(f"a page has 1 to {MOST} sweeps", code="invalid-page")
    await require_permission(services, caller, "vault:retention", "read", audit_action="read-retention")
    async with services.data.reading() as connection:
        found = await listed(connection, caller.tenant, before=before, limit=limit + 1)
    await services.audit_log.append(audit_entry(services, caller, action="read-retention", decision="allowed"))
    return SweepPage(found[:limit], found[limit - 1].id if len(found) > limit else None)


async def sweep(
    services: Services,
    tenant: TenantId,
    *,
    watch: Callable[[SweepRun], object] | None = None,
    pace: Pace | None = None,
    confirm: bool = False,
) -> SweepRun | None:
    """Sweep now, in the foreground, to the end; none where another process is at it.

    Args:
        watch: is told, after some people at a time, how far it has come.
        pace: lets people through; none: as fast as the policies in force allow.
        confirm: let it take something from however many people by the policies in force.

    Returns:
        what it did; or what it would take, where somebody has to confirm that (:attr:`SweepRun.is_held_up`).

    Raises:
        NotFound: no policies are in force.
        Unavailable: a database does not answer; the next sweep goes on from there.
    """
    run = await lay_down(services, tenant)
    if watch is not None:
        watch(run)
    if await run_sweep(services, tenant, run.id, pace or pace_of(services, tenant), watch, confirm=confirm) is None:
        return None
    async with services.data.reading() as connection:
        return await find_sweep(connection, tenant, run.id)


@audited("read-retention")
async def dry_run(services: Services, caller: Caller, *, watch: Callable[[int], object] | None = None) -> DryRun:
    """Tell what a sweep would do now, by field; nothing is changed.

    Args:
        watch: is told how many people have been looked at so far.

    Raises:
        Denied: no role of the caller's may see what is kept until when.
        Unavailable: the database does not answer.
    """
    await require_permission(services, caller, "vault:retention", "read", audit_action="read-retention")
    now = services.clock.now()
    tally = Tally(now.date(), now.date(), None)
    people, after, more = 0, None, True
    while more:
        count, after, more = await count_ends(services, caller.tenant, tally, now, days=0, after=after, most=_AT_ONCE)
        people += count
        if watch is not None:
            watch(people)
    await services.audit_log.append(audit_entry(services, caller, action="read-retention", decision="allowed"))
    return DryRun(tally.waiting(), people)
