"""The check of consents answers as a read would, and discloses nothing else."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from msgspec.structs import replace

from tests.vaults import problem
from vault.clock import rfc3339, to_microseconds
from vault.consent.model import pack, unpack

CHECK = "/v1/consents:check"
GIVEN = {
    "purpose": "direct-marketing", "decision": "given", "notice": "marketing@3", "method": "checkbox",
}  # fmt: skip


async def check(node, subjects, purposes=("direct-marketing",), role="marketing", **how):
    return await node.post(
        role, CHECK, {"subjects": [str(subject) for subject in subjects], "purposes": list(purposes)}, **how
    )


async def test_results_are_in_the_order_of_the_request(node):
    people = [await node.create({"name": f"P{number}"}) for number in range(4)]
    await node.post("support", f"/v1/subjects/{people[1]}/consents", GIVEN)
    await node.post("dpo", f"/v1/subjects/{people[2]}/restriction", {"ground": "claims"})
    await node.post("support", f"/v1/subjects/{people[3]}/objections", {"purpose": "fraud-prevention"})
    await node.set_state(people[0], "erased")
    asked = [*people, str(uuid4()), await node.create(tenant="acme")]
    purposes = ["direct-marketing", "order-fulfilment", "fraud-prevention", "subject-rights"]
    async with node.new_entries() as new_entries:
        answer = await check(node, asked, purposes)
    assert answer.status_code == 200, answer.text
    assert answer.json().keys() == {"results", "checked_at", "valid_until", "audit"}
    results = answer.json()["results"]
    assert [result["subject"] for result in results] == asked
    assert all(result.keys() == {"subject", "purposes"} for result in results)
    assert [[result["purposes"][name] for name in purposes] for result in results] == [
        [False, False, False, False],  # erased
        [True, True, True, True],
        [False, False, False, True],  # restricted, except for the exception
        [False, True, False, True],  # objects
        [False, False, False, False],  # unknown
        [False, False, False, False],  # of another tenant
    ]
    (entry,) = new_entries
    assert (entry.action, entry.decision, str(entry.id)) == ("check-consents", "allowed", answer.json()["audit"])
    assert len(entry.subjects) == 4


async def _good(node, subjects, purposes):
    answer = (await check(node, subjects, purposes, "dpo")).json()
    return answer["checked_at"], answer["valid_until"]


async def test_an_answer_says_until_when_it_can_be_used(node, clock):
    """By the shortest of what ends by itself: an expiry of a yes, the day, and 15 minutes."""
    consented, other = await node.create(), await node.create()
    given = await node.post("support", f"/v1/subjects/{consented}/consents", GIVEN)
    assert given.status_code == 201, given.text
    expiry = clock.now() + timedelta(minutes=5)
    async with node.services.data.transaction() as connection:
        row = await node.services.subjects.locked(connection, "default", UUID(consented))
        state = unpack(row.standing)
        purposes = {name: replace(each, valid_until=to_microseconds(expiry)) for name, each in state.purposes.items()}
        standing = pack(replace(state, purposes=purposes))
        await node.services.subjects.set_standing(connection, row, standing, restricted=False)
    now, soon = rfc3339(clock.now()), rfc3339(expiry)
    most = rfc3339(clock.now() + timedelta(minutes=15))
    assert await _good(node, [other, consented], ["direct-marketing"]) == (now, soon)
    assert await _good(node, [other], ["direct-marketing", "order-fulfilment"]) == (now, most)
    assert await _good(node, [consented], ["order-fulfilment"]) == (now, most), "no yes rests on what expires"
    tomorrow = clock.now().date() + timedelta(days=1)
    clock.advance(hours=11, minutes=50)
    assert (await _good(node, [consented], ["order-fulfilment"]))[1].startswith(f"{tomorrow}T00:00:00")


async def test_the_check_agrees_with_a_read(node):
    subject = await node.create()
    for said in (None, GIVEN, {"purpose": "direct-marketing", "decision": "withdrawn"}):
        if said:
            await node.post("support", f"/v1/subjects/{subject}/consents", said)
        read = await node.read("marketing", subject, ["email"], "direct-marketing")
        (result,) = (await check(node, [subject])).json()["results"]
        assert result["purposes"]["direct-marketing"] == (read.status_code == 200)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"subjects": [], "purposes": ["direct-marketing"]}, "invalid-body"),
        ({"subjects": [str(UUID(int=n)) for n in range(1001)], "purposes": ["direct-marketing"]}, "invalid-body"),
        ({"subjects": [str(UUID(int=1))], "purposes": []}, "invalid-body"),
        ({"subjects": [str(UUID(int=1))], "purposes": ["direct-marketing"] * 51}, "invalid-body"),
        ({"subjects": ["x"], "purposes": ["direct-marketing"]}, "invalid-body"),
    ],
)
async def test_empty_and_oversized_checks_are_refused(sqlite_node, body, code):
    problem(await sqlite_node.post("marketing", CHECK, body), 422, code)


async def test_unknown_purposes_are_reported_by_position(sqlite_node):
    answer = await check(sqlite_node, [uuid4()], ["fun", "direct-marketing", "games"])
    body = problem(answer, 422, "unknown-purpose")
    assert [fault["at"] for fault in body["errors"]] == ["/purposes/0", "/purposes/2"]


async def test_a_denied_check_is_recorded_in_the_audit_log(sqlite_node):
    answer = await check(sqlite_node, [uuid4()], role="analytics")
    body = problem(answer, 403, "not-granted")
    last = (await sqlite_node.entries())[-1]
    assert (last.action, last.decision, str(last.id)) == ("check-consents", "denied", body["audit"])


async def test_a_check_counts_against_the_rate_limit_of_reads(place, clock):
    async with place.node(clock, reads_per_minute=10) as node:
        people = [uuid4() for _ in range(6)]
        assert (await check(node, people)).status_code == 200
        problem(await check(node, people), 429, "rate-limited")


async def test_a_check_of_a_thousand_subjects_is_one_query_and_one_entry(node, monkeypatch):
    people = [UUID(await node.create({"name": "P"})) for _ in range(3)] + [uuid4() for _ in range(997)]
    asked = []
    fetch = node.services.data.fetch

    async def counted(query, **values):
        asked.append(query)
        return await fetch(query, **values)

    await check(node, people[:1])  # the caller's key and rate are known from here on
    monkeypatch.setattr(node.services.data, "fetch", counted)
    before = await node.count()
    answer = await check(node, people)
    assert len(answer.json()["results"]) == 1000
    assert len(asked) <= 1
    assert await node.count() == before + 1
