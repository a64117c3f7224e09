"""A hold that is placed or lifted while others erase, write and merge; and processes that are killed meanwhile."""

from __future__ import annotations

import asyncio

from tests.erasure.people import ask, erase, keys_of, rows_of, run, somebody, state_of
from tests.holds.holding import ask_for_hold, certificates, go_on, hold_of, lift
from tests.jobs.killing import Killable
from tests.vaults import ADA
from vault.holds.resume_erasures import pending_resumes

STEPS = "vault.holds.resume_erasures:RESUME_STEPS"


async def test_concurrent_hold_and_erasure_are_serialised(node):
    """Whichever comes first: what was held before the erasure stays, and nobody is held who is gone."""
    for number in range(4):
        email = f"ada{number}@example.org"
        subject = await somebody(node, profile={**ADA, "email": email}, external_ids={"shop": str(number)})
        request = await ask(node, subject, state="completed")
        placed, _none = await asyncio.gather(ask_for_hold(node, subject, fields=["email"]), run(node.services, request))
        if placed.status_code == 201 and await state_of(node, subject) == "retained":
            shown = await node.read("dpo", subject, ["email"], "legal-claims")
            assert shown.json()["fields"] == {"email": email}
            await lift(node, placed.json()["id"])
            assert len(await go_on(node)) == 1
        else:
            assert placed.status_code == 404, placed.text
        assert await state_of(node, subject) == "erased"
        assert await keys_of(node, subject) == []


async def test_concurrent_lifts_continue_the_erasure_once(node):
    subject = await somebody(node)
    hold = await hold_of(node, subject)
    await erase(node, subject, state="completed")
    answers = await asyncio.gather(
        *(node.post("dpo", f"/v1/holds/{hold}:lift", {"reason": "settled"}) for _ in range(4))
    )
    assert sorted(each.status_code for each in answers) == [200, 409, 409, 409]
    assert len(await go_on(node)) == 1
    assert await state_of(node, subject) == "erased"


async def test_concurrent_holds_on_the_same_subjects_are_all_placed(node):
    people = [await node.create() for _ in range(4)]
    orders = (people, people[::-1], people[1:], people[2:] + people[:2])
    answers = await asyncio.gather(*(ask_for_hold(node, *each) for each in orders))
    assert [each.status_code for each in answers] == [201] * 4
    for each in answers:
        await lift(node, each.json()["id"])
    shown = await node.read("sales", people[0], ["name"], "order-fulfilment")
    assert shown.json()["fields"] == {"name": ADA["name"]}


async def test_concurrent_write_precedes_the_hold_or_is_refused(node):
    subject = await node.create()
    changes = [{"phone": f"+44207946{number:04}"} for number in range(6)]
    writes = [node.patch("sales", subject, each, "order-fulfilment", '"1"') for each in changes]
    placed, *answers = await asyncio.gather(ask_for_hold(node, subject), *writes)
    assert placed.status_code == 201
    assert {each.status_code for each in answers} <= {200, 409, 412}
    shown = (await node.read("dpo", subject, ["phone"], "legal-claims")).json()["fields"]["phone"]
    won = [change["phone"] for change, each in zip(changes, answers, strict=True) if each.status_code == 200]
    assert shown == (won[0] if won else ADA["phone"])
    again = await node.patch("sales", subject, {"phone": None}, "order-fulfilment", '"2"' if won else '"1"')
    assert again.status_code == 409


async def held_back(node, number):
    """Make somebody of whom a hold kept something back, and lift the hold; returns both ids."""
    profile = {"name": ADA["name"], "email": f"ada{number}@example.org"}
    subject = await somebody(node, profile=profile, external_ids={"shop": str(number)})
    hold = await hold_of(node, subject, fields=["name"])
    await erase(node, subject, state="completed")
    await lift(node, hold)
    (waiting,) = await pending_resumes(node.services)
    return subject, waiting.id


async def ended(node, subject):
    assert await state_of(node, subject) == "erased"
    assert await keys_of(node, subject) == []
    assert await rows_of(node, "record", subject) == await rows_of(node, "hold_subject", subject) == 0
    assert await pending_resumes(node.services) == []
    assert (await certificates(node))[-1]["subject"] == subject


async def test_resumed_erasure_survives_a_crash_at_any_point(sqlite_node):
    node = sqlite_node
    subject, erasure = await held_back(node, 0)
    points = await Killable(node.place, STEPS, erasure).points()
    await ended(node, subject)
    # Around a step is after the commit of the one before it, or before its own.
    points = [each for each in points if each.startswith(("data", "keys", "begin"))]
    assert len(points) >= 10
    for number, point in enumerate(points, 1):
        subject, erasure = await held_back(node, number)
        assert await Killable(node.place, STEPS, erasure).killed_at(point), point
        await go_on(node)
        await ended(node, subject)


async def test_resumed_erasure_survives_a_crash_at_commits_on_postgresql(postgres_place, clock):
    async with postgres_place.node(clock) as node:
        for number, point in enumerate(("data.commit#1", "data.committed#1", "data.commit#2", "keys.committed#1")):
            subject, erasure = await held_back(node, number)
            assert await Killable(node.place, STEPS, erasure).killed_at(point), point
            await go_on(node)
            await ended(node, subject)
