"""Every kind of request over HTTP, on both databases: completed, refused and extended."""

from __future__ import annotations

import pytest

from tests.requests.submitting import move, moved, show, submit, submitted, verified, work_off
from tests.vaults import problem

MARKETING = {"purpose": "direct-marketing", "decision": "given", "notice": "marketing@3", "method": "checkbox"}
ASKED = {
    "access": {},
    "portability": {},
    "rectification": {"details": {"changes": {"name": "Ada King"}, "reason": "married"}},
    "erasure": {},
    "restriction": {"details": {"ground": "accuracy"}},
    "objection": {"scope": {"purposes": ["fraud-prevention"]}, "details": {"reason": "a false alarm"}},
    "withdrawal": {"scope": {"purposes": ["direct-marketing"]}},
    "review": {"details": {"statement": "I pay my bills."}},
}
AUTOMATIC = {"access", "portability", "withdrawal"}
GROUNDS = {
    "access": "rights-of-others",
    "portability": "not-portable",
    "rectification": "data-accurate",
    "erasure": "legal-claims",
    "restriction": "no-ground",
    "objection": "compelling-grounds",
    "withdrawal": "no-consent",
    "review": "no-automated-decision",
}


@pytest.fixture
async def ada(node):
    subject = await node.create(external_ids={"shop": "4711"})
    said = await node.post("support", f"/v1/subjects/{subject}/consents", MARKETING)
    assert said.status_code == 201, said.text
    return subject


async def carried_out(node, kind, subject):
    """Take a request from its receipt to its completion; returns its state."""
    claim = {"identity": {"external_id": {"shop": "4711"}}, **ASKED[kind]}
    received = await submit(node, kind=kind, channel="letter", **claim)
    assert (received.status_code, received.json()["state"]) == (201, "received"), received.text
    request = received.json()["id"]
    assert await work_off(node) == []  # nothing happens before it is sure who asks
    assert await stands(node, subject) == UNTOUCHED
    await verified(node, request)
    if kind not in AUTOMATIC:
        assert (await show(node, request))["state"] == "in_review"
        await moved(node, request, "approve")
    await work_off(node)
    if kind == "review":
        await moved(node, request, "complete", outcome="changed", note="the score was somebody else's")
    result = await show(node, request)
    assert result["state"] == "completed", result
    assert result["closed_at"] is not None
    assert await work_off(node) == []
    return result


UNTOUCHED = (200, "Ada Lovelace", "given", None, "active")


async def stands(node, subject):
    """Return what the requests of this file change: name, consent, objection and state."""
    read = await node.read("support", subject, ["name"], "customer-support")
    answer = await node.call("dpo", "GET", f"/v1/subjects/{subject}/consents")
    if answer.status_code != 200:
        return read.status_code, None, None, None, None
    said = answer.json()
    objected = said["consents"].get("fraud-prevention", {}).get("objection")
    shown = read.json().get("fields", {}).get("name")
    return read.status_code, shown, said["consents"]["direct-marketing"]["state"], objected, said["state"]


async def test_an_access_request_produces_a_package(node, ada):
    result = await carried_out(node, "access", ada)
    package = await node.call("dpo", "GET", f"/v1/requests/{result['id']}/package")
    assert package.status_code == 200
    assert package.content.startswith(b"PK")
    assert await stands(node, ada) == UNTOUCHED


async def test_a_portability_request_produces_a_package(node, ada):
    result = await carried_out(node, "portability", ada)
    package = await node.call("dpo", "GET", f"/v1/requests/{result['id']}/package")
    assert package.content.startswith(b"PK")
    assert await stands(node, ada) == UNTOUCHED


async def test_a_rectification_request_corrects_the_field(node, ada):
    await carried_out(node, "rectification", ada)
    assert await stands(node, ada) == (200, "Ada King", "given", None, "active")


async def test_an_erasure_request_erases_the_subject(node, ada):
    result = await carried_out(node, "erasure", ada)
    assert (await stands(node, ada))[0] == 404
    assert [event["move"] for event in result["history"]] == ["receive", "verify", "approve", "start", "complete"]
    again = await submit(node, kind="access", identity={"external_id": {"shop": "4711"}})
    assert (await show(node, again.json()["id"]))["subject"] is None


async def test_a_restriction_request_stops_all_use(node, ada):
    await carried_out(node, "restriction", ada)
    assert await stands(node, ada) == (403, None, "given", None, "restricted")


async def test_an_objection_stops_the_use_when_it_is_verified_and_is_upheld_when_approved(node, ada):
    request = await submitted(node, "objection", ada, **ASKED["objection"])
    await verified(node, request)
    assert await stands(node, ada) == (200, "Ada Lovelace", "given", "pending", "active")
    await moved(node, request, "approve")
    await work_off(node)
    assert await stands(node, ada) == (200, "Ada Lovelace", "given", "upheld", "active")
    assert (await show(node, request))["state"] == "completed"


async def test_an_objection_that_is_refused_is_overruled(node, ada):
    request = await submitted(node, "objection", ada, **ASKED["objection"])
    await verified(node, request)
    await moved(node, request, "reject", ground="compelling-grounds", note="an open case")
    assert (await stands(node, ada))[3] == "overruled"


async def test_an_objection_to_direct_marketing_needs_no_approval(node, ada):
    request = await submitted(node, "objection", ada, scope={"purposes": ["direct-marketing"]})
    await verified(node, request)
    assert (await show(node, request))["state"] == "approved"
    read = await node.read("marketing", ada, ["email"], "direct-marketing")
    assert read.status_code == 403
    await work_off(node)
    assert (await show(node, request))["state"] == "completed"


async def test_a_withdrawal_request_withdraws_the_consent(node, ada):
    await carried_out(node, "withdrawal", ada)
    assert await stands(node, ada) == (200, "Ada Lovelace", "withdrawn", None, "active")


async def test_a_review_request_is_decided_by_staff(node, ada):
    result = await carried_out(node, "review", ada)
    assert result["outcome"] == "changed"
    assert await stands(node, ada) == UNTOUCHED


async def test_a_refused_request_of_any_kind_names_the_remedies_and_changes_nothing(node, ada):
    for kind, said in ASKED.items():
        request = await submitted(node, kind, ada, **said)
        refused = await moved(node, request, "reject", ground=GROUNDS[kind], note="see the file")
        assert (refused["state"], refused["remedies"]["complaint"]) == ("rejected", "Art. 77 GDPR")
        problem(await move(node, request, "verify", evidence="seen"), 409, "wrong-state")
    assert await work_off(node) == []
    assert await stands(node, ada) == UNTOUCHED


async def test_a_request_of_any_kind_can_be_extended_once(node, ada, clock):
    created = {kind: await submitted(node, kind, ada, **said) for kind, said in ASKED.items()}
    clock.advance(days=20)
    for request in created.values():
        extended = await moved(node, request, "extend", reason="complexity", note="four shops")
        assert (extended["due"], extended["state"]) == ("2026-06-05", "received")
        problem(await move(node, request, "extend", reason="complexity"), 409, "extended-already")


async def test_each_transition_is_audited_with_the_pseudonym_of_the_subject(node, ada):
    pseudonym = await node.pseudonym(ada)
    async with node.new_entries() as new_entries:
        result = await carried_out(node, "restriction", ada)
    of_request = [item for item in new_entries if str(item.target) == result["id"] and item.action != "read-requests"]
    assert [item.code for item in of_request if item.code] == ["receive", "verify", "approve", "start", "complete"]
    assert {item.subjects for item in of_request} == {(pseudonym,)}
