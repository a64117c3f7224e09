"""Data is restricted on request (Art. 18 GDPR), and the person is told before that ends."""

from __future__ import annotations

import asyncio

from tests.rectification.submitting import ask, carry_out, consents, listed, notices, state, verify
from tests.vaults import problem
from vault.ids import DEFAULT_TENANT
from vault.requests.consent_changes import restrict


async def lift(node, subject, what="lift", **body):
    return await node.post("dpo", f"/v1/subjects/{subject}/restriction:{what}", body)


async def kinds(node, subject):
    return [event["kind"] for event in (await consents(node, subject))["history"]]


async def test_a_restriction_from_receipt_to_its_lifting(mailing, inbox, clock):
    node, subject = mailing, await mailing.create()
    await node.read("fulfilment", subject, ["name"], "order-fulfilment")
    done = await carry_out(node, subject, "restriction", ground="claims", reason="a lawsuit")
    assert done.state == "completed"
    refused = await node.read("fulfilment", subject, ["name"], "order-fulfilment")
    assert problem(refused, 403, "denied")["denied"]["name"]["code"] == "restricted"
    (event,) = (await consents(node, subject))["history"]
    assert (event["id"], event["by"], event["evidence"]) == (str(done.results[0]), "subject", "a lawsuit")
    assert await notices(node, done.id) == {("subject.restricted", ("profile.name",))}

    problem(await lift(node, subject), 409, "notice-first")
    inbox.letters.clear()
    announced = await lift(node, subject, "announce")
    assert (announced.status_code, announced.json()["lift_from"]) == (201, "2026-03-08T12:00:00.000000Z")
    letter = inbox.last()
    assert letter.recipients == ["ada@example.org"]
    assert "8 March 2026" in letter.body
    problem(await lift(node, subject), 409, "notice-running")
    clock.advance(days=3)
    assert (await lift(node, subject, reason="over")).json()["state"] == "active"
    assert (await node.read("fulfilment", subject, ["name"], "order-fulfilment")).status_code == 200
    lifted, reports, _restricted = (await consents(node, subject))["history"]
    assert [lifted["kind"], reports["kind"]] == ["restriction-lifted", "lift-announced"]
    assert lifted["answers"] == reports["id"]
    assert await notices(node, None) >= {("subject.restriction-lifted", ("profile.name",))}


async def test_without_mail_staff_record_how_the_person_was_notified(sqlite_node):
    node, subject = sqlite_node, await sqlite_node.create()
    await carry_out(node, subject, "restriction", ground="accuracy")
    problem(await lift(node, subject, "announce"), 409, "person-not-told")
    assert "lift-announced" not in await kinds(node, subject)
    problem(await lift(node, subject, "announce", told="two\nlines"), 422, "invalid-evidence")
    assert (await lift(node, subject, "announce", told="by post on 5 March")).status_code == 201
    (reports, _restricted) = (await consents(node, subject))["history"]
    assert reports["evidence"] == "by post on 5 March"


async def test_a_person_without_an_address_is_not_notified(sqlite_mailing, inbox):
    subject = await sqlite_mailing.create({"name": "Ada"})
    await carry_out(sqlite_mailing, subject, "restriction", ground="claims")
    inbox.letters.clear()
    problem(await lift(sqlite_mailing, subject, "announce"), 409, "person-not-told")
    assert inbox.letters == []


async def test_a_refused_letter_does_not_count_as_a_notice(sqlite_mailing, inbox):
    subject = await sqlite_mailing.create()
    await carry_out(sqlite_mailing, subject, "restriction", ground="claims")
    inbox.refuse = "550 nobody of that name"
    problem(await lift(sqlite_mailing, subject, "announce"), 409, "person-not-told")
    problem(await lift(sqlite_mailing, subject), 409, "notice-first")


async def test_a_person_who_is_not_restricted_gets_no_letter(sqlite_mailing, inbox):
    subject = await sqlite_mailing.create()
    problem(await lift(sqlite_mailing, subject, "announce"), 409, "not-restricted")
    assert inbox.letters == []


async def test_a_further_restriction_needs_a_notice_of_its_own(sqlite_node, clock):
    node, subject = sqlite_node, await sqlite_node.create()
    await carry_out(node, subject, "restriction", ground="claims")
    await lift(node, subject, "announce", told="by post")
    clock.advance(days=2)
    await node.post("dpo", f"/v1/subjects/{subject}/restriction", {"ground": "accuracy"})
    clock.advance(days=2)
    problem(await lift(node, subject), 409, "notice-first")


async def test_the_later_of_two_notices_counts(sqlite_node, clock):
    node, subject = sqlite_node, await sqlite_node.create()
    await carry_out(node, subject, "restriction", ground="claims")
    await lift(node, subject, "announce", told="by post")
    clock.advance(days=2)
    await lift(node, subject, "announce", told="by post again")
    clock.advance(days=2)
    problem(await lift(node, subject), 409, "notice-running")
    clock.advance(days=1)
    assert (await lift(node, subject)).status_code == 201
    problem(await lift(node, subject), 409, "not-restricted")


async def test_the_days_of_the_notice_come_from_the_policies(sqlite_node, clock):
    node = sqlite_node
    from vault.bootstrap import apply_folders

    file = node.vault.settings.policies / "requests.toml"
    text = file.read_text() if file.exists() else "restriction_notice_days = 3\n"
    assert "restriction_notice_days = 3" in text
    file.write_text(text.replace("restriction_notice_days = 3", "restriction_notice_days = 10"))
    await apply_folders(node.vault)
    subject = await node.create()
    await carry_out(node, subject, "restriction", ground="claims")
    await lift(node, subject, "announce", told="by post")
    clock.advance(days=9, hours=23)
    problem(await lift(node, subject), 409, "notice-running")
    clock.advance(hours=1)
    assert (await lift(node, subject)).status_code == 201


async def test_a_notice_does_not_move_in_a_merge(node, clock):
    survivor, duplicate = await node.create(), await node.create({"name": "Ada L."})
    for person in (survivor, duplicate):
        await carry_out(node, person, "restriction", ground="claims")
    await lift(node, duplicate, "announce", told="by post")
    merged = {"survivor": survivor, "duplicate": duplicate, "evidence": "same card"}
    assert (await node.post("dpo", "/v1/subjects:merge", merged)).status_code == 201
    clock.advance(days=3)
    problem(await lift(node, survivor), 409, "notice-first")


async def test_a_step_that_is_run_again_restricts_once(node):
    subject = await node.create()
    done = await carry_out(node, subject, "restriction", ground="claims")
    await asyncio.gather(*(restrict(node.services, DEFAULT_TENANT, done.id) for _ in range(3)))
    assert await kinds(node, subject) == ["restricted"]


async def test_two_workers_of_one_job_restrict_once(node):
    from vault.requests.decide import approve_request, start_request

    subject = await node.create()
    request = await ask(node, subject, "restriction", ground="claims")
    await verify(node, request)
    await approve_request(node.services, await node.caller("dpo"), request)
    await start_request(node.services, DEFAULT_TENANT, request)
    await asyncio.gather(*(restrict(node.services, DEFAULT_TENANT, request) for _ in range(4)))
    assert await kinds(node, subject) == ["restricted"]
    assert len((await state(node, request)).results) == 1
    assert await listed(node, subject) == []
