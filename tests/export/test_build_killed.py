"""A build that is killed at any point is completed by the next attempt."""

from __future__ import annotations

import asyncio
import io

from tests.export.made_up import CONTENT, approved, request_of
from tests.jobs.killing import Killable
from tests.support import FixedClock
from tests.vaults import Node, fresh_place
from vault.bootstrap import open_vault
from vault.export.download import open_package
from vault.export.verify import check_archive

STEPS = "tests.export.made_up:MADE_UP"
AFTERWARDS = (
    "build-package.before#1", "build-package.after#1", "announce-package.before#1", "data.commit#1", "data.committed#1",
    "announce-package.after#1",
)  # fmt: skip
"""Kill points of a run after the package was built."""


async def _begun(place):
    async with place.node(FixedClock()) as node:
        return await approved(node, await node.create())


async def _check(place, request):
    """Check that there is one complete package, and one audit entry about it."""
    async with open_vault(place.folder, clock=FixedClock(), **place.urls) as vault:
        node = Node(vault, place)
        ((packages,),) = await node.sql("SELECT count(*) FROM package")
        ((chunks,),) = await node.sql("SELECT count(*) FROM package_chunk")
        ((expected,),) = await node.sql("SELECT chunks FROM package")
        assert (packages, chunks) == (1, expected)
        got = await open_package(node.services, await node.caller("dpo"), request)
        signed = check_archive(io.BytesIO(b"".join([piece async for piece in got.stream])))
        assert signed.sound
        assert len(signed.document["entries"]) == len(CONTENT)
        entries = [
            entry for entry in await node.entries() if entry.action == "build-package" and entry.decision == "allowed"
        ]
        assert [(item.target, str(item.id)) for item in entries] == [(request, signed.document["audit"])]
        asked = await request_of(node, request)
        assert asked.package is not None
        assert asked.state == "in_progress"


def test_a_build_killed_at_every_point_in_turn_is_completed(request, tmp_path):
    first, place = (fresh_place("sqlite", request, tmp_path / name) for name in ("first", "second"))
    points = asyncio.run(Killable(first, STEPS, asyncio.run(_begun(first))).points())
    whole = points.index("build-package.after#1")
    assert whole >= 10, points
    job = Killable(place, STEPS, asyncio.run(_begun(place)))
    for point in points[:whole]:  # each try throws away what the one before left, so it passes the same points
        assert asyncio.run(job.killed_at(point)), point
    asyncio.run(_check(place, job.id))
    for point in AFTERWARDS:
        assert asyncio.run(job.killed_at(point)), point
    asyncio.run(job.run())
    asyncio.run(_check(place, job.id))


def test_a_build_killed_on_postgresql_is_completed(request, tmp_path):
    place = fresh_place("postgresql", request, tmp_path)
    job = Killable(place, STEPS, asyncio.run(_begun(place)))
    for point in ("data.committed#3", "data.commit#4"):  # one after the other, over the same vault
        assert asyncio.run(job.killed_at(point))
    asyncio.run(job.run())
    asyncio.run(_check(place, job.id))


async def _left(place):
    async with open_vault(place.folder, clock=FixedClock(), **place.urls) as vault:
        ((state,),) = await Node(vault, place).sql("SELECT state FROM package")
        ((left,),) = await Node(vault, place).sql("SELECT count(*) FROM package_chunk")
    return state, left


def test_the_next_attempt_deletes_the_chunks_of_a_killed_build(sqlite_place):
    job = Killable(sqlite_place, STEPS, asyncio.run(_begun(sqlite_place)))
    assert asyncio.run(job.killed_at("data.commit#4"))
    state, left = asyncio.run(_left(sqlite_place))
    assert (state, left > 0) == ("building", True)
    asyncio.run(job.run())
    asyncio.run(_check(sqlite_place, job.id))
