"""A job whose process is killed is completed by the next process, or by another one that is running."""

from __future__ import annotations

import asyncio
import time
from uuid import uuid4

from tests.jobs.steps import AFTER_ALL, WORKFLOWS, done, prepare
from tests.jobs.workers import PATIENCE, worker
from vault.ids import DEFAULT_TENANT
from vault.jobs.workflow import Work


async def reached(services, job, *steps):
    """Wait until a job has done these steps."""
    ends = time.monotonic() + PATIENCE
    while time.monotonic() < ends:
        if {step for step, _ in await done(services, job)} >= set(steps):
            return
        await asyncio.sleep(0.02)
    raise AssertionError("the job did not come there in time")


async def ended(services, job):
    ends = time.monotonic() + PATIENCE
    while time.monotonic() < ends:
        if await services.jobs.find(WORKFLOWS, DEFAULT_TENANT, states=["done"], of=job, limit=1):
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the job did not end in time")


async def test_a_job_whose_process_was_killed_completes_after_a_restart(node):
    await prepare(node.services)
    job = uuid4()
    with worker(node.place, Work("slow", DEFAULT_TENANT, job)):
        await reached(node.services, job, "first", "slow")
    assert await done(node.services, job) == AFTER_ALL[:2]
    with worker(node.place):  # nothing is pending for this one: it knows of the job from the other only
        await reached(node.services, job, "first", "slow", "third")
        await ended(node.services, job)
    assert await done(node.services, job) == AFTER_ALL


async def test_workers_share_the_jobs_and_take_over_those_of_a_dead_worker(postgres_node):
    node = postgres_node
    await prepare(node.services)
    slow = [Work("slow", DEFAULT_TENANT, uuid4()) for _ in range(2)]
    with worker(node.place, *slow) as one:
        for work in slow:
            await reached(node.services, work.id, "slow")
        small = [Work("small", DEFAULT_TENANT, uuid4()) for _ in range(6)]
        with worker(node.place, *small):
            for work in small:
                await reached(node.services, work.id, "third")
            assert [await done(node.services, work.id) for work in slow] == [
                AFTER_ALL[:2]
            ] * 2  # not taken from the living
            one.kill()
            for work in slow:
                await reached(node.services, work.id, "third")
                await ended(node.services, work.id)
    for work in slow:
        assert await done(node.services, work.id) == AFTER_ALL
