"""A partial erasure deletes the fields in scope, and the subject stays usable."""

from __future__ import annotations

from tests.erasure.people import LATELY, LONG_AGO, ask, buy, certificate, erase, keys_of, run, somebody, state_of
from tests.vaults import ADA
from vault.catalogue.model import Scope
from vault.erasure.start import erasure_of
from vault.ids import DEFAULT_TENANT

FIELDS = Scope(fields=("profile.phone", "profile.birth_date"))


async def found_by(node, match):
    answer = await node.post(
        "sales", "/v1/subjects:search", {"match": match, "fields": [], "purpose": "order-fulfilment"}
    )
    return [result["subject"] for result in answer.json()["results"]]


async def test_erased_fields_are_gone_and_other_fields_stay_readable_and_findable(node):
    subject = await somebody(node, bought=[LATELY])
    request = await erase(node, subject, scope=FIELDS)
    assert await state_of(node, subject) == "active"
    assert await keys_of(node, subject) == [2]
    shown = (await node.read("dpo", subject, [*ADA, "purchase.amount"], "subject-rights")).json()
    assert set(ADA) - shown["fields"].keys() == {"phone", "birth_date"}
    assert len(shown["fields"]["purchase.amount"]) == 1
    assert await found_by(node, {"email": ADA["email"]}) == [subject]
    assert await found_by(node, {"phone": ADA["phone"]}) == []
    answer = await certificate(node, request)
    assert {line["field"] for line in answer["erased"]} == {"profile.phone", "profile.birth_date"}
    assert answer["scope"] == {"fields": list(FIELDS.fields), "collections": [], "purposes": []}


async def test_a_collection_is_erased_except_what_a_law_keeps(node):
    subject = await somebody(node, bought=[LONG_AGO, LATELY])
    request = await erase(node, subject, scope=Scope(collections=("purchase",)))
    listed = await node.post(
        "sales",
        f"/v1/subjects/{subject}/records/purchase:read",
        {"fields": ["order"], "purpose": "order-fulfilment"},
    )
    assert [result["fields"]["order"] for result in listed.json()["results"]] == ["order-1"]
    answer = await certificate(node, request)
    assert {(line["field"], line["records"]) for line in answer["erased"]} >= {("purchase.order", 1)}
    assert {(line["field"], line["purpose"]) for line in answer["kept"]} >= {("purchase.order", "accounting")}


async def test_a_subject_erased_in_part_can_be_written_and_upserted(node):
    subject = await somebody(node)
    await erase(node, subject, scope=FIELDS)
    await buy(node, subject)
    body = {"profile": {"phone": "+442079460999"}, "external_ids": {"shop": "4711"}, "purpose": "order-fulfilment"}
    again = await node.post("sales", "/v1/subjects:upsert", body)
    assert (again.status_code, again.json()["id"]) == (200, subject)
    shown = await node.read("sales", subject, ["phone", "email"], "order-fulfilment")
    assert shown.json()["fields"] == {"phone": "+442079460999", "email": ADA["email"]}


async def test_evidence_of_consents_is_resealed(node):
    subject = await somebody(node)
    said = {
        "purpose": "direct-marketing", "decision": "given", "notice": "marketing@3", "method": "checkbox",
        "channel": "web", "evidence": "form 12, page 3",
    }  # fmt: skip
    created = await node.post("support", f"/v1/subjects/{subject}/consents", said)
    assert created.status_code == 201, created.text
    await erase(node, subject, scope=FIELDS)
    shown = (await node.call("dpo", "GET", f"/v1/subjects/{subject}/consents")).json()
    assert [event["evidence"] for event in shown["history"]] == ["form 12, page 3"]


async def test_a_second_erasure_of_a_part_destroys_the_key_of_the_first(node):
    subject = await somebody(node)
    await erase(node, subject, scope=FIELDS)
    await erase(node, subject, scope=Scope(fields=("profile.address",)))
    assert await keys_of(node, subject) == [3]
    shown = await node.read("dpo", subject, ["name", "address"], "subject-rights")
    assert shown.json()["fields"] == {"name": ADA["name"]}


async def test_a_full_erasure_waits_for_a_partial_erasure_and_erases_the_rest(node):
    subject = await somebody(node)
    part, whole = await ask(node, subject, scope=FIELDS), await ask(node, subject)
    await run(node.services, part, until="take-away")
    from vault.erasure.start import begin_erasure

    assert await begin_erasure(node.services, DEFAULT_TENANT, whole) == 1.0
    await run(node.services, part)
    await run(node.services, whole)
    assert await state_of(node, subject) == "erased"
    assert (await erasure_of(node.services, DEFAULT_TENANT, part)).id != (
        await erasure_of(node.services, DEFAULT_TENANT, whole)
    ).id


async def test_a_writer_with_a_replaced_key_loses_nothing(place, clock):
    """A node that does not know of the erasure yet has the old key cached: values sealed with it would not open."""
    async with place.node(clock) as here, place.node(clock) as there:
        subject = await somebody(here)

        async def part(*fields):
            assert (await there.read("sales", subject, ["name"], "order-fulfilment")).status_code == 200
            await erase(here, subject, scope=Scope(fields=fields))

        await part("profile.birth_date")
        await buy(there, subject)
        await part("profile.phone")
        patched = await there.patch("sales", subject, {"phone": "+442079460999"}, "order-fulfilment", '"3"')
        assert patched.status_code == 200, patched.text
        await part("profile.address")
        said = {
            "purpose": "direct-marketing", "decision": "given", "notice": "marketing@3", "method": "checkbox",
            "channel": "web", "evidence": "form 12",
        }  # fmt: skip
        assert (await there.post("support", f"/v1/subjects/{subject}/consents", said)).status_code == 201
        shown = await here.read("sales", subject, ["purchase.product", "phone"], "order-fulfilment")
        assert shown.json()["fields"] == {"purchase.product": ["Teapot"], "phone": "+442079460999"}
        history = (await here.call("dpo", "GET", f"/v1/subjects/{subject}/consents")).json()["history"]
        assert [event["evidence"] for event in history] == ["form 12"]


async def test_a_node_with_a_replaced_key_still_reads_lists_and_searches(place, clock):
    async with place.node(clock) as here, place.node(clock) as there:
        subject = await somebody(here, bought=[LATELY])
        reads = ("sales", subject, ["email", "purchase.order"], "order-fulfilment")

        async def warm():
            assert (await there.read(*reads)).status_code == 200

        await warm()
        await erase(here, subject, scope=FIELDS)
        assert (await there.read(*reads)).json()["fields"]["email"] == ADA["email"]
        await erase(here, subject, scope=Scope(fields=("profile.address",)))
        assert await found_by(there, {"email": ADA["email"]}) == [subject]
        await erase(here, subject, scope=Scope(fields=("profile.language",)))
        path = f"/v1/subjects/{subject}/records/purchase:read"
        listed = await there.post("sales", path, {"fields": ["order"], "purpose": "order-fulfilment"})
        assert [result["fields"] for result in listed.json()["results"]] == [{"order": "order-0"}]
        damaged = [entry for entry in await here.entries() if entry.code == "cannot-open"]
        assert damaged == []


async def test_a_node_with_a_replaced_key_opens_resealed_data(place, clock):
    """Until it polls for erasures, the node has a cached key that opens none of the subject's values."""
    async with place.node(clock) as node, place.node(clock) as other:
        subject = await somebody(node)
        said = {"purpose": "direct-marketing", "decision": "given", "notice": "marketing@3", "evidence": "form 12"}
        said |= {"method": "double-opt-in", "channel": "web"}
        assert (await node.post("support", f"/v1/subjects/{subject}/consents", said)).status_code == 201
        disputed = {"fields": ["name"], "statement": "It is Ada King."}
        assert (await node.post("dpo", f"/v1/subjects/{subject}/disputes", disputed)).status_code == 201
        doors = [
            lambda: other.call("dpo", "GET", f"/v1/subjects/{subject}/consents"),
            lambda: other.call("dpo", "GET", f"/v1/subjects/{subject}/rectifications"),
            lambda: other.post("support", f"/v1/subjects/{subject}/consents", {**said, "evidence": None}),
            lambda: other.post("support", "/v1/requests", {"kind": "access", "identity": {"email": ADA["email"]}}),
        ]
        for door in doors:
            await other.read("sales", subject, ["name"], "order-fulfilment")
            await erase(node, subject, scope=Scope(fields=("profile.phone",)))
            answer = await door()
            assert answer.status_code in {200, 201}, answer.text
        ((whom,),) = await node.sql("SELECT subject_id FROM rights_request WHERE kind = 'access'")
        assert whom is not None
