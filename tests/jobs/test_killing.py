"""The harness that kills jobs does kill them, at every point that it names."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tests.jobs.killing import Killable, every
from tests.jobs.steps import ALL, done, prepare

SMALL = "tests.jobs.steps:SMALL"


async def test_a_job_that_is_killed_at_any_point_ends_in_the_next_run(node):
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


async def test_nothing_is_committed_before_a_commit_and_all_is_after_it(sqlite_node):
    node = sqlite_node
    await prepare(node.services)
    one, other = uuid4(), uuid4()
    assert await Killable(node.place, SMALL, one).killed_at("data.commit#1")
    assert await done(node.services, one) == []
    assert await Killable(node.place, SMALL, other).killed_at("data.committed#1")
    assert await done(node.services, other) == [("first", 1)]


async def test_a_point_that_is_never_passed_kills_nobody(sqlite_node):
    await prepare(sqlite_node.services)
    assert not await Killable(sqlite_node.place, SMALL, uuid4()).killed_at("data.commit#99")


async def test_a_named_function_has_points_as_well(sqlite_node):
    await prepare(sqlite_node.services)
    job = Killable(sqlite_node.place, "tests.jobs.steps:STEPS", uuid4(), also=("tests.jobs.steps:write",))
    assert await job.killed_at("write.before#1")
    assert await done(sqlite_node.services, job.id) == []
    assert [each for each in await job.points() if each.startswith("write")] == [
        f"write.{when}#{number}" for number in (1, 2, 3, 4) for when in ("before", "after")
    ]


async def test_a_job_that_fails_is_told_from_one_that_is_killed(sqlite_node):
    with pytest.raises(AssertionError, match="the job ended with 1"):
        await Killable(sqlite_node.place, SMALL, uuid4()).run()  # there is no table
