"""Consents of both subjects move with their evidence, and a merge never grants more."""

from __future__ import annotations

import random
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from tests.imports.test_consents_call import YES, bring
from tests.merging.test_merge import merge
from vault.consent.model import fold, unpack
from vault.consent.store import compare
from vault.ids import SubjectId

GIVEN = {key: value for key, value in YES.items() if key != "occurred_at"}


async def say(node, subject, decision="given", **more):
    body = {**GIVEN, **more} if decision == "given" else {"purpose": "direct-marketing", "decision": decision}
    done = await node.post("support", f"/v1/subjects/{subject}/consents", body)
    assert done.status_code == 201, done.text
    return done.json()["id"]


async def restrict(node, subject):
    done = await node.post("dpo", f"/v1/subjects/{subject}/restriction", {"ground": "accuracy"})
    assert done.status_code == 201, done.text


async def code(node, subject, role="marketing", purpose="direct-marketing", field="name"):
    answer = (await node.read(role, subject, [field], purpose)).json()
    refused = answer["denied"].get(field) if "denied" in answer else None
    return "read" if field in answer.get("fields", {}) else refused["code"]


async def history(node, subject):
    return (await node.call("dpo", "GET", f"/v1/subjects/{subject}/consents")).json()["history"]


async def agree(node):
    """Check that the state on every row agrees with its consent events."""
    tenant = (await node.caller("dpo")).tenant
    differences = [difference async for step in compare(node.services, tenant) for difference in step.differences]
    assert differences == []


async def two(node):
    return await node.create(), await node.create({"name": "A. Lovelace"})


async def test_consent_of_the_duplicate_counts_after_the_merge(node):
    survivor, duplicate = await two(node)
    original = await say(node, duplicate, evidence="scan 4711", channel="store")
    assert (await merge(node, survivor, duplicate)).json()["consents"] == 1
    assert await code(node, survivor) == "read"
    (event,) = await history(node, survivor)
    assert (event["origin"], event["answers"], event["channel"]) == ("merged", original, "store")
    assert event["evidence"] == "scan 4711"
    await agree(node)


@pytest.mark.parametrize("word", ["refused", "withdrawn"])
@pytest.mark.parametrize("who", ["survivor", "duplicate"])
async def test_refusal_of_either_subject_counts_after_the_merge(node, who, word):
    survivor, duplicate = await two(node)
    no, yes = (survivor, duplicate) if who == "survivor" else (duplicate, survivor)
    await say(node, no, word)
    await say(node, yes)
    await merge(node, survivor, duplicate)
    assert await code(node, survivor) == "consent-missing"
    await agree(node)


async def test_survivor_can_consent_again_after_a_merged_refusal(node, clock):
    survivor, duplicate = await two(node)
    await say(node, duplicate, "withdrawn")
    await merge(node, survivor, duplicate)
    clock.advance(seconds=1)
    await say(node, survivor)
    assert await code(node, survivor) == "read"


async def test_restriction_moves_to_the_survivor(node):
    survivor, duplicate = await two(node)
    await restrict(node, duplicate)
    await merge(node, survivor, duplicate)
    assert await code(node, survivor, "sales", "order-fulfilment") == "restricted"
    await agree(node)


async def test_restriction_in_the_row_only_moves_to_the_survivor(node):
    survivor, duplicate = await two(node)
    await node.set_state(duplicate, "restricted")
    await merge(node, survivor, duplicate)
    assert await code(node, survivor, "sales", "order-fulfilment") == "restricted"


async def test_objection_moves_to_the_survivor(node):
    survivor, duplicate = await two(node)
    done = await node.post("support", f"/v1/subjects/{duplicate}/objections", {"purpose": "fraud-prevention"})
    assert done.status_code == 201, done.text
    assert await code(node, survivor, "finance", "fraud-prevention") == "read"
    await merge(node, survivor, duplicate)
    assert await code(node, survivor, "finance", "fraud-prevention") == "objected"


async def test_consent_of_a_child_does_not_move(node):
    survivor = await node.create({"name": "Kim"})
    await say(node, survivor)
    duplicate = await node.create_fully(birth_date="2020-01-01")
    await merge(node, survivor, duplicate)
    assert await code(node, survivor) == "consent-missing"
    await agree(node)


async def test_no_consent_events_of_the_duplicate_remain(node):
    survivor, duplicate = await two(node)
    await say(node, duplicate, method="double-opt-in")
    await merge(node, survivor, duplicate)
    for table in ("consent_event", "consent_confirmation"):
        assert await node.sql(f"SELECT 1 FROM {table} WHERE subject_id = :id", id=UUID(duplicate)) == [], table
    assert await history(node, survivor) == []
    assert await code(node, survivor) == "consent-missing"


async def test_no_refusal_is_lost_in_any_order_of_imports_and_merges(node, clock):
    """Like the property tests, but over the API: subjects are merged, with imports in between."""
    dice = random.Random(4711)
    for _round in range(6):
        people = [await node.create({"name": f"Ada {number}"}) for number in range(3)]
        survivor, *others = people
        for other in others:
            for subject in (survivor, other):
                word = dice.choice(["given", "refused", "withdrawn", None])
                if word is not None:
                    await _bring_or_say(node, dice, subject, word)
                clock.advance(minutes=1)
            denied = [await _denies(node, person) for person in (survivor, other)]
            assert (await merge(node, survivor, other)).status_code == 201
            assert await _denies(node, survivor) or not any(denied)
        await agree(node)


async def _bring_or_say(node, dice, subject, word):
    if dice.random() < 0.5:
        moment = (node.services.clock.now() - timedelta(days=dice.randint(0, 900))).isoformat()
        item = {**YES, "decision": word, "subject": subject, "occurred_at": moment}
        assert (await bring(node, item, source=dice.choice(["crm", "shop"]))).json()["written"] == 1
    else:
        await say(node, subject, word)


async def _denies(node, subject):
    ((packed,),) = await node.sql("SELECT standing FROM subject WHERE id = :id", id=UUID(subject))
    standing = unpack(None if packed is None else bytes(packed))
    async with node.services.data.reading() as connection:
        tenant = (await node.caller("dpo")).tenant
        events = await node.services.consents.events_of(connection, tenant, [SubjectId(UUID(subject))])
    assert fold(events.get(UUID(subject), [])) == standing
    said = standing.purposes.get("direct-marketing")
    return said is not None and said.state in {"refused", "withdrawn"}


async def test_merge_of_an_unknown_subject_changes_nothing(node):
    subject = await node.create()
    await say(node, subject)
    await merge(node, subject, uuid4())
    assert await code(node, subject) == "read"
