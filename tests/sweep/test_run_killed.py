"""A sweep whose process is killed at any point is continued by another process, and concurrent calls succeed."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from uuid import UUID

import pytest

from tests.jobs.killing import Killable, every
from tests.support import FixedClock
from tests.sweep.people import ADA, DEFAULT_TENANT, keys_of, rows_of, somebody, state_of, there
from vault.clock import rfc3339
from vault.sweep.store import SILENT, find_sweep
from vault.sweep.workflow import lay_down, sweep_step

SWEEP = "vault.sweep.workflow:SWEEP"
INSIDE = (
    "vault.consent.personal_data:ConsentData.reseal",
    "vault.consent.personal_data:ConsentData.erase",
    "vault.subjects.store:Subjects.close",
    "vault.sweep.apply:end_erasures",
    "vault.sweep.run:put_off",
)
THEN, NOW = datetime(2022, 2, 1, 12, tzinfo=UTC), FixedClock().now()
KEPT = {"profile.name": ["Ada"], "purchase.order": ["order-0"]}


async def prepare(node, number, clock):
    """Make a subject with values that accounting keeps, one whose values have all ended, and a sweep for both."""
    clock.advance(seconds=(THEN - clock.now()).total_seconds())
    mail = {"email": f"ada{number}@example.org", "phone": ADA["phone"]}
    in_books = await somebody(
        node, profile={"name": "Ada", **mail}, external_ids={"shop": str(number)}, bought=["2022-01-05T12:00:00Z"]
    )
    over = await node.create({"name": "Bob"}, external_ids={"shop": f"bob-{number}"})
    clock.advance(seconds=(NOW - clock.now()).total_seconds())
    run = await lay_down(node.services, DEFAULT_TENANT)
    return in_books, over, Killable(node.place, SWEEP, run.id, moment=NOW, also=INSIDE)


async def resumed(node, clock, job):
    """Continue the sweep in this process, once the killed one has been silent for long enough."""
    clock.advance(seconds=SILENT.total_seconds() + 1)
    assert await sweep_step(node.services, DEFAULT_TENANT, job.id) is None


async def working(node, living, until: asyncio.Event) -> list[str]:
    """Read and write until stopped; returns the failures."""
    wrong = []
    number = 0
    while not until.is_set():
        number += 1
        read = await node.read("sales", living, ["name", "phone"], "order-fulfilment")
        if read.status_code != 200 or read.json()["fields"]["name"] != ADA["name"]:
            wrong.append(read.text)
        note = {"channel": "email", "body": f"Question {number}"}
        when = rfc3339(node.services.clock.now())  # the clock is set back for people of long ago
        written = await node.append("support", living, "interaction", note, "customer-support", occurred_at=when)
        is_set_back = written.json().get("code") == "event-in-future"  # while the request was under way
        if written.status_code != 201 and not is_set_back:
            wrong.append(written.text)
        await asyncio.sleep(0.1)
    return wrong


async def check_between(node, in_books, over):
    """Check that each subject has either all values or only those that stay, wherever the process was killed."""
    result = await there(node, in_books) if await keys_of(node, in_books) else {}
    assert {name: result.get(name) for name in KEPT} == KEPT
    assert set(result) - set(KEPT) <= OTHERS
    assert await state_of(node, in_books) == "active"
    if await state_of(node, over) == "erased":
        assert await rows_of(node, "record", over) == 0
    else:
        assert (await there(node, over))["profile.name"] == ["Bob"]


OTHERS = {
    "profile.email", "profile.phone", "profile.external_ids", "purchase.product", "purchase.amount",
    "purchase.currency",
}  # fmt: skip


async def check_ended(node, in_books, over, job):
    """Check the state after the completed sweep."""
    result = await there(node, in_books)
    assert {name: result.get(name) for name in KEPT} == KEPT
    assert not {"profile.email", "profile.phone"} & result.keys()
    assert await keys_of(node, in_books) == [max(await keys_of(node, in_books))]
    assert min(await keys_of(node, in_books)) > 1
    assert (await state_of(node, over), await keys_of(node, over)) == ("erased", [])
    entries = [entry for entry in await node.entries() if entry.action == "sweep" and entry.target == job.id]
    assert sorted(item.code for item in entries) == ["erased", "person-erased"]
    async with node.services.data.reading() as connection:
        run = await find_sweep(connection, DEFAULT_TENANT, job.id)
    assert run.finished_at is not None
    # a name and a number of one, two addresses of the other
    assert (run.counts.whole, run.counts.values["erased"]) == (1, 4)
    open_ = await node.sql("SELECT count(*) FROM erasure WHERE finished_at IS NULL")
    assert open_[0][0] == 0


async def kill_at(node, points, clock, living):
    for number, point in enumerate(points, 1):
        in_books, over, job = await prepare(node, number, clock)
        assert await job.killed_at(point), point
        await check_between(node, in_books, over)
        await resumed(node, clock, job)
        await check_ended(node, in_books, over, job)


@pytest.fixture
async def living(node):
    return await node.create()


async def test_a_sweep_killed_at_any_point_is_completed_by_the_next_run(node, clock, living):
    in_books, over, job = await prepare(node, 0, clock)
    passed = await job.points()
    await check_ended(node, in_books, over, job)
    points = [entry for entry in passed if ".after" not in entry]
    assert len(points) >= 20
    ended = asyncio.Event()
    work = asyncio.create_task(working(node, living, ended))
    try:
        await kill_at(node, every(points, 10), clock, living)
    finally:
        ended.set()
    assert await work == []


async def test_the_key_made_by_a_killed_sweep_opens_nothing_and_is_destroyed(node, clock):
    in_books, over, job = await prepare(node, 1, clock)
    assert await job.killed_at("keys.committed#1")
    assert await keys_of(node, in_books) == [1, 2]
    assert (await there(node, in_books))["profile.email"] == ["ada1@example.org"]
    await resumed(node, clock, job)
    assert await keys_of(node, in_books) == [3]
    assert UUID(over)
