"""Periodic work: whatever it raises, it runs again, and readiness says so when it is behind."""

from __future__ import annotations

import asyncio

import pytest

from vault.errors import Unavailable
from vault.periodic import LEAST_PATIENCE, LONGEST_WAIT, MISSED, PeriodicTasks

SOON = 0.001


class Work:
    """Fails as often as it is told; then it succeeds."""

    def __init__(self, *errors):
        self.errors = list(errors)
        self.calls = 0
        self.succeeded = asyncio.Event()

    async def __call__(self):
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        self.succeeded.set()


@pytest.fixture
def seconds():
    return [0.0]


@pytest.fixture
async def tasks(seconds):
    tasks = PeriodicTasks(clock=lambda: seconds[0])
    yield tasks
    await tasks.stop()


@pytest.mark.parametrize(
    "error", [RuntimeError("x"), RecursionError(), TimeoutError(), Unavailable("gone"), KeyError(1)]
)
async def test_work_that_failed_runs_again(tasks, error):
    work = Work(error, error)
    tasks.start("work", SOON, work)
    async with asyncio.timeout(10):
        await work.succeeded.wait()

    assert tasks.stats()["work"]["failures"] == 2


async def test_required_work_is_behind_until_it_succeeds(tasks, seconds):
    failing, optional = Work(*[RuntimeError()] * 1_000_000), Work(*[RuntimeError()] * 1_000_000)
    tasks.start("follow-policies", SOON, failing, required=True)
    tasks.start("run-jobs", SOON, optional)
    assert tasks.behind() == []
    seconds[0] = LEAST_PATIENCE + 1
    assert tasks.behind() == ["follow-policies"]
    failing.errors.clear()
    async with asyncio.timeout(LONGEST_WAIT + 10):
        await failing.succeeded.wait()
        await asyncio.sleep(0)

    assert tasks.behind() == []


async def test_slow_work_has_several_intervals(tasks, seconds):
    work = Work()
    tasks.start("slow", 60, work, required=True)
    await work.succeeded.wait()
    seconds[0] = MISSED * 60
    assert tasks.behind() == []
    seconds[0] += 1
    assert tasks.behind() == ["slow"]


async def test_attempts_become_rarer_up_to_a_limit(tasks):
    work = Work(*[RuntimeError()] * 1_000_000)
    tasks.start("work", 0.0, work)
    state = tasks._work["work"]
    state.seconds, waits = 2.0, []
    for state.failures_in_a_row in range(8):
        waits.append(state.wait)

    assert waits == [2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0, 30.0]


async def test_stopping_ends_a_call_that_runs(tasks):
    started = asyncio.Event()

    async def hang():
        started.set()
        await asyncio.Event().wait()

    tasks.start("hang", SOON, hang)
    await started.wait()
    async with asyncio.timeout(10):
        await tasks.stop()
