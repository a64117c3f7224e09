"""Sweeps on demand: start one, list them, run one in the foreground, and preview what ends in the next days.

A preview counts by day and field. It opens no value, and writes nothing but its audit entry.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from dataclasses import field as attribute
from datetime import date, timedelta
from typing import TYPE_CHECKING, Final, Literal
from uuid import UUID

from vault.access.authorization import audit_entry, require_permission
from vault.access.paging import check_page, cut
from vault.access.recording import audited, begin_once
from vault.catalogue.model import UnknownName
from vault.errors import Fault, InvalidInput
from vault.ids import SubjectId
from vault.subjects.due import due_people_after, people_after
from vault.sweep import store
from vault.sweep.evaluate import forecast, load_subjects, midnight
from vault.sweep.run import run_sweep
from vault.sweep.store import SweepRun, find_sweep, kept_people
from vault.sweep.views import EndingValues, OverdueValues, RetentionPreview, Sweep, SweepDryRun, SweepPage
from vault.sweep.workflow import SWEEP, kind_of, lay_down, pace_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from vault.access.recording import SaveResponse
    from vault.context import Caller, Services
    from vault.ids import TenantId
    from vault.sweep.evaluate import Forecast
    from vault.sweep.run import Pace


DAYS: Final = 90
MOST_DAYS: Final = 3_653
"""Days that a preview looks ahead at the most: ten years, as long as most laws require records."""
"""Every record is evaluated at least once a year, so a preview cannot reach further."""
PEOPLE: Final = 2_000
MOST_PEOPLE: Final = 10_000
"""Subjects evaluated for one answer: some seconds."""
MOST: Final = 200
"""Sweeps in one page."""
_BATCH: Final = 200
_DRY_RUN_BATCH: Final = 1_000
_FIRST: Final = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts forecasts.

    Attributes:
        now: the moment of the forecasts.
        until: the last day that counts.
        field: the whole name of the only field that counts; None for all.
    """

    now: datetime
    until: date
    field: str | None = None
    _ends: Counter[tuple[int, str, str]] = attribute(default_factory=Counter)
    _overdue: Counter[tuple[str, Literal["next-sweep", "in-review", "held"], str]] = attribute(default_factory=Counter)

    def add(self, value: Forecast) -> None:
        """Count a value, if it ends by the last day."""
        if self.field is not None and value.name != self.field and not value.name.startswith(f"{self.field}."):
            return
        if value.on is None or value.on > self.until.toordinal():
            return
        if value.is_held:
            self._overdue[value.name, "held", value.then] += 1
        elif value.in_review:
            self._overdue[value.name, "in-review", value.then] += 1
        elif value.on <= self.now.date().toordinal():
            self._overdue[value.name, "next-sweep", value.then] += 1
        else:
            self._ends[value.on, value.name, value.then] += 1

    def ends(self) -> list[EndingValues]:
        """List what ends, by day and field."""
        return [
            EndingValues(on=date.fromordinal(on), field=name, then=then, values=count)
            for (on, name, then), count in sorted(self._ends.items())
        ]

    def overdue(self) -> list[OverdueValues]:
        """List what is over and still there, by field."""
        return [
            OverdueValues(field=name, state=state, then=then, values=count)
            for (name, state, then), count in sorted(self._overdue.items())
        ]


@audited("read-retention")
async def preview(
    services: Services,
    caller: Caller,
    *,
    days: int = DAYS,
    field: str | None = None,
    after: UUID | None = None,
    limit: int = PEOPLE,
) -> RetentionPreview:
    """Count what ends in the next days, as things are today: an order, a consent or a hold may change it.

    Args:
        days: how many, today included; 0 for what is already over.
        after: ``next`` of the previous answer.

    Raises:
        Denied: the caller may not see retention.
        InvalidInput: the days or the limit are out of range, or there is no such field.
        Unavailable: the database does not answer.
    """
    await require_permission(services, caller, "vault:retention", "read", audit_action="read-retention")
    whole = _check(services, caller.tenant, days, field, limit)
    now = services.clock.now()
    tally = Tally(now, now.date() + timedelta(days=days), whole)
    people, last, more = await count_ends(services, caller.tenant, tally, after=after, most=limit)
    entry = audit_entry(
        services, caller, action="read-retention", decision="allowed", fields=() if whole is None else (whole,)
    )
    await services.audit_log.append(entry)
    return RetentionPreview(
        today=now.date(),
        until=tally.until,
        ends=tally.ends(),
        waiting=tally.overdue(),
        people=people,
        next=last if more else None,
        audit=entry.id,
    )


async def count_ends(
    services: Services, tenant: TenantId, tally: Tally, *, after: UUID | None, most: int
) -> tuple[int, UUID | None, bool]:
    """Count forecasts of subjects, in the order of their ids.

    Returns:
        how many subjects were evaluated, the last of them, and whether there are more.
    """
    policy_set = services.policies.active(tenant).policy_set
    is_full = (await kind_of(services, tenant))[0] == "all"
    due_by = None if is_full else midnight(tally.until.toordinal() + 1)
    count, last = 0, after
    while count < most:
        size = min(_BATCH, most - count)
        subjects, kept = await _next(services, tenant, due_by, last or _FIRST, size)
        async with services.data.reading() as connection:
            people = await services.subjects.people(connection, tenant, subjects)
            rows = [row for row in people if row.state != "erased"]
            loaded = await load_subjects(connection, tenant, [row for row in rows if row.id not in kept], due=due_by)
            loaded += await load_subjects(connection, tenant, [row for row in rows if row.id in kept])
        for data in loaded:
            for value in forecast(policy_set, data, tally.now):
                tally.add(value)
            await asyncio.sleep(0)  # let other requests run
        count += len(subjects)
        last = subjects[-1] if subjects else last
        if len(subjects) < size:
            return count, last, False
    more, _kept = await _next(services, tenant, due_by, last or _FIRST, 1)
    return count, last, bool(more)


async def _next(
    services: Services, tenant: TenantId, due_by: datetime | None, after: UUID, most: int
) -> tuple[list[SubjectId], frozenset[UUID]]:
    """Return the next subjects, and those with values that are not due because a review or a hold keeps them."""
    if due_by is None:
        return await people_after(services.data, tenant, after=after, most=most), frozenset()
    async with services.data.reading() as connection:
        kept = [SubjectId(subject) for subject in await kept_people(connection, tenant, after=after, most=most)]
    due = await due_people_after(services.data, tenant, due_by, after=after, most=most)
    picked = sorted({*due, *kept}, key=lambda subject: subject.bytes)[:most]
    return picked, frozenset(kept)


def _check(services: Services, tenant: TenantId, days: int, field: str | None, limit: int) -> str | None:
    """Check the parameters of a preview, and return the whole name of the field."""
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
        raise InvalidInput("the preview parameters are invalid", faults=faults, code="invalid-preview")
    return whole


@audited("sweep")
async def start_sweep(services: Services, caller: Caller, on_commit: SaveResponse | None = None) -> Sweep:
    """Start a sweep as a job, or join the one that is under way.

    Args:
        on_commit: called in the transaction of the audit entry with the result; saves the response under an
            idempotency key.

    Raises:
        Denied: the caller may not start a sweep.
        Unavailable: the database does not answer.
    """
    await require_permission(services, caller, "vault:retention", "sweep", audit_action="sweep")
    await begin_once(on_commit)
    run = await lay_down(services, caller.tenant)
    # What the sweep then does is one entry a subject.
    entry = audit_entry(
        services, caller, action="sweep", decision="allowed", code="started", target=run.id, policy=run.policy
    )
    view = Sweep.of(run)
    async with services.data.transaction() as connection:
        await services.audit_log.append_in(connection, [entry])
        if on_commit is not None:
            await on_commit(connection, view)
    await services.jobs.start(SWEEP.name, caller.tenant, run.id)
    return view


@audited("read-retention")
async def list_sweeps(services: Services, caller: Caller, *, before: UUID | None = None, limit: int = 50) -> SweepPage:
    """List sweeps, the newest first: how far each is, and what it did.

    Raises:
        Denied: the caller may not see retention.
        InvalidInput: the limit is not within 1 to 200.
    """
    check_page(limit, MOST, "sweeps")
    await require_permission(services, caller, "vault:retention", "read", audit_action="read-retention")
    async with services.data.reading() as connection:
        runs = await store.list_sweeps(connection, caller.tenant, before=before, limit=limit + 1)
    await services.audit_log.append(audit_entry(services, caller, action="read-retention", decision="allowed"))
    page, cursor = cut(runs, limit)
    return SweepPage(sweeps=[Sweep.of(run) for run in page], next=cursor)


async def sweep(
    services: Services,
    tenant: TenantId,
    *,
    watch: Callable[[SweepRun], object] | None = None,
    pace: Pace | None = None,
    confirm: bool = False,
) -> SweepRun | None:
    """Run a sweep in the foreground to its end; None if another process runs it.

    Args:
        watch: called with the run after each batch of subjects.
        pace: limits the subjects per minute; None for the limit of the policies in force.
        confirm: allow it to delete from more subjects than the policies' limit.

    Returns:
        the run: what it did, or if it waits for a confirmation, what it would delete (:attr:`SweepRun.is_held_up`).

    Raises:
        NotFound: no policies are in force.
        Unavailable: a database does not answer; the next sweep continues from there.
    """
    run = await lay_down(services, tenant)
    if watch is not None:
        watch(run)
    if await run_sweep(services, tenant, run.id, pace or pace_of(services, tenant), watch, confirm=confirm) is None:
        return None
    async with services.data.reading() as connection:
        return await find_sweep(connection, tenant, run.id)


@audited("read-retention")
async def dry_run(services: Services, caller: Caller, *, watch: Callable[[int], object] | None = None) -> SweepDryRun:
    """Count by field what a sweep would do now; nothing is changed.

    Args:
        watch: called with the number of subjects evaluated so far.

    Raises:
        Denied: the caller may not see retention.
        Unavailable: the database does not answer.
    """
    await require_permission(services, caller, "vault:retention", "read", audit_action="read-retention")
    now = services.clock.now()
    tally = Tally(now, now.date())
    people, after, more = 0, None, True
    while more:
        count, after, more = await count_ends(services, caller.tenant, tally, after=after, most=_DRY_RUN_BATCH)
        people += count
        if watch is not None:
            watch(people)
    await services.audit_log.append(audit_entry(services, caller, action="read-retention", decision="allowed"))
    return SweepDryRun(people=people, would=tally.overdue())
