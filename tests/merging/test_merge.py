"""Two subjects become one with the data of both under one key, and the old id leads to the new one."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from tests.vaults import ADA, OTHER, problem

WHY = "ticket 4711: she confirmed both accounts on the telephone"
TWIN = {"name": "A. Lovelace", "email": "countess@example.org", "language": "fr", "phone": "+442079460987"}


async def merge(node, survivor, duplicate, role="dpo", evidence=WHY, **how):
    body = {"survivor": str(survivor), "duplicate": str(duplicate), "evidence": evidence}
    return await node.post(role, "/v1/subjects:merge", body, **how)


async def read(node, subject, *fields):
    answer = await node.read("dpo", subject, list(fields), "subject-rights")
    assert answer.status_code == 200, answer.text
    return answer.json()["fields"]


async def two(node, mine=None, theirs=None):
    return await node.create(mine or dict(ADA)), await node.create(theirs or {"name": "A. Lovelace"})


async def buy(node, subject, **more):
    done = await node.append(
        "sales",
        subject,
        "purchase",
        {"order": "4711", "amount": "12.90", "currency": "EUR"},
        "order-fulfilment",
        **more,
    )
    assert done.status_code == 201, done.text
    return done.json()["id"]


async def purchases(node, subject):
    body = {"fields": ["order", "amount"], "purpose": "subject-rights"}
    page = await node.post("dpo", f"/v1/subjects/{subject}/records/purchase:read", body)
    assert page.status_code == 200, page.text
    return page.json()["results"]


async def test_profile_gets_missing_values_and_keeps_its_own(node):
    survivor = await node.create({"name": "Ada Lovelace", "email": "ada@example.org"})
    duplicate = await node.create({"name": "A. Lovelace", "language": "fr", "phone": "+442079460123"})
    done = await merge(node, survivor, duplicate)
    assert done.status_code == 201, done.text
    assert done.json() == {
        "id": survivor, "records": 0, "same": 0, "apart": 0, "conflicts": ["name"], "consents": 0,
    }  # fmt: skip
    assert await read(node, survivor, "name", "email", "language", "phone") == {
        "name": "Ada Lovelace", "email": "ada@example.org", "language": "fr", "phone": "+442079460123",
    }  # fmt: skip


async def test_records_move_with_their_ids(node):
    survivor, duplicate = await two(node)
    mine, theirs = await buy(node, survivor), await buy(node, duplicate, occurred_at="2026-01-02T03:04:05Z")
    assert (await merge(node, survivor, duplicate)).json()["records"] == 1
    result = {purchase["id"]: purchase for purchase in await purchases(node, survivor)}
    assert result.keys() == {mine, theirs}
    assert result[theirs]["occurred_at"].startswith("2026-01-02T03:04:05")
    assert result[theirs]["fields"] == {"order": "4711", "amount": "12.90"}


async def test_old_id_leads_to_the_survivor(node):
    survivor, duplicate = await two(node)
    await merge(node, survivor, duplicate)
    answer = problem_of(await node.call("support", "GET", f"/v1/subjects/{duplicate}"), 404, "subject-merged")
    assert answer["merged_into"] == survivor
    problem(await node.call("analytics", "GET", f"/v1/subjects/{duplicate}"), 403, "not-granted")


def problem_of(response, status, code):
    body = response.json()
    assert (response.status_code, body["code"]) == (status, code), body
    return body


async def test_old_id_cannot_be_read(node):
    survivor, duplicate = await two(node, theirs=TWIN)
    await merge(node, survivor, duplicate)
    problem(await node.read("dpo", duplicate, ["name"], "subject-rights"), 404, "subject-not-found")
    body = {"fields": ["order"], "purpose": "subject-rights"}
    problem(await node.post("dpo", f"/v1/subjects/{duplicate}/records/purchase:read", body), 404, "subject-not-found")


async def test_old_id_cannot_be_written(node):
    survivor, duplicate = await two(node)
    await merge(node, survivor, duplicate)
    done = await node.append("sales", duplicate, "purchase", {"order": "1"}, "order-fulfilment")
    problem(done, 404, "subject-not-found")
    problem(await node.patch("sales", duplicate, {"name": "B"}, "order-fulfilment", '"1"'), 404, "subject-not-found")


async def test_survivor_is_found_by_moved_values(node):
    survivor, duplicate = await two(node, mine={"name": "Ada Lovelace"}, theirs=TWIN)
    await buy(node, duplicate)
    await merge(node, survivor, duplicate)
    for match in ({"email": "countess@example.org"}, {"phone": TWIN["phone"]}, {"purchase.order": "4711"}):
        answer = await node.post("dpo", "/v1/subjects:search", {"match": match, "purpose": "subject-rights"})
        assert [result["subject"] for result in answer.json()["results"]] == [survivor], match
    lost = {"match": {"name": "A. Lovelace"}, "purpose": "subject-rights"}
    assert (await node.post("dpo", "/v1/subjects:search", lost)).json()["results"] == []


async def test_external_ids_are_united(node):
    survivor = await node.create({"name": "Ada"}, external_ids={"shop": "4711"})
    duplicate = await node.create({"name": "Ada"}, external_ids={"shop": "4712", "erp": "9"})
    assert (await merge(node, survivor, duplicate)).json()["conflicts"] == []
    shown = (await read(node, survivor, "external_ids"))["external_ids"]
    assert shown == {"shop": "4711", "shop-2": "4712", "erp": "9"}
    for ids in ({"shop": "4711"}, {"shop": "4712"}, {"erp": "9"}):
        body = {"profile": {"language": "en"}, "external_ids": ids, "purpose": "order-fulfilment"}
        again = await node.post("sales", "/v1/subjects:upsert", body)
        assert (again.status_code, again.json()["id"]) == (200, survivor), again.text
    assert (await read(node, survivor, "external_ids"))["external_ids"] == shown


async def test_equal_record_is_not_duplicated_and_a_different_one_is_kept(node):
    survivor, duplicate = await two(node)
    for person in (survivor, duplicate):
        await buy(node, person, external_id="A-1", occurred_at="2026-01-02T03:04:05Z")
    await buy(node, survivor, external_id="A-2")
    done = await node.append(
        "sales", duplicate, "purchase", {"order": "4712", "amount": "1.00"}, "order-fulfilment", external_id="A-2"
    )
    assert done.status_code == 201
    answer = (await merge(node, survivor, duplicate)).json()
    assert (answer["records"], answer["same"], answer["apart"]) == (1, 1, 1)
    assert sorted(purchase["fields"]["order"] for purchase in await purchases(node, survivor)) == [
        "4711",
        "4711",
        "4712",
    ]


async def test_repeated_merge_changes_nothing(node):
    survivor, duplicate = await two(node)
    assert (await merge(node, survivor, duplicate)).status_code == 201
    again = await merge(node, survivor, duplicate)
    assert (again.status_code, again.json()["id"]) == (200, survivor)


async def test_idempotency_key_returns_the_first_response(node):
    survivor, duplicate = await two(node)
    key = {"Idempotency-Key": "merge-1"}
    first = await merge(node, survivor, duplicate, headers=key)
    again = await merge(node, survivor, duplicate, headers=key)
    assert first.status_code == again.status_code == 201
    assert first.json() == again.json()
    assert again.headers["idempotent-replayed"] == "true"


async def test_chained_merges_lead_to_the_last_survivor(node):
    one, two_, three = [await node.create({"name": name}) for name in ("Ada One", "Ada Two", "Ada Three")]
    assert (await merge(node, two_, one)).status_code == 201
    assert (await merge(node, three, two_)).status_code == 201
    for old in (one, two_):
        answer = problem_of(await node.call("dpo", "GET", f"/v1/subjects/{old}"), 404, "subject-merged")
        assert answer["merged_into"] == three


async def test_a_merged_duplicate_cannot_be_merged_again(node):
    survivor, duplicate = await two(node)
    third = await node.create({"name": "Somebody"})
    await merge(node, survivor, duplicate)
    for pair in ((third, duplicate), (duplicate, third)):
        assert problem_of(await merge(node, *pair), 404, "subject-merged")["merged_into"] == survivor


async def test_subject_cannot_be_merged_with_itself(node):
    subject = await node.create()
    problem(await merge(node, subject, subject), 422, "same-subject")


async def test_a_merge_needs_evidence(node):
    survivor, duplicate = await two(node)
    problem(await merge(node, survivor, duplicate, evidence="  "), 422, "invalid-evidence")
    problem(await merge(node, survivor, duplicate, evidence="x" * 501), 422, "invalid-body")


async def test_unknown_subjects_and_those_of_other_tenants_are_not_found(node):
    subject = await node.create()
    theirs = await node.create(tenant=OTHER)
    for other in (theirs, uuid4()):
        problem(await merge(node, subject, other), 404, "subject-not-found")
        problem(await merge(node, other, subject), 404, "subject-not-found")
    assert (await node.read("sales", theirs, ["name"], "order-fulfilment", tenant=OTHER)).status_code == 200


@pytest.mark.parametrize("role", ["sales", "support", "operator", "stranger"])
async def test_merge_needs_the_permission(node, role):
    survivor, duplicate = await two(node)
    async with node.new_entries() as entries:
        problem(await merge(node, survivor, duplicate, role), 403, "not-granted")
    assert [(entry.action, entry.decision, entry.code) for entry in entries] == [("merge", "denied", "not-granted")]


async def test_audit_entry_names_both_subjects_and_the_evidence_is_sealed(node):
    survivor, duplicate = await two(node)
    mine, theirs = await node.pseudonym(survivor), await node.pseudonym(duplicate)
    async with node.new_entries() as entries:
        await merge(node, survivor, duplicate)
    (entry,) = entries
    assert (entry.action, entry.decision, entry.subjects) == ("merge", "allowed", (mine, theirs))
    assert entry.fields == ("profile.name.clear",)
    assert len(entry.reasons) == 2
    assert WHY.encode() not in entry.reasons[0]
    assert entry.reasons[1] == b""
    for subject in (survivor, duplicate):
        listed = await node.call("dpo", "GET", "/v1/audit/entries", params={"subject": subject, "action": "merge"})
        assert [item["id"] for item in listed.json()["entries"]] == [str(entry.id)]


async def test_failure_is_recorded_in_the_audit_log(node):
    subject = await node.create()
    async with node.new_entries() as entries:
        await merge(node, subject, uuid4())
    assert [(entry.action, entry.decision, entry.code) for entry in entries] == [
        ("merge", "failed", "subject-not-found")
    ]


async def test_keys_and_rows_of_the_duplicate_are_deleted(node):
    survivor, duplicate = await two(node, theirs=TWIN)
    await buy(node, duplicate)
    await merge(node, survivor, duplicate)
    it = UUID(duplicate)
    assert await node.sql("SELECT 1 FROM data_key WHERE subject_id = :id", keystore=True, id=it) == []
    for table in ("record", "blind_index", "external_ref", "consent_event"):
        assert await node.sql(f"SELECT 1 FROM {table} WHERE subject_id = :id", id=it) == [], table
    ((state, standing),) = await node.sql("SELECT state, standing FROM subject WHERE id = :id", id=it)
    assert (state, standing) == ("erased", None)
