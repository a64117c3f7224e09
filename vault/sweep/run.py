"""The run of a sweep: it evaluates subjects that are due, and erases what nothing keeps any more.

A sweep is a row with its progress. The process that runs it may die at any point; another one continues it. It covers
the subjects with a record that is due, and after a change of the policies all subjects, in batches:

1. Without a lock, the subjects' data is fetched, and for each value it is determined until when it is kept.
2. Subjects with a value that has ended are evaluated again under locks, and the value is erased
   (:mod:`vault.sweep.apply`).
3. Records that stay are put off until something may end, except those that were written to in the meantime.

Before that, the sweep counts the subjects that would lose something; unusually many have to be confirmed. A rule that
was shortened or removed by mistake, a purpose that was renamed, or a clock that is years ahead ends periods
unintentionally. Such values are no longer served, but they are still stored: corrected policies bring them back.

The policies limit the number of subjects a minute: a sweep must not keep the databases from other work.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from msgspec.structs import replace

from vault import logs
from vault.errors import CannotOpen, Unavailable
from vault.ids import SubjectId, random_id
from vault.lifecycle.erasures import unfinished_sweep_erasures
from vault.lifecycle.personal_data import owned_tables
from vault.retention.reviews import close_reviews
from vault.subjects.due import (
    count_people,
    count_records,
    due_people,
    due_people_after,
    people_after,
    put_off,
)
from vault.sweep.apply import PoliciesChanged, apply_plans, end_erasures, postponed, put_off_unreadable, sweep_entry
from vault.sweep.evaluate import Evaluation, evaluate, load_subjects
from vault.sweep.store import Check, Counts, finish_sweep, leave_sweep, save_sweep, take_sweep

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
    from datetime import date, datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.context import Services
    from vault.ids import TenantId
    from vault.sweep.evaluate import SubjectPlan
    from vault.sweep.store import SweepRun

    Watch = Callable[[SweepRun], object]


log = logs.get_logger()

AT_ONCE: Final = 500
FEW: Final = 10
"""A sweep may always erase values of so many people without a confirmation."""
MOST: Final = 200
"""Subjects in one batch."""
MOST_RECORDS: Final = {"sqlite": 400, "postgresql": 2_000}
"""Records that one transaction reseals: SQLite has one writer, which must not block the others for longer."""
_SCRUBS: Final = 5
_MINUTE: Final = 60.0
_FIRST: Final = SubjectId(UUID(int=0))


class Overtaken(Exception):
    """Another process has taken the sweep over; this one stops, and its last transaction is rolled back."""


def most_of(people: int, percent: int) -> int:
    """Return of how many of all people a sweep may erase values without a confirmation."""
    return max(FEW, people * percent // 100)


class Pace:
    """Throttle that spreads batches evenly.

    In any minute there are at most ``per_minute`` subjects, also if a sweep was interrupted and continues at once: the
    limit leaves room for two batches. With a limit below ten, batches have one subject, and at least one goes a minute.

    Args:
        per_minute: subjects.
        monotonic: a clock in seconds that never goes back.
        sleep: waits for so many seconds.
    """

    def __init__(
        self, per_minute: int, monotonic: Callable[[], float], sleep: Callable[[float], Awaitable[object]]
    ) -> None:
        self.batch = max(1, min(MOST, per_minute // 10))
        self._seconds = _MINUTE / max(1, per_minute - 2 * self.batch)
        self._monotonic = monotonic
        self._sleep = sleep
        self._free_at: float | None = None

    async def wait(self, people: int) -> None:
        """Wait until so many people may be evaluated."""
        now = self._monotonic()
        if self._free_at is not None and self._free_at > now:
            await self._sleep(self._free_at - now)
            now = self._free_at
        self._free_at = now + people * self._seconds


class Sweeping:
    """A sweep that this process runs.

    Args:
        run: the sweep, which this process has taken.
        pace: limits the number of subjects a minute.
        watch: is called with the progress after each batch.
    """

    def __init__(self, services: Services, tenant: TenantId, run: SweepRun, pace: Pace, watch: Watch | None) -> None:
        self._services = services
        self._tenant = tenant
        self._run = run
        self._pace = pace
        self._watch = watch

    async def to_its_end(self) -> SweepRun:
        """Run the sweep to its end.

        Returns:
            the progress. The sweep is not finished if it has to be confirmed first.

        Raises:
            Overtaken: another process has taken it over.
            Unavailable: a database does not answer; the next runner continues from here.
        """
        # First: what a killed sweep has taken out of the data must lose its keys, whatever this one finds to do.
        await self._end_interrupted_erasures()
        while True:
            try:
                if not await self._may_continue():
                    return await self._stop()
                subjects = await self._next()
                if not subjects:
                    break
                await self._pace.wait(len(subjects))
                if not await self._process(subjects):
                    break
            except PoliciesChanged:
                await self._services.policies.refresh()
                async with self._services.data.reading() as connection:
                    is_newest = await self._services.policies.is_newest(connection, self._tenant)
                if not is_newest:  # policies that another node applied do not load here
                    return await self._stop()
        await self._scrub()
        async with self._services.data.transaction() as connection:
            await finish_sweep(connection, self._tenant, self._run, self._services.clock.now())
        return self._run

    async def note(self, connection: AsyncConnection, counts: Counts, **changes: Any) -> None:
        """Save the progress in the transaction that made it."""
        run = replace(self._run, changed_at=self._services.clock.now(), counts=self._run.counts + counts, **changes)
        # The row names its runner: who does not find its own name any more has been overtaken, and rolls back.
        if not await save_sweep(connection, self._tenant, run):
            raise Overtaken
        self._run = run

    async def _end_interrupted_erasures(self) -> None:
        while True:
            async with self._services.data.reading() as connection:
                erasures = await unfinished_sweep_erasures(connection, self._tenant, AT_ONCE)
            await end_erasures(self._services, self._tenant, erasures)
            if len(erasures) < AT_ONCE:
                return

    def _due_by(self) -> datetime | None:
        """Return the moment by which records count as due; None: all subjects are evaluated."""
        # Records that were put off are due later, also if the sweep was created by a node whose clock is ahead.
        return min(self._run.started_at, self._services.clock.now()) if self._run.kind == "due" else None

    async def _next(self) -> list[SubjectId]:
        database, due, most = self._services.data, self._due_by(), self._pace.batch
        if due is not None:
            return await due_people(database, self._tenant, due, most=most)
        return await people_after(database, self._tenant, after=self._run.cursor or _FIRST, most=most)

    async def _may_continue(self) -> bool:
        """Tell whether the sweep may continue: if it would erase too much, only once it is confirmed."""
        run = self._run
        active = self._services.policies.active(self._tenant)
        if run.policy != active.version:  # all subjects are evaluated by the policies that are in force now
            of = run.counts.people + await count_people(self._services.data, self._tenant, None)
            counts = replace(run.counts, of=of)
            run = replace(run, kind="all", policy=active.version, cursor=None, check=None, counts=counts)
            self._run = run
        # A confirmation is for the policies that were confirmed, and ends with them.
        if run.confirmed == run.policy:
            return True
        today = self._services.clock.now().date()
        if run.check is None or (run.check.is_too_much and run.check.on != today):
            await self._check(today, active.policy_set.schedule.most_percent)
        return not self._run.is_held_up

    async def _check(self, today: date, percent: int) -> None:
        """Count the subjects that would lose something; if there are too few to matter, none is evaluated."""
        of = await count_people(self._services.data, self._tenant, None)
        most = most_of(of, percent)
        check = Check(today, await self._count_losing() if self._run.counts.of > most else 0, of, most)
        async with self._services.data.transaction() as connection:
            await self.note(connection, Counts(), check=check)
            if self._run.is_held_up:
                log.error(
                    "a sweep would take something from unusually many people, and waits: cdv retention sweep --confirm",
                    tenant=self._tenant,
                    count=check.people,
                )
                facts = {"decision": "failed", "code": "to-confirm", "target": self._run.id, "policy": self._run.policy}
                entry = sweep_entry(self._services, self._tenant, **facts)
                await self._services.audit_log.append_in(connection, [entry])

    async def _count_losing(self) -> int:
        database, due = self._services.data, self._due_by()
        losing, after, most = 0, _FIRST, self._pace.batch
        while True:
            if due is None:
                subjects = await people_after(database, self._tenant, after=after, most=most)
            else:
                subjects = await due_people_after(database, self._tenant, due, after=after, most=most)
            await self._pace.wait(len(subjects))
            evaluations, _unreadable = await self._evaluate(subjects)
            plans = [evaluation.plan for evaluation in evaluations]
            # A person with restricted data is put off, and loses nothing by this sweep (Art. 18(1)(b) and (c)).
            losing += len([plan for plan in plans if plan.erases and plan.row.state != "restricted"])
            async with database.transaction() as connection:
                await self.note(connection, Counts())  # a sign of life
            if len(subjects) < most:
                return losing
            after = subjects[-1]

    async def _stop(self) -> SweepRun:
        async with self._services.data.transaction() as connection:
            await self.note(connection, Counts())
            await leave_sweep(connection, self._tenant, self._run)
        return replace(self._run, runner=None)

    async def _process(self, subjects: Sequence[SubjectId]) -> bool:
        """Process some subjects; returns whether the sweep made progress."""
        evaluations, unreadable = await self._evaluate(subjects)
        acting = [evaluation for evaluation in evaluations if evaluation.plan.acts]
        if acting:
            async with self._services.data.reading() as connection:
                sizes = await count_records(connection, self._tenant, [each.plan.subject for each in acting])
            for portion in _portions(acting, sizes, MOST_RECORDS[self._services.data.dialect]):
                unreadable += await self._apply(portion)
        if unreadable:
            await put_off_unreadable(self._services, self._tenant, self._run.id, unreadable, self.note)
        plans = [evaluation.plan for evaluation in evaluations]
        records = sum(len(plan.records) for plan in plans)
        async with self._services.data.transaction() as connection:
            await self._put_off(connection, [plan for plan in plans if not plan.acts])
            await self.note(connection, Counts(people=len(subjects), records=records), cursor=subjects[-1])
        if self._watch is not None:
            self._watch(self._run)
        return bool(self._run.kind == "all" or unreadable or records)

    async def _apply(self, evaluations: Sequence[Evaluation]) -> list[SubjectId]:
        """Erase what has ended; returns the subjects with a value that does not open. They do not hold up others."""
        unreadable = []
        try:
            await apply_plans(self._services, self._tenant, self._run.id, evaluations, self.note)
        except CannotOpen:
            # One by one now, so that one value that does not open keeps back its subject alone.
            for evaluation in evaluations:
                try:
                    await apply_plans(self._services, self._tenant, self._run.id, [evaluation], self.note)
                except CannotOpen:
                    unreadable.append(evaluation.plan.subject)
        return unreadable

    async def _evaluate(self, subjects: Sequence[SubjectId]) -> tuple[list[Evaluation], list[SubjectId]]:
        """Evaluate subjects; also returns those whose data cannot be read, or that no longer exist."""
        policy_set = self._services.policies.active(self._tenant).policy_set
        if policy_set.version != self._run.policy:
            raise PoliciesChanged
        due = self._due_by()
        async with self._services.data.reading() as connection:
            found = await self._services.subjects.people(connection, self._tenant, subjects)
            rows = [row for row in found if row.state != "erased"]
            people = await load_subjects(connection, self._tenant, rows, due=due)
        now = self._services.clock.now()
        evaluations = []
        for number, person in enumerate(people):
            with suppress(CannotOpen):
                plan = evaluate(policy_set, person, now)
                evaluations.append(Evaluation(person, policy_set, now.date().toordinal(), plan))
            if number % 10 == 0:
                await asyncio.sleep(0)
        evaluated = {evaluation.plan.subject for evaluation in evaluations}
        # In a full sweep the cursor passes over subjects that no longer exist; else they would be due again and again.
        expected = subjects if due else [SubjectId(person.row.id) for person in people]
        return evaluations, [subject for subject in expected if subject not in evaluated]

    async def _put_off(self, connection: AsyncConnection, plans: Sequence[SubjectPlan]) -> None:
        # Locked, so that a mark which a writer has set in between is seen, and not overwritten.
        await self._services.subjects.locked_many(connection, self._tenant, [plan.subject for plan in plans])
        records = [record for plan in plans for record in plan.records]
        later = [postponed(record) for record in records if record.row.due_at != record.due]
        await put_off(self._services.data, connection, self._tenant, later)
        await close_reviews(connection, self._tenant, [(record.place, record.closed) for record in records])

    async def _scrub(self) -> None:
        """Clean the databases' files of deleted rows, if that is possible now; the next sweep tries again."""
        if not self._run.counts.deletes:
            return
        tables = owned_tables(self._services.personal_data)
        for _ in range(_SCRUBS):
            if await self._services.keyring.scrub() and await self._services.data.scrub(tables):
                return
            await asyncio.sleep(0)
        log.info("deleted rows are still in the files of the databases", tenant=self._tenant)


def _portions(
    evaluations: Sequence[Evaluation], sizes: Mapping[SubjectId, int], most: int
) -> Iterator[list[Evaluation]]:
    """Split subjects into portions for one transaction each: of at most so many records, but at least one subject."""
    portion: list[Evaluation] = []
    size = 0
    for evaluation in evaluations:
        records = sizes.get(evaluation.plan.subject, 0)
        if portion and size + records > most:
            yield portion
            portion, size = [], 0
        portion.append(evaluation)
        size += max(records, 1)
    yield portion


async def run_sweep(
    services: Services, tenant: TenantId, sweep: UUID, pace: Pace, watch: Watch | None = None, *, confirm: bool = False
) -> SweepRun | None:
    """Run a sweep to its end, or until it has to be confirmed; None if another process runs it, or it has ended.

    Args:
        confirm: confirm what it erases by the policies in force, from however many subjects.

    Raises:
        Unavailable: a database does not answer; the next runner continues from there.
    """
    async with services.data.transaction() as connection:
        run = await take_sweep(connection, tenant, sweep, random_id(), services.clock.now())
        if run is not None and confirm:
            version = services.policies.active(tenant).version
            run = replace(run, confirmed=version)
            await save_sweep(connection, tenant, run)
            facts = {"decision": "allowed", "code": "confirmed", "target": run.id, "policy": version}
            await services.audit_log.append_in(connection, [sweep_entry(services, tenant, **facts)])
    if run is None:
        return None
    try:
        return await Sweeping(services, tenant, run, pace, watch).to_its_end()
    except Overtaken:
        return None
    except BaseException:
        with suppress(Unavailable):
            async with services.data.transaction() as connection:
                await leave_sweep(connection, tenant, run)
        raise
