"""What a hold covers is not overwritten, by whatever way; all else goes on."""

from __future__ import annotations

from uuid import UUID

from tests.erasure.people import buy
from tests.holds.holding import hold_of, lift
from tests.imports.files import PEOPLE, Faults, bring_in, write_csv
from tests.rectification.submitting import carry_out, moves
from tests.vaults import ADA, problem

FULFILMENT = "order-fulfilment"


async def shown(node, subject, *names):
    answer = await node.read("dpo", subject, list(names), "legal-claims")
    assert answer.status_code == 200, answer.text
    return answer.json()["fields"]


async def test_a_held_value_is_neither_changed_nor_erased_by_a_patch(node):
    subject = await node.create()
    hold = await hold_of(node, subject, fields=["phone", "address"])
    for change in ({"phone": "+442079460999"}, {"phone": None}, {"address": {"city": "Leeds"}, "name": "Ada King"}):
        async with node.new_entries() as entries:
            problem(await node.patch("sales", subject, change, FULFILMENT, '"1"'), 409, "held")
        assert [(entry.action, entry.decision, entry.code) for entry in entries] == [("update", "failed", "held")]
    assert await shown(node, subject, "phone", "name") == {"phone": ADA["phone"], "name": ADA["name"]}
    free = await node.patch("sales", subject, {"name": "Ada King", "phone": ADA["phone"]}, FULFILMENT, '"1"')
    assert free.status_code == 200, free.text
    await lift(node, hold)
    assert (await node.patch("sales", subject, {"phone": None}, FULFILMENT, '"2"')).status_code == 200


async def test_new_records_and_unchanged_upserts_are_allowed(sqlite_node):
    node, subject = sqlite_node, await sqlite_node.create(external_ids={"shop": "4711"})
    await hold_of(node, subject)
    await buy(node, subject)
    same = {"profile": {"name": ADA["name"]}, "external_ids": {"shop": "4711", "crm": "7"}, "purpose": FULFILMENT}
    assert (await node.post("sales", "/v1/subjects:upsert", same)).status_code == 200
    other = {**same, "profile": {"name": "A. King"}}
    problem(await node.post("sales", "/v1/subjects:upsert", other), 409, "held")
    new = {**same, "profile": {"phone_mobile": "+447700900123"}}
    assert (await node.post("sales", "/v1/subjects:upsert", new)).status_code == 200
    assert await shown(node, subject, "name", "phone_mobile") == {
        "name": ADA["name"],
        "phone_mobile": "+447700900123",
    }


async def test_correction_of_a_held_value_needs_a_decision(node):
    subject = await node.create()
    purchase = await buy(node, subject)
    await hold_of(node, subject, fields=["purchase.*"], since="2026-02-01", until="2026-02-01")
    records = [{"collection": "purchase", "id": purchase, "fields": {"amount": "1.00"}}]
    request = await carry_out(node, subject, "rectification", records=records)
    assert (await moves(node, request.id))[-1][1] == "held"
    assert await shown(node, subject, "purchase.amount") == {"purchase.amount": ["12.90"]}
    done = await carry_out(node, subject, "rectification", changes={"name": "Ada King"})
    assert done.state == "completed"


async def test_import_keeps_a_held_value_and_reports_the_line(sqlite_node, tmp_path):
    node = sqlite_node
    held, free = [await node.create(external_ids={"shop": str(number)}) for number in (1, 2)]
    await hold_of(node, held, fields=["name"])
    file = write_csv(
        tmp_path / "people.csv", "no,name,mail", "1,Ada King,ada@example.org", "2,Ada King,ada@example.org"
    )
    watcher = Faults()
    await bring_in(node, file, PEOPLE, watcher=watcher)
    assert [(line, code) for line, code, _field in watcher.told] == [(2, "held")]
    assert await shown(node, held, "name") == {"name": ADA["name"]}
    assert await shown(node, free, "name") == {"name": "Ada King"}


async def merge(node, survivor, duplicate):
    body = {"survivor": survivor, "duplicate": duplicate, "evidence": "ticket 4711"}
    return await node.post("dpo", "/v1/subjects:merge", body)


async def test_survivor_of_a_merge_is_under_both_holds(node):
    survivor, duplicate = await node.create({"name": "Ada"}), await node.create({"email": ADA["email"]})
    own, common = await hold_of(node, duplicate, fields=["email"]), await hold_of(node, survivor, duplicate)
    mine = await hold_of(node, survivor, fields=["name"])
    assert (await merge(node, survivor, duplicate)).status_code == 201
    for hold in (own, common, mine):
        assert (await node.call("dpo", "GET", f"/v1/holds/{hold}")).json()["subjects"] == [survivor]
    refused = await node.read("sales", survivor, ["name", "email"], FULFILMENT)
    assert {item["code"] for item in refused.json()["denied"].values()} == {"held"}
    for hold in (common, own):
        await lift(node, hold)
    left = (await node.read("sales", survivor, ["name", "email"], FULFILMENT)).json()
    assert (left["fields"], left["denied"]["name"]["code"]) == ({"email": ADA["email"]}, "held")
    ((count,),) = await node.sql("SELECT count(*) FROM hold_subject WHERE subject_id = :id", id=UUID(duplicate))
    assert count == 0


async def test_a_merge_that_would_lose_a_held_value_is_refused(sqlite_node):
    node = sqlite_node
    survivor, duplicate = await node.create({"name": "Ada"}), await node.create({"name": "A. L."})
    hold = await hold_of(node, duplicate, fields=["name"])
    problem(await merge(node, survivor, duplicate), 409, "held")
    assert (await merge(node, duplicate, survivor)).status_code == 201  # the one whose value stays is the held one
    assert await shown(node, duplicate, "name") == {"name": "A. L."}
    await lift(node, hold)
