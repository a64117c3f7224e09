"""Objections (Art. 21 GDPR) and withdrawals (Art. 7(3)) stop the use as soon as it is sure who asks."""

from __future__ import annotations

import pytest

from tests.rectification.submitting import approve, ask, carry_out, consents, moves, notices, run, state, verify
from tests.vaults import problem
from vault.consent.store import compare
from vault.ids import DEFAULT_TENANT
from vault.requests.consent_changes import uphold, withdraw
from vault.requests.decide import (
    approve_request,
    cancel_request,
    hand_back,
    reject_request,
    reopen_request,
    start_request,
)

GIVEN = {"purpose": "direct-marketing", "decision": "given", "notice": "marketing@3", "method": "checkbox"}
FRAUD = "fraud-prevention"


async def agree(node, subject, **more):
    answer = await node.post("support", f"/v1/subjects/{subject}/consents", {**GIVEN, **more})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def stopped(node, subject, purpose=FRAUD, role="finance"):
    """Tell by which code a read is refused; none where it is not."""
    answer = await node.read(role, subject, ["email" if role == "marketing" else "name"], purpose)
    if answer.status_code == 200:
        return None
    (refused,) = problem(answer, 403, "denied")["denied"].values()
    return refused["code"]


async def consistent(node):
    return not [difference async for step in compare(node.services, DEFAULT_TENANT) for difference in step.differences]


async def test_use_stops_with_verification_and_ends_when_the_objection_is_upheld(node):
    subject = await node.create()
    assert await stopped(node, subject) is None
    request = await ask(node, subject, "objection", purposes=[FRAUD], reason="a false alarm")
    assert await stopped(node, subject) is None  # anybody could have sent it
    assert (await verify(node, request, "single")).state == "in_review"
    assert await stopped(node, subject) == "objected"
    assert ("subject.objected", ("profile.name",)) in await notices(node, request)
    done = await approve(node, request)
    assert (done.state, len(done.results)) == ("completed", 2)
    assert await stopped(node, subject) == "objected"
    upheld, objected = (await consents(node, subject))["history"]
    assert (upheld["kind"], upheld["answers"]) == ("objection-upheld", objected["id"])
    assert (objected["evidence"], objected["channel"]) == ("a false alarm", "phone")
    assert await consistent(node)


async def test_use_goes_on_when_the_objection_is_overruled_with_a_reason(node):
    subject = await node.create()
    request = await ask(node, subject, "objection", purposes=[FRAUD])
    await verify(node, request)
    dpo = await node.caller("dpo")
    await reject_request(node.services, dpo, request, ground="compelling-grounds", note="an open case")
    assert (await state(node, request)).state == "rejected"
    assert await stopped(node, subject) is None
    overruled, _objected = (await consents(node, subject))["history"]
    assert (overruled["kind"], overruled["evidence"]) == ("objection-overruled", "an open case")


async def test_direct_marketing_ends_at_once_without_a_decision(node):
    subject = await node.create()
    await agree(node, subject)
    assert await stopped(node, subject, "direct-marketing", "marketing") is None
    request = await ask(node, subject, "objection", purposes=["direct-marketing"])
    assert (await verify(node, request, "single")).state == "approved"
    assert await stopped(node, subject, "direct-marketing", "marketing") == "consent-missing"
    assert (await run(node, request)).state == "completed"
    (objected, _given) = (await consents(node, subject))["history"]
    assert (objected["kind"], objected["final"]) == ("objected", True)
    assert [move for move, _code in await moves(node, request)] == [
        "receive", "verify", "approve", "start", "complete",
    ]  # fmt: skip


async def test_an_objection_without_purposes_is_to_all_that_may_be_objected_to(sqlite_node):
    node, subject = sqlite_node, await sqlite_node.create()
    policy_set = node.services.policies.active(DEFAULT_TENANT).policy_set
    from vault.consent.legal_ground import may_object

    await carry_out(node, subject, "objection")
    history = (await consents(node, subject))["history"]
    assert {event["purpose"] for event in history} == {
        name for name, item in policy_set.purposes.items() if may_object(item)
    }
    assert await stopped(node, subject) == "objected"
    assert await stopped(node, subject, "order-fulfilment", "fulfilment") is None


async def test_an_objection_that_is_decided_already_is_not_decided_again(sqlite_node):
    node, subject = sqlite_node, await sqlite_node.create()
    request = await ask(node, subject, "objection", purposes=[FRAUD])
    await verify(node, request)
    (event,) = (await state(node, request)).results
    decided = {"decision": "overruled", "reason": "an open case"}
    await node.post("dpo", f"/v1/subjects/{subject}/objections/{event}:decide", decided)
    assert (await approve(node, request)).state == "completed"
    assert [item["kind"] for item in (await consents(node, subject))["history"]] == ["objection-overruled", "objected"]


async def test_a_second_verification_makes_no_second_objection(sqlite_node):
    node, subject = sqlite_node, await sqlite_node.create()
    request = await ask(node, subject, "objection", purposes=[FRAUD])
    await verify(node, request, "single")
    await verify(node, request, "fresh")
    await uphold(node.services, DEFAULT_TENANT, request)  # a job that was begun too early changes nothing
    assert [event["kind"] for event in (await consents(node, subject))["history"]] == ["objected"]


async def test_an_objection_handed_back_to_staff_is_made_once(sqlite_node):
    node, subject = sqlite_node, await sqlite_node.create()
    request = await ask(node, subject, "objection", purposes=[FRAUD])
    await verify(node, request)
    await approve_request(node.services, await node.caller("dpo"), request)
    await start_request(node.services, DEFAULT_TENANT, request)
    await hand_back(node.services, DEFAULT_TENANT, request, code="unavailable")
    assert (await approve(node, request)).state == "completed"
    kinds = [event["kind"] for event in (await consents(node, subject))["history"]]
    assert kinds == ["objection-upheld", "objected"]


async def test_a_reopened_objection_stops_the_use_again(node):
    subject = await node.create()
    request = await ask(node, subject, "objection", purposes=[FRAUD])
    await verify(node, request)
    dpo = await node.caller("dpo")
    await reject_request(node.services, dpo, request, ground="compelling-grounds")
    await reopen_request(node.services, dpo, request)
    assert await stopped(node, subject) is None
    await verify(node, request)
    assert await stopped(node, subject) == "objected"
    assert (await approve(node, request)).state == "completed"
    kinds = [event["kind"] for event in (await consents(node, subject))["history"]]
    assert kinds == ["objection-upheld", "objected", "objection-overruled", "objected"]


async def test_a_cancelled_request_leaves_the_objection_to_be_decided(sqlite_node):
    """To take a request back is not to say that the use may go on: staff decide, or the person consents."""
    node, subject = sqlite_node, await sqlite_node.create()
    request = await ask(node, subject, "objection", purposes=[FRAUD])
    await verify(node, request)
    await cancel_request(node.services, await node.caller("dpo"), request)
    assert await stopped(node, subject) == "objected"


@pytest.mark.parametrize("purposes", [(), ("direct-marketing",)], ids=["all", "one"])
async def test_a_withdrawal_takes_effect_with_verification(node, purposes):
    subject = await node.create()
    await agree(node, subject)
    loyalty = {"purpose": "loyalty-programme", "notice": "loyalty@1"}
    await agree(node, subject, **loyalty)
    await node.read("marketing", subject, ["email"], "direct-marketing")
    request = await ask(node, subject, "withdrawal", purposes=purposes)
    assert await stopped(node, subject, "direct-marketing", "marketing") is None
    assert (await verify(node, request, "single")).state == "approved"
    assert await stopped(node, subject, "direct-marketing", "marketing") == "consent-missing"
    done = await run(node, request)
    result = (await consents(node, subject))["consents"]
    assert result["direct-marketing"]["state"] == "withdrawn"
    assert result["loyalty-programme"]["state"] == ("given" if purposes else "withdrawn")
    assert len(done.results) == (1 if purposes else 2)
    assert ("subject.withdrawn", ("profile.email",)) in await notices(node, request)
    await withdraw(node.services, DEFAULT_TENANT, request)
    assert (await state(node, request)) == done
    assert await consistent(node)


async def test_a_withdrawal_without_consent_completes_as_a_refusal(sqlite_node):
    node, subject = sqlite_node, await sqlite_node.create()
    done = await carry_out(node, subject, "withdrawal", purposes=["direct-marketing"])
    assert done.state == "completed"
    assert (await consents(node, subject))["consents"]["direct-marketing"]["state"] == "withdrawn"
    again = await carry_out(node, subject, "withdrawal")
    assert (again.state, again.results) == ("completed", ())


async def test_a_withdrawal_ends_a_pending_double_opt_in(sqlite_node):
    node, subject = sqlite_node, await sqlite_node.create()
    token = (await agree(node, subject, method="double-opt-in"))["confirmation"]["token"]
    await carry_out(node, subject, "withdrawal")
    confirmed = await node.post(None, "/v1/consents:confirm", {"token": token})
    assert confirmed.status_code in {404, 409}
    assert (await consents(node, subject))["consents"]["direct-marketing"]["state"] == "withdrawn"
