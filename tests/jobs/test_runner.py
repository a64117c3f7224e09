"""Jobs in this process: they run once, wait without occupying a worker, and are retried."""

from __future__ import annotations

import asyncio
import shutil
import time
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy.exc import OperationalError

from tests.jobs.steps import ALL, WORKFLOWS, done, plan, prepare
from vault.errors import Unavailable
from vault.ids import DEFAULT_TENANT, TenantId
from vault.jobs import store, worker
from vault.jobs.database import Leases
from vault.jobs.runner import Jobs
from vault.jobs.workflow import Sweep, Work
from vault.periodic import PeriodicTasks

WORK = {"renew-lease", "take-over", "begin-pending", "start-sweeps"}
"""What a worker does every few seconds."""
PATIENCE = 60.0
"""Seconds to wait; generous, because a loaded machine must not fail a test."""


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    monkeypatch.setattr(worker, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(worker, "NAP_SECONDS", 0.01)
    monkeypatch.setattr(worker, "FIRST_WAIT", 0.05)
    monkeypatch.setattr(store, "FIRST_REST", 0.05)
    monkeypatch.setattr("dbos._workflow_commands._BACKGROUND_JOBS_INTERVAL_SEC", 0.05)


@pytest.fixture
async def made(tmp_path_factory):
    """A database of jobs with its tables: creating them takes a second."""
    if not _made:
        path = tmp_path_factory.mktemp("jobs") / "jobs.sqlite"
        async with tended(Jobs(f"sqlite:///{path}", takeover=1), None):
            pass
        _made.append(path)
    return _made[0]


_made: list[Path] = []


@pytest.fixture
def jobs(made, sqlite_node):
    """The jobs of a vault on SQLite."""
    path = sqlite_node.place.folder / "jobs.sqlite"
    shutil.copy(made, path)
    return Jobs(f"sqlite:///{path}", takeover=1)


@asynccontextmanager
async def tended(jobs, services, *pending, **more):
    """Run jobs during the block."""
    periodic = repeating(jobs, services, *pending, **more)
    try:
        await until(lambda: jobs._store is not None)
        yield jobs
    finally:
        await periodic.stop()


def repeating(jobs, services, *pending, clock=time.monotonic, **more):
    """Run jobs as a vault does: once, and again after a failure."""
    periodic = PeriodicTasks(clock)
    periodic.start("run-jobs", 0.05, partial(jobs.run_worker, services, plan(*pending, **more), periodic))
    return periodic


async def until(is_so):
    """Call a function until its result is true; returns the result."""
    ends = time.monotonic() + PATIENCE
    while time.monotonic() < ends:
        result = is_so()
        if asyncio.iscoroutine(result):
            result = await result
        if result:
            return result
        await asyncio.sleep(0.02)
    raise AssertionError("it did not come to pass in time")


async def found(jobs, *states, of=None, tenant=DEFAULT_TENANT):
    states = states or ("waiting", "running", "failed", "done")
    return await jobs.find(WORKFLOWS, tenant, states=states, of=of, limit=100)


async def test_a_job_that_is_started_twice_runs_once_to_its_end(node):
    """On both databases, with no tables yet. On PostgreSQL they are in a schema of the main database."""
    await prepare(node.services)
    jobs, job = Jobs(node.vault.settings.jobs_url, takeover=1), uuid4()
    async with tended(jobs, node.services):
        await asyncio.gather(*(jobs.start("small", DEFAULT_TENANT, job) for _ in range(3)))
        (one,) = await until(lambda: found(jobs, "done"))
        assert len(jobs._store.attempts(Work("small", DEFAULT_TENANT, job))) == 2  # it waited once in between
    assert (one.workflow, one.tenant, one.id, one.run, one.state) == ("small", "default", job, 0, "done")
    assert (one.step, one.code, one.next_at) == (None, None, None)
    assert await done(node.services, job) == ALL
    if node.place.dialect == "sqlite":
        assert (node.place.folder / "jobs.sqlite").stat().st_mode & 0o777 == 0o600
    else:
        assert not (node.place.folder / "jobs.sqlite").exists()


async def test_pending_work_that_was_never_started_is_started(sqlite_node, jobs):
    await prepare(sqlite_node.services)
    some = [Work("small", DEFAULT_TENANT, uuid4(), run) for run in range(3)]
    async with tended(jobs, sqlite_node.services, *some):
        for work in some:
            await until(lambda work=work: _has_all(sqlite_node.services, work.id))


async def _has_all(services, job):
    return await done(services, job) == ALL


async def test_a_job_is_retried_from_the_failed_step_when_the_database_is_unavailable(sqlite_node, jobs):
    await prepare(sqlite_node.services)
    job = uuid4()
    async with tended(jobs, sqlite_node.services):
        await jobs.start("gone", DEFAULT_TENANT, job)
        await until(lambda: found(jobs, "done"))
        attempts = jobs._store.attempts(Work("gone", DEFAULT_TENANT, job))
    assert [(attempt.begin, attempt.failures, attempt.code) for attempt in attempts] == [
        ("", 0, None),
        ("gone", 1, "unavailable"),
        ("gone", 2, "unavailable"),
    ]


async def test_a_failed_job_has_an_error_code_and_is_started_again_while_it_is_pending(sqlite_node, jobs):
    await prepare(sqlite_node.services)
    refused, broken = Work("refused", DEFAULT_TENANT, uuid4()), Work("broken", DEFAULT_TENANT, uuid4())
    async with tended(jobs, sqlite_node.services, refused, broken):

        async def tried():
            said = await found(jobs)
            return len(said) == 2 and all(item.attempts >= 3 for item in said)

        await until(tried)
        codes = {item.workflow: item.code for item in await found(jobs)}
        assert codes == {"refused": "subject-there", "broken": "internal-error"}
    await until(lambda: not worker._instance.locked())
    assert {item.step for item in await found(jobs, of=refused.id)} <= {"first", "refused"}
    for name in ("jobs.sqlite", "jobs.sqlite-wal"):
        file = sqlite_node.place.folder / name
        if file.exists():
            assert not any(word in file.read_bytes() for word in (b"Ada", b"Lovelace", b"ada@example", b"already"))


async def test_a_job_that_waits_is_listed_as_waiting_and_occupies_no_worker(sqlite_node, jobs):
    await prepare(sqlite_node.services)
    some = [uuid4() for _ in range(worker.CONCURRENCY + 1)]
    async with tended(jobs, sqlite_node.services):
        for job in some:
            await jobs.start("later", DEFAULT_TENANT, job)

        async def waiting():
            said = await found(jobs, "waiting")
            return said if len([item for item in said if item.next_at]) == len(some) else None

        said = await until(waiting)
        assert {(item.step, item.attempts, item.code) for item in said} == {("later", 1, None)}
        assert all(timedelta(minutes=59) < item.next_at - item.since < timedelta(minutes=61) for item in said)
        await jobs.start("small", DEFAULT_TENANT, some[0])
        await until(lambda: _has_all_but_first(sqlite_node.services, some[0]))


async def _has_all_but_first(services, job):
    return ("third", 1) in await done(services, job)


async def test_an_unknown_job_fails_and_the_others_continue(sqlite_node, jobs):
    await prepare(sqlite_node.services)
    async with tended(jobs, sqlite_node.services):
        await jobs.start("never-heard-of", DEFAULT_TENANT, uuid4())
        await jobs.start("small", DEFAULT_TENANT, job := uuid4())
        await until(lambda: _has_all(sqlite_node.services, job))
        (one,) = await until(lambda: found(jobs, "failed"))
    assert one.code == "unknown-job"


async def test_a_tenant_sees_only_its_own_jobs(sqlite_node, jobs):
    await prepare(sqlite_node.services)
    job = uuid4()
    async with tended(jobs, sqlite_node.services):
        for tenant in ("default", "default-2"):
            await jobs.start("small", TenantId(tenant), job)
        await until(lambda: found(jobs, "done"))
        await until(lambda: found(jobs, "done", tenant="default-2"))
    assert {item.tenant for item in await found(jobs)} == {"default"}
    assert await found(jobs, tenant="defaul") == []
    assert len(await found(jobs, of=job)) == 1
    assert await found(jobs, of=uuid4()) == []


async def test_a_sweep_runs_in_one_process_and_again_after_its_interval(sqlite_node, jobs):
    times = []

    async def sweep():
        times.append(time.monotonic())
        if len(times) == 1:
            raise ValueError("the first time fails")

    async with tended(jobs, sqlite_node.services, sweeps={"small": Sweep(0.2, sweep), "rare": Sweep(3600, sweep)}):
        await until(lambda: len(times) >= 4)
    assert sum(later - sooner >= 0.15 for sooner, later in pairwise(times)) >= 2


async def test_a_stopping_process_cancels_a_long_step_and_another_process_completes_the_job(
    sqlite_node, jobs, monkeypatch
):
    monkeypatch.setattr(worker, "GRACE_SECONDS", 0.05)
    await prepare(sqlite_node.services)
    job, other = uuid4(), Jobs(f"sqlite:///{sqlite_node.place.folder / 'jobs.sqlite'}", takeover=1)
    async with tended(jobs, sqlite_node.services):
        await jobs.start("slow", DEFAULT_TENANT, job)
        await until(lambda: _has_begun(sqlite_node.services, job))
    (left,) = await found(jobs)
    assert (left.state, left.step) == ("running", "slow")
    async with tended(other, sqlite_node.services):
        await until(lambda: found(other, "done"))
    assert ("third", 1) in await done(sqlite_node.services, job)


async def _has_begun(services, job):
    return ("slow", 1) in await done(services, job)


async def test_two_vaults_in_one_process_run_their_jobs_in_turn(sqlite_node, jobs, tmp_path):
    await prepare(sqlite_node.services)
    other, job = Jobs(f"sqlite:///{tmp_path / 'other'}.sqlite", takeover=1), uuid4()
    async with tended(jobs, sqlite_node.services):
        periodic = repeating(other, sqlite_node.services, Work("small", DEFAULT_TENANT, job))
        await jobs.start("small", DEFAULT_TENANT, first := uuid4())
        await until(lambda: _has_all(sqlite_node.services, first))
        await until(lambda: periodic.stats()["run-jobs"]["failures"] >= 1)
        assert other._store is None
    await until(lambda: _has_all(sqlite_node.services, job))
    await periodic.stop()


async def test_a_worker_runs_once_and_raises_what_stops_it(sqlite_node, jobs, tmp_path):
    other = Jobs(f"sqlite:///{tmp_path / 'other'}.sqlite", takeover=1)
    async with tended(jobs, sqlite_node.services):
        with pytest.raises(Unavailable, match="jobs of another vault"):
            await other.run_worker(sqlite_node.services, plan(), PeriodicTasks())
    unreachable = Jobs(f"sqlite:///{tmp_path / 'no' / 'such' / 'folder'}.sqlite", takeover=1)
    with pytest.raises(FileNotFoundError):
        await unreachable.run_worker(sqlite_node.services, plan(), PeriodicTasks())


async def test_the_work_of_a_worker_is_counted_and_required_while_it_runs(sqlite_node, jobs, monkeypatch):
    seconds, is_broken, hold = [0.0], [False], Leases.hold

    def hold_or_fail(*args):
        if is_broken[0]:
            raise OperationalError("", None, Exception())
        hold(*args)

    monkeypatch.setattr(Leases, "hold", hold_or_fail)
    periodic = repeating(jobs, sqlite_node.services, clock=lambda: seconds[0])
    try:
        await until(lambda: jobs._store is not None)
        assert periodic.stats().keys() == {"run-jobs", *WORK}
        assert periodic.behind() == []
        is_broken[0] = True
        failures = periodic.stats()["renew-lease"]["failures"]
        await until(lambda: periodic.stats()["renew-lease"]["failures"] > failures)
        seconds[0] = 1_000.0
        await until(lambda: periodic.behind() == ["renew-lease"])  # the others succeed again at the new time
    finally:
        await periodic.stop()
    assert periodic.stats().keys() == {"run-jobs"}


async def test_a_process_without_a_worker_starts_no_job_and_creates_no_file(sqlite_node):
    jobs = Jobs(sqlite_node.vault.settings.jobs_url)
    await jobs.start("small", DEFAULT_TENANT, uuid4())
    assert await found(jobs) == []
    assert not (sqlite_node.place.folder / "jobs.sqlite").exists()


async def test_a_job_in_the_foreground_reports_its_steps_and_stops_when_it_has_to_wait(sqlite_node, jobs):
    await prepare(sqlite_node.services)
    job, reports = uuid4(), []

    async def run():
        small = WORKFLOWS["small"]
        return await jobs.run_in_foreground(sqlite_node.services, small, DEFAULT_TENANT, job, watch=reports.append)

    assert await run() == 0.01
    assert reports == ["first", "second"]
    assert await run() is None
    assert await done(sqlite_node.services, job) == ALL


async def test_old_jobs_are_deleted_in_batches(sqlite_node, jobs, monkeypatch):
    monkeypatch.setattr(store, "_DELETE_BATCH", 1)
    await prepare(sqlite_node.services)
    job = uuid4()
    async with tended(jobs, sqlite_node.services):
        await jobs.start("small", DEFAULT_TENANT, job)
        (one,) = await until(lambda: found(jobs, "done"))
        assert jobs._store.forget(one.since - timedelta(days=1)) == 0
        assert jobs._store.forget(one.since + timedelta(days=1)) == 2
        assert await found(jobs) == []
