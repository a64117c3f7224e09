"""The harness kills jobs at every point that it names."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tests.jobs.killing import Killable, every
from tests.jobs.steps import ALL, done, prepare

SMALL = "tests.jobs.steps:SMALL"


async def test_a_job_killed_at_any_point_completes_in_the_next_run(node):
    await prepare(node.services)
    points = await Killable(node.place, SMALL, uuid4()).points()
    assert points[:4] == ["first.before#1", "data.commit#1", "data.committed#1", "first.after#1"]
    assert points[-1] == "third.after#1"
    for point in every(points, 5):
        job = Killable(node.place, SMALL, uuid4())
        assert await job.killed_at(point)
        before = await done(node.services, job.id)
        assert len(before) < len(ALL) or point in {"data.committed#4", "third.after#1"}
        await job.run()
        assert await done(node.services, job.id) == ALL


async def test_a_kill_before_a_commit_loses_the_transaction_and_one_after_it_does_not(sqlite_node):
    node = sqlite_node
    await prepare(node.services)
    one, other = uuid4(), uuid4()
    assert await Killable(node.place, SMALL, one).killed_at("data.commit#1")
    assert await done(node.services, one) == []
    assert await Killable(node.place, SMALL, other).killed_at("data.committed#1")
    assert await done(node.services, other) == [("first", 1)]


async def test_a_kill_point_that_is_not_reached_kills_no_process(sqlite_node):
    await prepare(sqlite_node.services)
    assert not await Killable(sqlite_node.place, SMALL, uuid4()).killed_at("data.commit#99")


async def test_a_named_function_has_kill_points(sqlite_node):
    await prepare(sqlite_node.services)
    job = Killable(sqlite_node.place, "tests.jobs.steps:STEPS", uuid4(), also=("tests.jobs.steps:write",))
    assert await job.killed_at("write.before#1")
    assert await done(sqlite_node.services, job.id) == []
    assert [point for point in await job.points() if point.startswith("write")] == [
        f"write.{when}#{number}" for number in (1, 2, 3, 4) for when in ("before", "after")
    ]


async def test_a_failed_job_is_distinguished_from_a_killed_one(sqlite_node):
    with pytest.raises(AssertionError, match="the job ended with 1"):
        await Killable(sqlite_node.place, SMALL, uuid4()).run()  # there is no table
