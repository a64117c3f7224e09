"""Small jobs for tests. They write rows into the vault's database."""

from __future__ import annotations

import asyncio

from sqlalchemy import text

from vault.errors import Conflict, Unavailable
from vault.jobs.workflow import Plan, Workflow

_TABLE = """
CREATE TABLE IF NOT EXISTS test_done (job VARCHAR(36), step VARCHAR(20), number INTEGER, PRIMARY KEY (job, step, number))
"""


async def prepare(services):
    async with services.data.transaction() as connection:
        await connection.execute(text(_TABLE))


async def write(services, job, step, number=1):
    async with services.data.transaction() as connection:
        await connection.execute(
            text("INSERT INTO test_done VALUES (:job, :step, :number) ON CONFLICT DO NOTHING"),
            {"job": str(job), "step": step, "number": number},
        )


async def done(services, job):
    async with services.data.reading() as connection:
        statement = text("SELECT step, number FROM test_done WHERE job = :job ORDER BY step, number")
        return [tuple(row) for row in await connection.execute(statement, {"job": str(job)})]


async def first(services, tenant, job):
    await write(services, job, "first")


async def second(services, tenant, job):
    """Return a delay, the first time."""
    before = await done(services, job)
    await write(services, job, "second", 1 if ("second", 1) not in before else 2)
    return 0.01 if ("second", 1) not in before else None


async def third(services, tenant, job):
    await write(services, job, "third")


async def slow(services, tenant, job):
    """Take so long that a test can kill the process before the end."""
    if ("slow", 1) not in await done(services, job):
        await write(services, job, "slow")
        await asyncio.sleep(3600)


async def gone(services, tenant, job):
    """Raise Unavailable, the first two times."""
    times = len(await done(services, job))
    await write(services, job, "gone", times)
    if times < 3:
        raise Unavailable("gone")


async def refused(services, tenant, job):
    raise Conflict("Ada Lovelace is there already", code="subject-there")


async def broken(services, tenant, job):
    raise ValueError("ada@example.org")


async def later(services, tenant, job):
    return 3600.0


STEPS = (("first", first), ("second", second), ("third", third))
SMALL = Workflow("small", STEPS)
ALL = [("first", 1), ("second", 1), ("second", 2), ("third", 1)]
SLOW = Workflow("slow", (("first", first), ("slow", slow), ("third", third)))
AFTER_ALL = [("first", 1), ("slow", 1), ("third", 1)]
GONE = Workflow("gone", (("first", first), ("gone", gone)))
REFUSED = Workflow("refused", (("first", first), ("refused", refused)))
BROKEN = Workflow("broken", (("broken", broken),))
LATER = Workflow("later", (("first", first), ("later", later)))
WORKFLOWS = {item.name: item for item in (SMALL, SLOW, GONE, REFUSED, BROKEN, LATER)}


def plan(*pending, sweeps=None):
    """A plan in which this work is always pending."""

    async def ask():
        return list(pending)

    return Plan(WORKFLOWS, ask, sweeps or {})
