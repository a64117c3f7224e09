"""The process is killed at every point of a delivery: the app is told all the same, and can tell a repeat from news."""

from __future__ import annotations

from tests.jobs.killing import Killable
from tests.recipients.telling import notices, one_notice, with_webhook
from tests.support import FixedClock

NOTIFY = "vault.recipients.delivery:NOTIFY"


def _job(place, notice, clock):
    return Killable(
        place,
        NOTIFY,
        notice.id,
        moment=clock.now(),
        also=("vault.messaging.http:Post.send",),
        settings={"webhooks_to_private_addresses": True},
    )


async def test_a_delivery_killed_at_any_point_is_completed(sqlite_place, receiver):
    clock = FixedClock()
    async with sqlite_place.node(clock, webhooks_to_private_addresses=True) as node:
        await with_webhook(node, "support", receiver)
        _subject, notice = await one_notice(node)
        points = await _job(sqlite_place, notice, clock).points()
        assert {"send.before#1", "send.after#1"} <= set(points)
        assert len(points) >= 8
        for point in points:
            _subject, notice = await one_notice(node)
            receiver.got.clear()
            assert await _job(sqlite_place, notice, clock).killed_at(point), point
            clock.advance(seconds=61)  # as long as the try counts as under way
            await _job(sqlite_place, notice, clock).run()
            (kept,) = await notices(node, subject=notice.subject)
            assert (kept.state, kept.next_at) == ("delivered", None), point
            assert {got.headers["webhook-id"] for got in receiver.got} == {f"msg_{notice.id.hex}"}, point
            assert 1 <= len(receiver.got) <= 2, point
            entries = [
                entry for entry in await node.entries() if entry.action == "send-notice" and entry.target == notice.id
            ]
            assert [item.decision for item in entries] == ["allowed"], point
