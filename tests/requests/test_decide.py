"""Requests are approved, rejected, extended, cancelled, reopened and completed; unverified ones expire."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest

from tests.requests.submitting import (
    another,
    apply_rules,
    as_staff,
    kept,
    move,
    moved,
    show,
    submit,
    submitted,
    verified,
    verify_request,
    work_off,
)
from tests.vaults import problem
from vault.access.callers import system_caller
from vault.errors import Unavailable, VaultError
from vault.requests.decide import expire_requests, guarded, start_request
from vault.requests.model import Verification
from vault.requests.transaction import changing_request
from vault.workflows import REQUEST_WORKFLOWS, pending


def moves(events):
    return [event.move for event in events]


async def test_an_unverified_request_cannot_be_approved(node):
    request = await submitted(node, "erasure", await node.create())
    refused = problem(await move(node, request, "approve"), 409, "wrong-state")
    assert "verified" in refused["hint"]
    assert await work_off(node) == []
    await verified(node, request)
    approved = await moved(node, request, "approve", note="looked at the preview")
    assert approved["state"] == "approved"
    assert [approval["by"] for approval in approved["approvals"]] == [str((await node.caller("dpo")).principal.id)]
    assert [(event["move"], event["note"]) for event in (await show(node, request))["history"]] == [
        ("receive", None),
        ("verify", "identity card seen at the counter"),
        ("approve", "looked at the preview"),
    ]


async def test_an_erasure_needs_a_fresh_verification(node, clock):
    caller = await node.caller("dpo")
    stale = Verification("vouched", "single", clock.now())
    for kind, details in (("erasure", {}), ("rectification", {"changes": {"name": "Ada"}})):
        request = await submitted(node, kind, await node.create(), details=details)
        with pytest.raises(VaultError) as refused:
            await verify_request(node, caller, (await kept(node, request))[0].id, stale)
        assert refused.value.code == "fresh-identity-needed"
        assert (await show(node, request))["state"] == "received"
    request = await submitted(node, "access", await node.create())
    created = await verify_request(node, caller, (await kept(node, request))[0].id, stale)
    assert (created.state, created.verification) == ("approved", stale)


async def test_automatic_approval_is_recorded_as_by_rule(node):
    subject = await node.create()
    async with node.new_entries() as new_entries:
        request = await submitted(node, "access", subject)
        await verified(node, request)
    assert [(item.action, item.code, item.principal_name) for item in new_entries] == [
        ("submit-request", "receive", "support"),
        ("verify-identity", "verify", "dpo"),
        ("verify-identity", "approve", "vault"),
    ]
    assert {item.subjects for item in new_entries} == {(await node.pseudonym(subject),)}
    assert {str(item.target) for item in new_entries} == {request}
    await apply_rules(node, access="review")
    second = await submitted(node, "access", subject)
    await verified(node, second)
    assert (await show(node, second))["state"] == "in_review"


async def test_dual_approval_needs_two_people_other_than_the_submitter(node):
    await apply_rules(node, erasure="four-eyes")
    clerk, first, second = [await another(node, name, "dpo") for name in ("clerk", "first", "second")]
    body = {"kind": "erasure", "subject": await node.create()}
    request = (await node.post(None, "/v1/requests", body, headers=clerk)).json()["id"]
    await as_staff(node, clerk, request, "verify", evidence="seen")
    problem(await as_staff(node, clerk, request, "approve"), 409, "own-request")
    signed = await as_staff(node, first, request, "approve", note="agreed")
    assert (signed.json()["state"], len(signed.json()["approvals"])) == ("in_review", 1)
    problem(await as_staff(node, first, request, "approve"), 409, "signed-already")
    problem(await as_staff(node, clerk, request, "approve"), 409, "own-request")
    approved = await as_staff(node, second, request, "approve")
    assert approved.json()["state"] == "approved"
    assert len({approval["by"] for approval in approved.json()["approvals"]}) == 2
    assert moves((await kept(node, request))[1]) == ["receive", "verify", "sign", "approve"]


async def test_a_question_about_identity_voids_the_first_approval(node):
    await apply_rules(node, erasure="four-eyes")
    request = await submitted(node, "erasure", await node.create())
    await verified(node, request)
    await moved(node, request, "approve")
    asked = await moved(node, request, "ask-identity", note="the letter is signed by somebody else")
    assert (asked["state"], asked["approvals"], asked["verification"]) == ("verifying", [], None)
    problem(await move(node, request, "approve"), 409, "wrong-state")


REFUSED = [
    ("access", "rights-of-others", {}),
    ("portability", "not-portable", {}),
    ("rectification", "data-accurate", {"details": {"changes": {"name": "Ada"}}}),
    ("erasure", "legal-obligation", {}),
    ("restriction", "no-ground", {"details": {"ground": "accuracy"}}),
    ("objection", "compelling-grounds", {"scope": {"purposes": ["fraud-prevention"]}}),
    ("withdrawal", "no-consent", {}),
    ("review", "no-automated-decision", {}),
]


async def test_a_rejection_names_the_ground_and_the_remedies(sqlite_node):
    node = sqlite_node
    subject = await node.create()
    for kind, ground, also in REFUSED:
        request = await submitted(node, kind, subject, **also)
        wrong = problem(await move(node, request, "reject", ground="we do not want to"), 422, "unknown-ground")
        assert ground in wrong["errors"][0]["detail"]
        refused = await moved(node, request, "reject", ground=ground, note="see the file")
        assert (refused["state"], refused["ground"]) == ("rejected", ground)
        assert refused["closed_at"] == "2026-03-05T12:00:00.000000Z"
        assert refused["remedies"]["complaint"] == "Art. 77 GDPR"
        assert refused["remedies"]["authority"]["name"] == "Data Protection Commission"
        assert refused["remedies"]["court"] == "Art. 79 GDPR"
        assert (await show(node, request))["remedies"] == refused["remedies"]
        problem(await move(node, request, "reject", ground=ground), 409, "wrong-state")


async def test_an_objection_to_direct_marketing_has_no_ground_of_refusal(sqlite_node):
    scope = {"purposes": ["direct-marketing"]}
    request = await submitted(sqlite_node, "objection", await sqlite_node.create(), scope=scope)
    problem(await move(sqlite_node, request, "reject", ground="compelling-grounds"), 422, "unknown-ground")


async def test_the_deadline_is_extended_once_and_before_it_has_passed(node, clock):
    subject = await node.create()
    request, late = [await submitted(node, kind, subject) for kind in ("access", "portability")]
    clock.advance(days=33)  # 04-07, the last day
    extended = await moved(node, request, "extend", reason="complexity", note="four shops")
    assert (extended["due"], extended["extended"], extended["days_left"]) == ("2026-06-05", True, 59)
    assert "three months (extended)" in extended["due_rule"]
    problem(await move(node, request, "extend", reason="number"), 409, "extended-already")
    clock.advance(days=1)
    problem(await move(node, late, "extend", reason="number"), 409, "extension-too-late")
    ccpa = await submitted(node, "erasure", subject, regime="ccpa", jurisdiction="US-CA")
    assert (await moved(node, ccpa, "extend", reason="number"))["due"] == "2026-07-07"  # 90 days


async def test_a_prompt_question_about_identity_suspends_the_deadline(node, clock):
    request = await submitted(node, "erasure", await node.create())
    clock.advance(days=3)
    asked = await moved(node, request, "ask-identity", note="which of the two Adas?")
    assert (asked["state"], asked["suspended"], asked["days_left"]) == ("verifying", True, None)
    clock.advance(days=40)
    listed = await node.call("dpo", "GET", "/v1/requests", params={"due": "overdue"})
    assert listed.json()["requests"] == []
    await verified(node, request)
    result = await show(node, request)
    assert (result["due"], result["suspended"]) == ("2026-05-15", False)  # 04-05 and 40 days
    assert "40 days in which identity was in question" in result["due_rule"]
    assert result["history"][1]["code"] == "in-time"


@pytest.mark.parametrize(("days", "also"), [(8, {}), (0, {"regime": "ccpa", "jurisdiction": "US-CA"})])
async def test_a_late_question_or_one_under_the_ccpa_does_not_suspend_the_deadline(sqlite_node, clock, days, also):
    node = sqlite_node
    request = await submitted(node, "erasure", await node.create(), **also)
    due = (await show(node, request))["due"]
    clock.advance(days=days)
    asked = await moved(node, request, "ask-identity")
    assert (asked["state"], asked["suspended"]) == ("verifying", False)
    clock.advance(days=5)
    await verified(node, request)
    result = await show(node, request)
    assert (result["due"], result["history"][1]["code"]) == (due, "too-late-for-the-clock")


async def test_only_staff_and_the_submitting_app_can_cancel_a_request(node):
    subject = await node.create()
    one, two = [await another(node, name, "self-service") for name in ("portal", "shop")]
    created = [(await node.post(None, "/v1/requests", {"kind": "access", "subject": subject}, headers=one)).json()["id"]
            for _ in range(2)]  # fmt: skip
    problem(await as_staff(node, two, created[0], "cancel"), 403, "not-granted")
    assert (await as_staff(node, one, created[0], "cancel")).json()["state"] == "cancelled"
    assert (await moved(node, created[1], "cancel"))["state"] == "cancelled"
    problem(await as_staff(node, one, created[0], "cancel"), 409, "wrong-state")
    problem(await as_staff(node, two, created[0], "reopen"), 403, "not-granted")


async def test_reopening_starts_a_new_run_and_keeps_the_history(node, clock):
    request = await submitted(node, "erasure", await node.create())
    await verified(node, request)
    await moved(node, request, "ask-identity")
    clock.advance(days=2)
    await moved(node, request, "reject", ground="identity-not-shown", note="no answer")
    clock.advance(days=2)
    again = await moved(node, request, "reopen", note="the answer came late")
    assert (again["state"], again["verification"], again["ground"], again["closed_at"]) == (
        "received",
        None,
        None,
        None,
    )
    assert (again["due"], again["suspended"]) == ("2026-04-07", False)  # two days were suspended; Easter takes them in
    problem(await move(node, request, "approve"), 409, "wrong-state")
    result, events = await kept(node, request)
    assert result.run == 1
    assert moves(events) == ["receive", "verify", "ask-identity", "reject", "reopen"]
    assert [event["note"] for event in (await show(node, request))["history"]][3:] == [
        "no answer",
        "the answer came late",
    ]


async def test_a_review_is_completed_by_staff(node):
    request = await submitted(node, "review", await node.create(), details={"statement": "I pay my bills."})
    problem(await move(node, request, "complete", outcome="changed"), 409, "wrong-state")
    await verified(node, request)
    done = await moved(node, request, "complete", outcome="changed", note="the score was another's")
    assert (done["state"], done["outcome"]) == ("completed", "changed")
    assert moves((await kept(node, request))[1]) == ["receive", "verify", "approve", "start", "complete"]


async def test_an_approved_review_waits_for_staff(node):
    request = await submitted(node, "review", await node.create())
    await verified(node, request)
    await moved(node, request, "approve")
    assert [ended.workflow for ended in await work_off(node)] == ["review"]
    assert (await show(node, request))["state"] == "in_progress"
    assert await work_off(node) == []
    assert (await moved(node, request, "complete", outcome="confirmed"))["outcome"] == "confirmed"


async def test_other_kinds_are_completed_by_their_jobs(node):
    request = await submitted(node, "withdrawal", await node.create())
    problem(await move(node, request, "complete", outcome="changed"), 409, "completed-by-job")


async def test_a_failed_job_hands_the_request_back_for_another_run(node):
    request = await submitted(node, "withdrawal", await node.create())
    await verified(node, request)
    (pending,) = await work_off_start(node)
    called = []

    async def broken(services, tenant, request):
        called.append(request)
        raise VaultError("it cannot be", code="some-obstacle")

    assert await guarded(broken)(node.services, pending.tenant, pending.id) is None
    assert await guarded(broken)(node.services, pending.tenant, pending.id) is None  # not under way any more
    assert called == [pending.id]
    result, events = await kept(node, request)
    assert (result.state, result.run, result.approvals) == ("in_review", 1, ())
    assert (events[-1].move, events[-1].code, events[-1].by_name) == ("hand-back", "some-obstacle", "vault")
    await moved(node, request, "approve")
    assert [ended.run for ended in await work_off(node)] == [1]
    assert (await show(node, request))["state"] == "completed"


async def work_off_start(node):
    result = await pending(node.services)
    for item in result:
        await start_request(node.services, item.tenant, item.id)
        await start_request(node.services, item.tenant, item.id)  # twice does no more than once
    return result


async def test_a_step_that_is_unavailable_is_retried(node):
    request = await submitted(node, "withdrawal", await node.create())
    await verified(node, request)
    (pending,) = await work_off_start(node)

    async def away(services, tenant, request):
        raise Unavailable("the database does not answer")

    with pytest.raises(Unavailable):
        await guarded(away)(node.services, pending.tenant, pending.id)
    assert (await show(node, request))["state"] == "in_progress"


async def test_a_late_job_does_nothing_to_a_cancelled_request(node):
    subject = await node.create()
    request = await submitted(node, "portability", subject)
    await verified(node, request)
    await moved(node, request, "cancel")
    result, before = await kept(node, request)
    await node.services.jobs.run_in_foreground(node.services, REQUEST_WORKFLOWS["portability"], "default", result.id)
    after, events = await kept(node, request)
    assert (after, events) == (result, before)


async def test_unverified_requests_expire(node, clock):
    subject = await node.create()
    waiting, asked, done, unknown = [
        await submitted(node, "access", subject),
        await submitted(node, "portability", subject),
        await submitted(node, "erasure", subject),
        (await submit(node, kind="access", identity={"email": "nobody@example.org"})).json()["id"],
    ]
    await verified(node, done)
    clock.advance(days=10)
    await moved(node, asked, "ask-identity")
    clock.advance(days=4)
    assert await expire_requests(node.services) == 0  # the fourteenth day is theirs
    clock.advance(seconds=1)
    assert await expire_requests(node.services) == 2
    assert await expire_requests(node.services) == 0
    states = {item: (await show(node, item))["state"] for item in (waiting, asked, done, unknown)}
    assert states == {waiting: "expired", asked: "verifying", done: "in_review", unknown: "expired"}
    assert (await kept(node, waiting))[1][-1].by_name == "vault"
    await moved(node, waiting, "reopen")
    assert await expire_requests(node.services) == 0
    clock.advance(days=10, seconds=1)
    assert await expire_requests(node.services) == 1
    assert (await show(node, asked))["state"] == "expired"


async def test_a_request_that_cannot_expire_does_not_stop_the_others(node, clock):
    """The person's key does not open: somebody has changed the key store."""
    broken = await node.create()
    stuck, other = await submitted(node, "access", broken), await submitted(node, "access", await node.create())
    statement = "UPDATE data_key SET wrapped = (SELECT wrapped FROM data_key WHERE subject_id != :id LIMIT 1)"
    await node.sql(f"{statement} WHERE subject_id = :id", keystore=True, id=UUID(broken))
    node.services.keyring.clear()
    clock.advance(days=15)
    assert await expire_requests(node.services) == 1
    states = [(await kept(node, item))[0].state for item in (stuck, other)]
    assert states == ["received", "expired"]


async def test_deciding_needs_the_permission(sqlite_node):
    request = await submitted(sqlite_node, "review", await sqlite_node.create())
    bodies = {
        "approve": {},
        "reject": {"ground": "excessive"},
        "extend": {"reason": "number"},
        "ask-identity": {},
        "reopen": {},
        "complete": {"outcome": "changed"},
    }
    for role in ("support", "operator", "stranger"):
        for verb, body in bodies.items():
            problem(await move(sqlite_node, request, verb, role, **body), 403, "not-granted")
    assert moves((await kept(sqlite_node, request))[1]) == ["receive"]


async def test_a_note_has_one_line(sqlite_node):
    request = await submitted(sqlite_node, "access", await sqlite_node.create())
    for note in ("", " ", "two\nlines", "x" * 501, "\x1b[31m"):
        for verb, body in (("cancel", {}), ("reject", {"ground": "excessive"})):
            problem(await move(sqlite_node, request, verb, note=note, **body), 422, "invalid-note")


async def test_concurrent_decisions_are_serialized(node):
    request = await submitted(node, "erasure", await node.create())
    await verified(node, request)
    both = await asyncio.gather(
        move(node, request, "approve"), move(node, request, "reject", ground="legal-obligation")
    )
    assert sorted(side.status_code for side in both) == [200, 409]
    assert len((await kept(node, request))[1]) == 3


async def test_moves_of_jobs_are_recorded_under_the_name_of_the_vault(node):
    request = await submitted(node, "access", await node.create())
    result, _events = await kept(node, request)
    async with changing_request(node.services, system_caller("default"), result.id) as change:
        change.move("expire")
    (entry,) = [item for item in await node.entries() if item.code == "expire"]
    assert (entry.action, entry.principal_name, str(entry.target)) == ("move-request", "vault", request)
