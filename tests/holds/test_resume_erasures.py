"""What a hold covers outlives an erasure, for the hold's purposes only, and goes when the last hold on it is lifted."""

from __future__ import annotations

import asyncio
from datetime import date
from uuid import UUID

from tests.erasure.people import (
    LATELY,
    LONG_AGO,
    ask,
    buy,
    certificate,
    erase,
    keys_of,
    rows_of,
    run,
    somebody,
    state_of,
)
from tests.holds.holding import HOLDS, ask_for_hold, certificates, go_on, hold_of, lift
from tests.jobs.killing import Killable
from tests.vaults import ADA, problem
from vault.catalogue.model import Scope
from vault.erasure.start import erasure_of
from vault.holds.resume_erasures import NAME, SOON, begin, pending_resumes
from vault.ids import DEFAULT_TENANT
from vault.merging.merge import MergeRequest, merge_subjects
from vault.workflows import pending_work, work_off


async def test_erasure_keeps_held_values_and_erases_the_rest(node):
    subject = await somebody(node, bought=[LONG_AGO])
    await hold_of(node, subject, fields=["email", "purchase.*"], also_for=["accounting"])
    request = await erase(node, subject)
    assert await state_of(node, subject) == "retained"
    assert await keys_of(node, subject) == [2]
    claims = await node.read("dpo", subject, ["email", "name", "purchase.order"], "legal-claims")
    assert claims.json()["fields"] == {"email": ADA["email"], "purchase.order": ["order-0"]}
    books = await node.read("finance", subject, ["purchase.order"], "accounting")
    assert books.json()["fields"] == {"purchase.order": ["order-0"]}
    own = await node.read("dpo", subject, ["email", "name"], "subject-rights")
    assert own.json()["fields"] == {"email": ADA["email"]}
    problem(await node.read("sales", subject, ["email"], "order-fulfilment"), 404, "subject-not-found")
    answer = await certificate(node, request)
    assert "profile.name" in {line["field"] for line in answer["erased"]}
    assert {
        line["field"]: (line["ground"], line["article"], line["until"]) for line in answer["kept"]
    } == dict.fromkeys(
        ["profile.email", "purchase.order", "purchase.product", "purchase.amount", "purchase.currency"],
        ("hold", "17(3)(e)", None),
    )


async def test_lifting_the_hold_continues_the_erasure(node):
    subject = await somebody(node, bought=[LONG_AGO])
    hold = await hold_of(node, subject)
    request = await erase(node, subject, state="completed")
    assert await node.sql("SELECT 1 FROM record") != []
    await lift(node, hold)
    problem(await node.read("dpo", subject, ["email"], "legal-claims"), 404, "subject-not-found")
    ended = [item async for item in work_off(node.services)]
    assert [(item.work.workflow, item.seconds, item.code) for item in ended] == [("resume-erasure", None, None)]
    assert await pending_work(node.services) == []
    assert await state_of(node, subject) == "erased"
    assert await keys_of(node, subject) == []
    assert await rows_of(node, "record", subject) == await rows_of(node, "hold_subject", subject) == 0
    first, second = await certificates(node)
    assert first == await certificate(node, request)
    assert (second["request"], second["scope"], second["kept"]) == (None, "everything", [])
    assert {line["field"] for line in second["erased"]} == {line["field"] for line in first["kept"]}
    assert await go_on(node) == []


async def test_hold_on_erased_values_keeps_nothing(sqlite_node):
    node = sqlite_node
    subject = await somebody(node)
    hold = await hold_of(node, subject, fields=["complaint.*"])
    await erase(node, subject)
    assert await state_of(node, subject) == "erased"
    await lift(node, hold)
    assert await go_on(node) == []


async def test_values_under_another_hold_stay_when_one_is_lifted(sqlite_node):
    node = sqlite_node
    subject = await somebody(node)
    everything = await hold_of(node, subject)
    name = await hold_of(node, subject, fields=["name"])
    twice = await hold_of(node, subject, fields=["profile.*"])
    await erase(node, subject)
    await lift(node, everything)
    assert await go_on(node) == []  # the third covers all of it still
    await lift(node, twice)
    assert len(await go_on(node)) == 1
    shown = await node.read("dpo", subject, ["name", "email"], "legal-claims")
    assert shown.json()["fields"] == {"name": ADA["name"]}
    await lift(node, name)
    assert len(await go_on(node)) == 1
    assert await state_of(node, subject) == "erased"


async def test_law_keeps_its_values_after_the_hold_is_lifted(node):
    subject = await somebody(node, bought=[LATELY])
    free = await somebody(node, bought=[LATELY], external_ids={"shop": "12"})
    hold = await hold_of(node, subject)
    await erase(node, free)
    await erase(node, subject)
    await lift(node, hold)
    await go_on(node)
    assert await state_of(node, subject) == await state_of(node, free) == "retained"
    for name in ("name", "purchase.order"):
        shown = [await node.read("finance", item, [name], "accounting") for item in (subject, free)]
        assert shown[0].json()["fields"] == shown[1].json()["fields"] != {}
    problem(await node.read("dpo", subject, ["name"], "legal-claims"), 404, "subject-not-found")
    own = await node.read("dpo", subject, ["name", "email"], "subject-rights")
    assert own.json()["fields"] == {"name": ADA["name"]}
    _plain, _held, last = await certificates(node)
    assert {line["until"] for line in last["kept"]} == {line["until"] for line in _plain["kept"]}
    assert {line["field"] for line in last["kept"]} == {line["field"] for line in _plain["kept"]}


async def test_values_kept_for_claims_stay_after_the_hold_is_lifted(sqlite_node):
    node = sqlite_node
    subject = await somebody(node)
    hold = await hold_of(node, subject, fields=["email", "phone"])
    claim = {"names": ["profile.email"], "until": date(2030, 12, 31), "reason": "claim 12"}
    request = await ask(node, subject, details={"claims": [claim]})
    await run(node.services, request)
    await lift(node, hold)
    await go_on(node)
    _first, last = await certificates(node)
    assert [(line["field"], line["ground"], line["until"]) for line in last["kept"]] == [
        ("profile.email", "legal-claims", "2030-12-31")
    ]
    assert [line["field"] for line in last["erased"]] == ["profile.phone"]


async def test_continued_partial_erasure_spares_later_values(node, clock):
    subject = await somebody(node)
    old = await buy(node, subject, LONG_AGO, order="old")
    hold = await hold_of(node, subject, fields=["purchase.*"])
    request = await erase(node, subject, scope=Scope(fields=("profile.phone",), collections=("purchase",)))
    assert {line["field"] for line in (await certificate(node, request))["erased"]} == {"profile.phone"}
    clock.advance(days=1)
    new = await buy(node, subject, "2026-03-06T10:00:00Z", order="new")
    assert (await node.patch("sales", subject, {"phone": ADA["phone"]}, "order-fulfilment", '"2"')).status_code == 200
    await lift(node, hold)
    (erasure,) = await go_on(node)
    left = {str(UUID(bytes=bytes(row[0])) if isinstance(row[0], bytes) else row[0]) for row in await node.sql(
        "SELECT id FROM record WHERE collection = 'purchase'"
    )}  # fmt: skip
    assert left == {new}
    assert old not in left
    shown = await node.read("sales", subject, ["name", "phone", "purchase.order"], "order-fulfilment")
    assert shown.json()["fields"] == {"name": ADA["name"], "phone": ADA["phone"], "purchase.order": ["new"]}
    last = (await certificates(node))[-1]
    assert (last["erasure"], last["kept"]) == (erasure, [])


async def test_removed_subject_is_released(node):
    first, second = [await somebody(node, external_ids={"shop": str(number)}) for number in range(2)]
    hold = await hold_of(node, first, second)
    for item in (first, second):
        await erase(node, item)
    changes = {"remove_subjects": [first]}
    assert (await node.call("dpo", "PATCH", f"{HOLDS}/{hold}", changes)).status_code == 200
    again = {"add_subjects": [first]}
    problem(await node.call("dpo", "PATCH", f"{HOLDS}/{hold}", again), 409, "erasure-under-way")
    await go_on(node)
    assert [await state_of(node, element) for element in (first, second)] == ["erased", "retained"]
    problem(await node.call("dpo", "PATCH", f"{HOLDS}/{hold}", again), 404, "subject-not-found")


async def test_continued_erasure_waits_for_another_one(node):
    subject = await somebody(node)
    hold = await hold_of(node, subject, fields=["name"])
    await erase(node, subject, scope=Scope(fields=("profile.name",)))
    other = await ask(node, subject, scope=Scope(fields=("profile.phone",)))
    await run(node.services, other, until="destroy-keys")
    await lift(node, hold)
    (waiting,) = [item for item in await pending_work(node.services) if item.workflow == NAME]
    assert await begin(node.services, DEFAULT_TENANT, waiting.id) == SOON
    await run(node.services, other)
    await go_on(node)
    assert (await node.read("sales", subject, ["name", "phone", "email"], "order-fulfilment")).json()["fields"] == {
        "email": ADA["email"]
    }


async def test_full_erasure_replaces_a_continued_one(sqlite_node):
    node = sqlite_node
    subject = await somebody(node)
    hold = await hold_of(node, subject, fields=["name"])
    await erase(node, subject, scope=Scope(fields=("profile.name",)), state="completed")
    await lift(node, hold)
    request = await erase(node, subject, state="completed")
    assert (await erasure_of(node.services, DEFAULT_TENANT, request)).is_whole
    assert len(await go_on(node)) == 1  # nothing is left for it
    assert await state_of(node, subject) == "erased"
    assert await pending_work(node.services) == []
    assert len(await node.sql("SELECT 1 FROM erasure")) == 2


async def test_kept_back_values_are_erased_after_a_merge(node):
    duplicate, survivor = await somebody(node, profile={"name": "A. L."}), await node.create({"email": ADA["email"]})
    hold = await hold_of(node, duplicate, fields=["name"])
    await erase(node, duplicate, scope=Scope(fields=("profile.name",)), state="completed")
    merge = MergeRequest(UUID(survivor), UUID(duplicate), "ticket 1")
    await merge_subjects(node.services, await node.caller("dpo"), merge)
    assert (await node.read("dpo", survivor, ["name"], "legal-claims")).json()["fields"] == {"name": "A. L."}
    await lift(node, hold)
    assert len(await go_on(node)) == 1
    assert (await node.read("dpo", survivor, ["name", "email"], "subject-rights")).json()["fields"] == {
        "email": ADA["email"]
    }


STEPS = "vault.holds.resume_erasures:RESUME_STEPS"


async def test_concurrent_hold_and_erasure_are_serialised(node):
    """Whichever comes first: what was held before the erasure stays, and nobody is held who is gone."""
    for number in range(4):
        email = f"ada{number}@example.org"
        subject = await somebody(
            node, profile={**ADA, "email": email}, external_ids={"shop": str(number)}, returning=True
        )
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
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    assert len(await go_on(node)) == 1
    assert await state_of(node, subject) == "erased"


async def test_concurrent_holds_on_the_same_subjects_are_all_placed(node):
    people = [await node.create() for _ in range(4)]
    orders = (people, people[::-1], people[1:], people[2:] + people[:2])
    answers = await asyncio.gather(*(ask_for_hold(node, *order) for order in orders))
    assert [item.status_code for item in answers] == [201] * 4
    for answer in answers:
        await lift(node, answer.json()["id"])
    shown = await node.read("sales", people[0], ["name"], "order-fulfilment")
    assert shown.json()["fields"] == {"name": ADA["name"]}


async def test_concurrent_write_precedes_the_hold_or_is_refused(node):
    subject = await node.create()
    changes = [{"phone": f"+44207946{number:04}"} for number in range(6)]
    writes = [node.patch("sales", subject, change, "order-fulfilment", '"1"') for change in changes]
    placed, *answers = await asyncio.gather(ask_for_hold(node, subject), *writes)
    assert placed.status_code == 201
    assert {answer.status_code for answer in answers} <= {200, 409, 412}
    shown = (await node.read("dpo", subject, ["phone"], "legal-claims")).json()["fields"]["phone"]
    won = [change["phone"] for change, item in zip(changes, answers, strict=True) if item.status_code == 200]
    assert shown == (won[0] if won else ADA["phone"])
    again = await node.patch("sales", subject, {"phone": None}, "order-fulfilment", '"2"' if won else '"1"')
    assert again.status_code == 409


async def held_back(node, number):
    """Make somebody of whom a hold kept something back, and lift the hold; returns both ids."""
    profile = {"name": ADA["name"], "email": f"ada{number}@example.org"}
    subject = await somebody(node, profile=profile, external_ids={"shop": str(number)}, returning=True)
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
    points = [item for item in points if item.startswith(("data", "keys", "begin"))]
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
