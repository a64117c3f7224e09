"""Import of consents by an API call: each item has its result, and none widens an existing permission."""

from __future__ import annotations

import json
from uuid import UUID, uuid4

import pytest

from tests.support import FixedClock
from tests.vaults import OTHER, problem
from vault.consent.store import compare

START = FixedClock().now()
WHEN = "2020-05-04T03:02:01Z"
YES = {
    "purpose": "direct-marketing",
    "decision": "given",
    "notice": "marketing@3",
    "method": "checkbox",
    "occurred_at": WHEN,
}
NO = {"purpose": "direct-marketing", "decision": "withdrawn", "occurred_at": WHEN}


async def bring(node, *items, source="old-crm", role="dpo", **how):
    return await node.post(role, f"/v1/consents:import?source={source}", list(items), **how)


async def done(node, *items, **how):
    answer = await bring(node, *items, **how)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def codes(node, *items):
    return [[item["code"] for item in it.get("errors", [])] for it in (await done(node, *items))["results"]]


async def may_market(node, subject):
    answer = await node.read("marketing", subject, ["name"], "direct-marketing")
    return answer.status_code == 200


async def test_an_imported_consent_counts_from_the_next_read_on(node):
    subject = await node.create()
    assert not await may_market(node, subject)
    answer = await done(node, {**YES, "subject": subject, "evidence": "scan 4711", "channel": "store"})
    assert (answer["written"], answer["there"], answer["refused"]) == (1, 0, 0)
    assert await may_market(node, subject)
    listed = (await node.call("dpo", "GET", f"/v1/subjects/{subject}/consents")).json()
    (event,) = listed["history"]
    assert (event["origin"], event["source"], event["channel"]) == ("imported", "old-crm", "store")
    assert event["evidence"] == "scan 4711"


async def test_subjects_are_found_by_an_external_id(node):
    subject = await node.create(external_ids={"shop": "4711"})
    await done(node, {**YES, "system": "shop", "external_id": "4711"})
    assert await may_market(node, subject)


async def test_the_same_statement_is_not_written_twice(node):
    subject = await node.create()
    item = {**YES, "subject": subject}
    first, again = await done(node, item, item), await done(node, item)
    assert [result["state"] for result in first["results"]] == ["written", "there"]
    assert again["results"] == [{"id": first["results"][0]["id"], "state": "there"}]
    assert len(await node.sql("SELECT 1 FROM consent_event WHERE subject_id = :id", id=UUID(subject))) == 1


async def test_the_same_statement_from_another_source_is_a_new_event(node):
    subject = await node.create()
    assert (await done(node, {**YES, "subject": subject}))["written"] == 1
    assert (await done(node, {**YES, "subject": subject}, source="newsletter-tool"))["written"] == 1


async def test_faults_are_reported_per_item_and_the_others_are_imported(node):
    subject = await node.create()
    answer = await done(
        node, {**YES, "subject": subject}, {**YES, "subject": str(uuid4())}, {"purpose": 7}, "no object"
    )
    assert [result.get("state") for result in answer["results"]] == ["written", None, None, None]
    assert [result["errors"][0]["code"] for result in answer["results"][1:]] == [
        "subject-not-found", "invalid-body", "invalid-body",
    ]  # fmt: skip
    assert (answer["written"], answer["refused"]) == (1, 3)
    assert await may_market(node, subject)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"purpose": "unheard-of"}, "unknown-purpose"),
        ({"purpose": "accounting"}, "purpose-without-consent"),
        ({"decision": "maybe"}, "unknown-code"),
        ({"decision": "objected"}, None),
        ({"purpose": "order-fulfilment", "decision": "objected"}, "no-right-to-object"),
        ({"notice": None}, "missing"),
        ({"notice": "marketing@99"}, "unknown-notice"),
        ({"notice": "profiling@1"}, "notice-not-good"),
        ({"language": "xx"}, "unknown-language"),
        ({"decision": "refused", "notice": None, "language": "Ada Lovelace"}, "unknown-language"),
        ({"purpose": "profiling", "notice": "profiling@1", "method": "button"}, "method-not-explicit"),
        ({"method": "signal"}, "unknown-code"),
        ({"by": "neighbour"}, "unknown-code"),
        ({"by": "guardian"}, "missing"),
        ({"channel": "By phone"}, "invalid-channel"),
        ({"jurisdiction": "Atlantis"}, "invalid-jurisdiction"),
        ({"evidence": "two\nlines"}, "invalid-evidence"),
        ({"occurred_at": "2199-01-01T00:00:00Z"}, "event-in-future"),
        ({"occurred_at": "2999-01-01T00:00:00Z"}, "out-of-range"),
        ({"occurred_at": "2020-01-01T00:00:00"}, "out-of-range"),
        ({"valid_until": "2020-05-04T03:02:01Z"}, "out-of-range"),
        ({"system": "shop", "external_id": "4711"}, "no-external-id"),
    ],
)
async def test_each_fault_has_its_code(sqlite_node, change, code):
    subject = await sqlite_node.create()
    item = {key: value for key, value in {**YES, "subject": subject, **change}.items() if value is not None}
    assert await codes(sqlite_node, item) == [[] if code is None else [code]]


async def test_a_refusal_is_imported_even_if_its_notice_is_unknown(node):
    subject = await node.create()
    await done(node, {**NO, "notice": "newsletter-2009@1", "subject": subject})
    assert not await may_market(node, subject)


async def test_an_imported_consent_does_not_replace_a_recorded_refusal(node):
    subject = await node.create()
    said = {"purpose": "direct-marketing", "decision": "withdrawn"}
    assert (await node.post("support", f"/v1/subjects/{subject}/consents", said)).status_code == 201
    late = START.isoformat()
    for source in ("old-crm", "shop"):
        answer = await done(node, {**YES, "subject": subject, "occurred_at": late}, source=source)
        assert answer["written"] == 1
    assert not await may_market(node, subject)


async def test_an_imported_refusal_counts_however_old_it_is(node):
    subject = await node.create()
    body = {key: value for key, value in YES.items() if key != "occurred_at"}
    assert (await node.post("support", f"/v1/subjects/{subject}/consents", body)).status_code == 201
    assert await may_market(node, subject)
    await done(node, {**NO, "subject": subject})
    assert not await may_market(node, subject)


async def test_statements_of_a_call_are_ordered_by_their_time(node):
    subject = await node.create()
    later = {**YES, "subject": subject, "occurred_at": "2021-01-01T00:00:00Z"}
    assert (await done(node, later, {**NO, "subject": subject}))["written"] == 2
    assert await may_market(node, subject)


async def test_an_imported_objection_to_marketing_is_final(node):
    subject = await node.create()
    await done(node, {**YES, "subject": subject}, {**NO, "decision": "objected", "subject": subject})
    assert not await may_market(node, subject)
    assert (await done(node, {**YES, "occurred_at": START.isoformat(), "subject": subject}))["written"] == 1
    assert not await may_market(node, subject)


async def test_a_childs_consent_needs_a_guardian(node):
    subject = await node.create_fully(birth_date=f"{START.year - 10}-01-01")
    assert await codes(node, {**YES, "subject": subject}) == [["guardian-needed"]]
    answer = {**YES, "subject": subject, "by": "guardian", "evidence": "form 4711"}
    assert await codes(node, answer) == [[]]


async def test_json_lines_are_accepted_as_well_as_an_array(node):
    subject = await node.create()
    lines = "\n".join(json.dumps({**item, "subject": subject}) for item in (NO, YES)) + "\n\nno json\n"
    headers = {"Content-Type": "application/x-ndjson"}
    answer = await node.post("dpo", "/v1/consents:import?source=old-crm", headers=headers, content=lines.encode())
    assert answer.status_code == 200, answer.text
    assert [result.get("state") for result in answer.json()["results"]] == ["written", "written", None]


async def test_an_import_needs_a_source(node):
    subject = await node.create()
    told = problem(await node.post("dpo", "/v1/consents:import", [{**YES, "subject": subject}]), 422, "invalid-source")
    assert told["errors"][0]["at"] == "/source"
    assert "?source=" in told["hint"]
    assert "--" not in told["hint"]
    problem(await bring(node, {**YES, "subject": subject}, source="Old CRM"), 422, "invalid-source")


async def test_the_number_of_items_is_limited(sqlite_node):
    problem(await bring(sqlite_node), 422, "too-many-items")
    problem(await bring(sqlite_node, *[{}] * 1_001), 422, "too-many-items")
    answer = await sqlite_node.post("dpo", "/v1/consents:import?source=a", {"purpose": "x"})
    problem(answer, 422, "invalid-body")


@pytest.mark.parametrize("role", ["sales", "support", "marketing", "stranger"])
async def test_an_import_needs_the_permission(node, role):
    subject = await node.create()
    async with node.new_entries() as entries:
        problem(await bring(node, {**YES, "subject": subject}, role=role), 403, "not-granted")
    assert [(entry.action, entry.decision) for entry in entries] == [("import-consents", "denied")]


async def test_subjects_of_other_tenants_are_not_found(node):
    theirs = await node.create(tenant=OTHER)
    assert await codes(node, {**YES, "subject": theirs}) == [["subject-not-found"]]


async def test_a_batch_has_one_audit_entry(node):
    people = [await node.create() for _ in range(3)]
    async with node.new_entries() as entries:
        await done(node, *({**YES, "subject": person} for person in people))
    (entry,) = entries
    assert (entry.action, entry.decision, entry.count) == ("import-consents", "allowed", 3)
    assert set(entry.subjects) == {await node.pseudonym(person) for person in people}


async def test_a_call_without_new_events_has_an_audit_entry(node):
    subject = await node.create()
    item = {**YES, "subject": subject}
    await done(node, item)
    async with node.new_entries() as entries:
        await done(node, {**item, "purpose": "unheard-of"}, item)
        await done(node, "no object", {**item, "purpose": "unheard-of"})
    assert [(entry.action, entry.decision, entry.code) for entry in entries] == [
        ("import-consents", "allowed", None),
        ("import-consents", "failed", "invalid-body"),
    ]


async def test_the_consent_state_of_the_rows_equals_the_state_of_the_events(node):
    people = [await node.create() for _ in range(3)]
    items = [{**item, "subject": one} for one in people for item in (NO, YES, {**NO, "decision": "objected"})]
    await done(node, *items)
    steps = [step async for step in compare(node.services, (await node.caller("dpo")).tenant)]
    assert sum(step.people for step in steps) == 3
    assert [step.differences for step in steps if step.differences] == []


async def test_evidence_is_sealed(node):
    subject = await node.create()
    await done(node, {**YES, "subject": subject, "evidence": "Kanarienvogel 4711"})
    ((body,),) = await node.sql("SELECT body FROM consent_event WHERE subject_id = :id", id=UUID(subject))
    assert b"Kanarienvogel" not in bytes(body)
