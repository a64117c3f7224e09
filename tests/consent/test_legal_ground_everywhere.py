"""A subject's consents decide every read, list, search and write about that subject only."""

from __future__ import annotations

from uuid import UUID

from tests.vaults import problem
from vault.bootstrap import apply_folders
from vault.consent.model import Event
from vault.consent.store import append_events
from vault.ids import DEFAULT_TENANT, SubjectId, new_id

FIELDS = ["name", "email"]
P = "direct-marketing"


async def say(node, subject, kind, *, purpose=P, **facts):
    now = node.services.clock.now()
    given = {"notice": "marketing@3", "method": "checkbox", "by": "subject", "occurred_at": now, "recorded_at": now}
    if kind.startswith("restrict"):
        purpose = None
    event = Event(id=new_id(), subject=UUID(subject), kind=kind, purpose=purpose, **given | facts)
    async with node.services.data.transaction() as connection:
        await append_events(node.services, connection, DEFAULT_TENANT, SubjectId(UUID(subject)), [event])


async def ask_marketing(node, subject):
    return await node.read("marketing", subject, FIELDS, P)


async def test_a_read_waits_for_consent_and_ends_with_it(node, clock):
    ada = await node.create()
    problem(await ask_marketing(node, ada), 403, "denied")
    await say(node, ada, "given")
    assert set((await ask_marketing(node, ada)).json()["fields"]) == set(FIELDS)
    clock.advance(seconds=1)
    await say(node, ada, "withdrawn")
    refused = problem(await ask_marketing(node, ada), 403, "denied")
    assert {item["code"] for item in refused["denied"].values()} == {"consent-missing"}


async def test_a_consent_counts_only_for_its_purpose_and_person(node):
    ada, charles = await node.create(), await node.create()
    await say(node, ada, "given")
    problem(await ask_marketing(node, charles), 403, "denied")
    problem(await node.read("marketing", ada, ["language"], "partner-advertising"), 403, "denied")


async def test_each_subject_of_a_batch_is_decided_by_its_own_state(node):
    ada, charles, erased = [await node.create() for _ in range(3)]
    await say(node, ada, "given")
    await say(node, erased, "given")
    await node.set_state(erased, "erased")
    body = {"subjects": [ada, charles, erased, str(new_id())], "fields": FIELDS, "purpose": P}
    results = (await node.post("marketing", "/v1/read", body)).json()["results"]
    assert [set(result["fields"]) for result in results] == [set(FIELDS), set(), set(), set()]
    answers = [{refused["code"] for refused in result["denied"].values()} for result in results]
    assert answers == [set(), {"consent-missing"}, {"consent-missing"}, {"consent-missing"}]
    (entry,) = [item for item in await node.entries() if item.action == "read"]
    assert entry.decision == "partly"
    assert entry.withheld == (await node.pseudonym(charles), await node.pseudonym(erased))


async def test_no_key_is_fetched_for_refused_subjects(node):
    ada = await node.create()
    node.services.keyring.clear()
    before = node.services.keyring.stats()["misses"]
    problem(await ask_marketing(node, ada), 403, "denied")
    assert node.services.keyring.stats()["misses"] == before


async def test_lists_apply_the_same_ground_as_reads(node, clock):
    ada = await node.create()
    path, body = f"/v1/subjects/{ada}/records/offer:read", {"fields": ["status"], "purpose": P}
    problem(await node.post("marketing", path, body), 403, "denied")
    await say(node, ada, "given")
    assert (await node.post("marketing", path, body)).status_code == 200


async def test_writes_for_a_purpose_that_rests_on_consent_need_it(node):
    ada = await node.create()
    offer = {"status": "sent"}
    problem(await node.append("marketing", ada, "offer", offer, P), 403, "denied")
    problem(await node.patch("marketing", ada, {"preferences": ["tea"]}, P, '"1"'), 403, "denied")
    await say(node, ada, "given")
    assert (await node.append("marketing", ada, "offer", offer, P)).status_code == 201
    assert (await node.patch("marketing", ada, {"preferences": ["tea"]}, P, '"1"')).status_code == 200


async def test_an_objection_stops_an_interest_until_it_is_overruled(node, clock):
    ada = await node.create()
    fields, purpose = ["birth_date.year"], "service-analytics"
    assert (await node.read("analytics", ada, fields, purpose)).status_code == 200
    await say(node, ada, "objected", purpose=purpose)
    refused = problem(await node.read("analytics", ada, fields, purpose), 403, "denied")
    assert refused["denied"]["birth_date.year"]["code"] == "objected"
    await say(node, ada, "objection-overruled", purpose=purpose, by="staff")
    assert (await node.read("analytics", ada, fields, purpose)).status_code == 200


async def test_a_restriction_permits_storage_and_the_persons_own_rights(node):
    ada = await node.create()
    await say(node, ada, "restricted")
    refused = problem(await node.read("support", ada, ["name"], "customer-support"), 403, "denied")
    assert refused["denied"]["name"]["code"] == "restricted"
    assert (await node.read("dpo", ada, ["name"], "subject-rights")).status_code == 200
    written = await node.append("support", ada, "interaction", {"body": "hello"}, "customer-support")
    assert problem(written, 403, "denied")["denied"]["interaction.body"]["code"] == "restricted"
    assert (await node.patch("dpo", ada, {"name": "Ada King"}, "subject-rights", '"1"')).status_code == 200
    await say(node, ada, "restriction-lifted")
    assert (await node.read("support", ada, ["name"], "customer-support")).status_code == 200


async def test_a_row_that_is_restricted_without_an_event_stays_closed(node):
    ada = await node.create()
    await say(node, ada, "given")
    await node.set_state(ada, "restricted")
    problem(await ask_marketing(node, ada), 403, "denied")


async def test_a_search_does_not_find_restricted_people(node):
    ada = await node.create()
    body = {"match": {"email": "ada@example.org"}, "fields": ["name"], "purpose": "customer-support"}
    assert len((await node.post("support", "/v1/subjects:search", body)).json()["results"]) == 1
    await say(node, ada, "restricted")
    assert (await node.post("support", "/v1/subjects:search", body)).json()["results"] == []


async def test_explain_agrees_with_a_read(node):
    ada = await node.create()
    body = {"subject": ada, "fields": ["name"], "purpose": P, "action": "read"}
    before = (await node.post("marketing", "/v1/decisions:explain", body)).json()["fields"]["name"]
    assert (before["allowed"], before["code"], before["step"]) == (False, "consent-missing", 7)
    await say(node, ada, "given")
    assert (await node.post("marketing", "/v1/decisions:explain", body)).json()["fields"]["name"]["allowed"] is True
    await say(node, ada, "restricted")
    after = (await node.post("marketing", "/v1/decisions:explain", body)).json()["fields"]["name"]
    assert (after["code"], after["step"]) == ("restricted", 6)


async def test_a_subject_cannot_be_created_for_a_consent_purpose(place, clock):
    with (place.folder / "policies" / "policy.csv").open("a") as file:
        file.write("p, sales, *, name, write, loyalty-programme, allow\n")
        file.write("p, sales, *, external_ids, write, loyalty-programme, allow\n")
    body = {"profile": {"name": "Ada"}, "purpose": "loyalty-programme", "external_ids": {"card": "1"}}
    async with place.node(clock) as node:
        await apply_folders(node.vault)
        for path in ("/v1/subjects", "/v1/subjects:upsert"):
            refused = problem(await node.post("sales", path, body), 403, "denied")
            assert refused["denied"]["name"]["code"] == "consent-missing"
