"""Values that a person says are wrong, as told to staff; and values that somebody has checked."""

from __future__ import annotations

from uuid import uuid4

from tests.erasure.people import erase
from tests.rectification.submitting import listed
from tests.rectification.test_correct import details, profile
from tests.vaults import OTHER, problem
from vault.catalogue.model import Scope

SAYS = "I have never lived there."


async def dispute(node, subject, *fields, role="dpo", **more):
    body = {"fields": list(fields), "statement": SAYS, **more}
    return await node.post(role, f"/v1/subjects/{subject}/disputes", body)


async def resolve(node, subject, which, decision="refused", **how):
    body = {"decision": decision, "reason": "shown by the contract"}
    return await node.post("dpo", f"/v1/subjects/{subject}/disputes/{which}:resolve", body, **how)


async def test_a_dispute_is_noted_listed_and_decided(node, clock):
    subject = await node.create()
    created = await dispute(node, subject, "address", "profile.phone")
    assert created.status_code == 201
    assert created.json()["state"] == "active"
    first, second = created.json()["disputes"]["address"], created.json()["disputes"]["phone"]
    clock.advance(days=1)
    assert (await resolve(node, subject, first, "upheld")).json() == {"id": first, "state": "upheld"}
    address, phone = await listed(node, subject)
    assert (address["id"], address["state"], address["closed_at"]) == (first, "upheld", "2026-03-06T12:00:00.000000Z")
    assert (address["statement"], address["reason"]) == (SAYS, "shown by the contract")
    assert (phone["id"], phone["state"], phone["closed_at"], phone["reason"]) == (second, "disputed", None, None)
    problem(await resolve(node, subject, first), 409, "dispute-decided")
    assert await details(node, subject) == {
        "profile.address": {"statement": SAYS, "reason": "shown by the contract"},
        "profile.phone": {"statement": SAYS},
    }


async def test_a_dispute_restricts_the_data_on_request(sqlite_node):
    node, subject = sqlite_node, await sqlite_node.create()
    assert (await dispute(node, subject, "address", restrict=True)).json()["state"] == "restricted"
    refused = await node.read("fulfilment", subject, ["name"], "order-fulfilment")
    assert problem(refused, 403, "denied")["denied"]["name"]["code"] == "restricted"
    (row,) = await listed(node, subject)
    assert (await resolve(node, subject, row["id"])).status_code == 201
    state = await node.call("dpo", "GET", f"/v1/subjects/{subject}")
    assert state.json()["state"] == "restricted"  # until the person was told


async def test_the_next_page_continues_after_the_last_item(sqlite_node):
    node, subject = sqlite_node, await sqlite_node.create()
    fields = ["name", "email", "phone", "address", "language"]
    await dispute(node, subject, *fields)
    seen, cursor = [], ""
    while cursor is not None:
        page = await node.call("support", "GET", f"/v1/subjects/{subject}/rectifications?limit=2{cursor}")
        seen += [result["field"] for result in page.json()["results"]]
        cursor = None if page.json()["next"] is None else f"&cursor={page.json()['next']}"
    assert seen == fields
    wrong = await node.call("support", "GET", f"/v1/subjects/{subject}/rectifications?cursor=x")
    problem(wrong, 422, "invalid-cursor")


async def test_a_repeated_idempotency_key_makes_one_dispute(sqlite_node):
    node, subject = sqlite_node, await sqlite_node.create()
    body = {"fields": ["email"], "statement": SAYS}
    path, headers = f"/v1/subjects/{subject}/disputes", {"Idempotency-Key": "one"}
    answers = [await node.post("dpo", path, body, headers=headers) for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    assert len(await listed(node, subject)) == 1


async def test_corrections_and_disputes_of_others_cannot_be_resolved(sqlite_node):
    node = sqlite_node
    subject, other = await node.create(), await node.create({"name": "Other"})
    created = (await dispute(node, subject, "email")).json()["disputes"]["email"]
    problem(await resolve(node, other, created), 404, "dispute-not-found")
    problem(await resolve(node, subject, uuid4()), 404, "dispute-not-found")
    problem(await resolve(node, subject, created, tenant=OTHER), 404, "subject-not-found")
    problem(await dispute(node, subject, "email", role="support"), 403, "not-granted")
    assert (await listed(node, subject))[0]["state"] == "disputed"


async def test_a_checked_value_has_its_time(node, clock):
    subject = await node.create()
    before = await profile(node, subject)
    clock.advance(days=10)
    path, body = f"/v1/subjects/{subject}/fields:verify", {"fields": ["phone", "iban"], "purpose": "order-fulfilment"}
    problem(await node.post("fulfilment", path, body), 403, "denied")  # iban is not its to write
    done = await node.post("fulfilment", path, {**body, "fields": ["phone", "profile.phone_mobile"]})
    assert (done.status_code, done.json()["revision"]) == (200, 2)
    after = await profile(node, subject)
    assert after.keys() == before.keys()  # what is not there is passed over
    assert before["phone"].verified_at is None
    assert after["phone"].verified_at - after["phone"].collected_at == 10 * 24 * 3600 * 1_000_000
    assert after["phone"].sealed == before["phone"].sealed
    assert after["name"] == before["name"]
    changed = await node.patch("fulfilment", subject, {"phone": "+442079460124"}, "order-fulfilment", '"2"')
    assert changed.status_code == 200
    assert (await profile(node, subject))["phone"].verified_at is None  # a new value nobody has checked


async def test_words_and_values_stay_sealed(sqlite_node):
    node, subject = sqlite_node, await sqlite_node.create()
    created = (await dispute(node, subject, "address")).json()["disputes"]["address"]
    await resolve(node, subject, created)
    for row in await node.sql("SELECT * FROM rectification"):
        assert "lived" not in str(row)
        assert "contract" not in str(row)
    noted = [entry for entry in await node.entries() if entry.action == "dispute"]
    assert [(item.fields, item.code) for item in noted] == [
        (("profile.address.clear",), None), (("profile.address.clear",), "refused"),
    ]  # fmt: skip


async def test_disputes_move_in_a_merge(node):
    survivor, duplicate = await node.create(), await node.create({"name": "Ada L.", "email": "ada.l@example.org"})
    await dispute(node, survivor, "phone")
    created = (await dispute(node, duplicate, "email")).json()["disputes"]["email"]
    merged = {"survivor": survivor, "duplicate": duplicate, "evidence": "same card"}
    assert (await node.post("dpo", "/v1/subjects:merge", merged)).status_code == 201
    rows = await listed(node, survivor)
    assert {(row["field"], row["record"], row["statement"]) for row in rows} == {
        ("phone", survivor, SAYS), ("email", survivor, SAYS),
    }  # fmt: skip
    assert (await resolve(node, survivor, created)).status_code == 201


async def test_a_dispute_noted_with_a_replaced_key_can_still_be_opened(node, clock):
    """Another node has the older key opened still, which opens for nobody any more."""
    part = Scope(fields=("profile.phone",))
    async with node.place.node(clock) as other:
        subject = await node.create()
        await other.read("sales", subject, ["name"], "order-fulfilment")
        await erase(node, subject, scope=part)
        created = (await dispute(other, subject, "email")).json()["disputes"]["email"]
        await erase(node, subject, scope=part)
        assert (await resolve(other, subject, created)).status_code == 201
    node.services.keyring.clear()
    (shown,) = await listed(node, subject)
    assert (shown["statement"], shown["reason"]) == (SAYS, "shown by the contract")
