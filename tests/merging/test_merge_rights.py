"""Requests of both subjects move, work in progress is not lost, and a verification covers no more than before.

``mine`` is the entry that stays, ``theirs`` the one that is merged into it.
"""

from __future__ import annotations

import asyncio
from uuid import UUID

import msgspec
import pytest

from tests.erasure.people import LATELY, certificate, erase, run, somebody, state_of
from tests.erasure.people import ask as ask_as_begun
from tests.identity.test_sessions import mine as my_requests
from tests.identity.test_sessions import signed_in
from tests.merging.test_crash import Cut, cut
from tests.merging.test_merge import merge
from tests.merging.test_merge_consents import code
from tests.rectification.submitting import carry_out
from tests.requests.submitting import apply_rules, kept, move, moved, submitted, verified, work_off
from tests.vaults import ADA, problem
from vault.catalogue.model import Scope
from vault.ids import DEFAULT_TENANT, SubjectId
from vault.merging.duplicates import find_pairs
from vault.recipients.store import NoticeQuery, list_notices
from vault.requests.decide import hand_back, start_request
from vault.requests.store import find_request
from vault.requests.transaction import DETAILS, request_aad

SEEN = "identity card seen at the counter"
NEW = {"changes": {"phone": "+442079460999"}}


async def two(node):
    return await node.create(), await node.create({"name": "A. Lovelace", "email": "countess@example.org"})


async def merged(node, mine, theirs):
    done = await merge(node, mine, theirs)
    assert done.status_code == 201, done.text


async def written(node, request, subject):
    """Open the details and the notes of a request with a subject's keys."""
    whom = SubjectId(UUID(str(subject)))
    keys = (await node.services.keyring.subject_keys(DEFAULT_TENANT, [whom]))[whom]
    where = request_aad(DEFAULT_TENANT, whom, UUID(request))
    row_keys = await node.services.keyring.row_keys(DEFAULT_TENANT)
    async with node.services.data.reading() as connection:
        details = (await find_request(connection, row_keys, UUID(request))).details
    _request, history = await kept(node, request)
    notes = [keys.open(f"note:{event.number}", event.note, where) for event in history if event.note is not None]
    return None if details is None else msgspec.json.decode(keys.open(DETAILS, details, where)), [
        msgspec.json.decode(note) for note in notes
    ]


async def requests_of(node, subject):
    rows = await node.sql("SELECT id FROM rights_request WHERE subject_id = :id", id=UUID(str(subject)))
    return len(rows)


async def test_verified_request_moves_and_has_to_be_verified_again(node):
    mine, theirs = await two(node)
    request = await submitted(node, "rectification", theirs, details=NEW)
    await verified(node, request)
    before, _history = await kept(node, request)
    async with node.new_entries() as entries:
        await merged(node, mine, theirs)
    result, history = await kept(node, request)
    assert (str(result.subject), result.state, result.verification) == (mine, "verifying", None)
    assert (history[-1].move, history[-1].code) == ("ask-identity", "merged")
    assert (result.due, result.suspensions) == (before.due, ()), "the clock runs on: it was no doubt of ours"
    assert await written(node, request, mine) == (NEW, [SEEN])
    pseudonym = await node.pseudonym(mine)
    answers = [(entry.action, entry.code, entry.target, entry.subjects) for entry in entries if entry.action != "merge"]
    assert answers == [("move-request", "ask-identity", UUID(request), (pseudonym,))]


async def test_moved_request_is_carried_out_for_the_survivor(node):
    mine, theirs = await two(node)
    request = await submitted(node, "rectification", theirs, details=NEW)
    await verified(node, request)
    await merged(node, mine, theirs)
    problem(await move(node, request, "approve"), 409, "wrong-state")
    await verified(node, request)
    await moved(node, request, "approve")
    await work_off(node)
    assert (await kept(node, request))[0].state == "completed"
    answer = await node.read("dpo", mine, ["phone"], "subject-rights")
    assert answer.json()["fields"] == NEW["changes"]


async def test_verification_of_the_survivor_does_not_cover_moved_data(node):
    await apply_rules(node, access="four-eyes")
    mine, theirs = await two(node)
    request = await submitted(node, "access", mine)
    await verified(node, request)
    assert (await moved(node, request, "approve"))["state"] == "in_review", "the first of two"
    await merged(node, mine, theirs)
    result, _history = await kept(node, request)
    assert (result.state, result.verification, result.approvals) == ("verifying", None, ())


async def test_unverified_requests_stay_pending_and_closed_ones_closed(node):
    mine, theirs = await two(node)
    waiting, closed = [await submitted(node, kind, theirs) for kind in ("access", "erasure")]
    await moved(node, closed, "cancel", note="never mind")
    await merged(node, mine, theirs)
    assert [(await kept(node, item))[0].state for item in (waiting, closed)] == ["received", "cancelled"]
    assert {str((await kept(node, item))[0].subject) for item in (waiting, closed)} == {mine}
    assert await written(node, closed, mine) == (None, ["never mind"])
    assert (await moved(node, closed, "reopen"))["state"] == "received"
    assert await requests_of(node, theirs) == 0


async def test_requests_of_both_for_the_same_thing_are_linked(node):
    mine, theirs = await two(node)
    first, second = await submitted(node, "access", theirs), await submitted(node, "access", mine)
    other = await submitted(node, "erasure", mine)
    await merged(node, mine, theirs)
    assert [(await kept(node, item))[0].duplicate_of for item in (first, second, other)] == [None, UUID(first), None]


@pytest.mark.parametrize("whose", ["mine", "theirs"])
async def test_nothing_is_merged_while_an_erasure_is_under_way(node, whose):
    mine, theirs = await two(node)
    request = await submitted(node, "erasure", mine if whose == "mine" else theirs)
    await verified(node, request)
    await moved(node, request, "approve")
    problem(await merge(node, mine, theirs), 409, "request-under-way")
    problem(await merge(node, theirs, mine), 409, "request-under-way")
    await work_off(node)
    assert await state_of(node, mine if whose == "mine" else theirs) == "erased"
    problem(await merge(node, mine, theirs), 404, "subject-not-found")


async def test_merge_is_refused_during_a_half_done_erasure(node):
    mine, theirs = await somebody(node, complained=[LATELY]), await node.create({"name": "A. Lovelace"})
    request = await ask_as_begun(node, mine, scope=Scope(collections=("complaint",)))
    await run(node.services, request, until="destroy-keys")
    await hand_back(node.services, DEFAULT_TENANT, request, code="erasure-not-proven")
    problem(await merge(node, theirs, mine), 409, "request-under-way")
    problem(await merge(node, mine, theirs), 409, "request-under-way")
    assert (await node.read("dpo", mine, ["name"], "subject-rights")).json()["fields"] == {"name": ADA["name"]}


async def test_erasure_that_erased_nothing_yet_erases_the_survivor(node):
    mine, theirs = await two(node)
    request = await submitted(node, "erasure", theirs)
    await verified(node, request)
    await moved(node, request, "approve")
    await start_request(node.services, DEFAULT_TENANT, UUID(request))
    await run(node.services, UUID(request), until="take-away")
    await hand_back(node.services, DEFAULT_TENANT, UUID(request), code="cannot-open")
    await merged(node, mine, theirs)
    await verified(node, request)
    await moved(node, request, "approve")
    await work_off(node)
    assert await state_of(node, mine) == "erased"
    assert (await certificate(node, UUID(request)))["subject"] == mine


async def test_package_of_the_duplicate_is_deleted_with_a_reason(node):
    mine, theirs = await two(node)
    request = str((await carry_out(node, theirs, "access")).id)
    path = f"/v1/requests/{request}/package"
    assert (await node.call("dpo", "GET", path)).status_code == 200
    await merged(node, mine, theirs)
    answer = problem(await node.call("dpo", "GET", path), 410, "package-expired")
    assert "reopen" in answer["hint"]
    assert [await node.sql(f"SELECT 1 FROM {table}") for table in ("package", "package_chunk")] == [[], []]
    await moved(node, request, "reopen")
    await verified(node, request)
    await work_off(node)
    assert (await node.call("dpo", "GET", path)).status_code == 200


async def test_sessions_and_codes_of_both_subjects_end(mailing, inbox, clock):
    mine, theirs = await two(mailing)
    both = [
        await signed_in(mailing, inbox, {"identity": {"email": item}})
        for item in (ADA["email"], "countess@example.org")
    ]
    requests = [await submitted(mailing, "access", person) for person in (mine, theirs)]
    sent = [await code_for(mailing, inbox, item) for item in requests]
    assert [address for address, _code in sent] == [ADA["email"], "countess@example.org"]
    await merged(mailing, mine, theirs)
    for session in both:
        problem(await my_requests(mailing, session), 401, "not-authenticated")
    for request, (_address, tried) in zip(requests, sent, strict=True):
        problem(await move(mailing, request, "verify", **tried), 404, "code-invalid")
    clock.advance(minutes=16)  # one person is sent three codes in a quarter of an hour
    for request in requests:
        address, again = await code_for(mailing, inbox, request)
        assert address == ADA["email"]
        # Only one of the two had the address, so staff decide for a while.
        verified = await moved(mailing, request, "verify", **again)
        assert (verified["state"], verified["level"]) == ("in_review", "single")


async def code_for(node, inbox, request):
    """Have a code sent that verifies a request; returns the address and the body that answers it."""
    sent = await node.post("dpo", f"/v1/requests/{request}:verify", {"send_code": True})
    assert sent.status_code == 202, sent.text
    await node.services.mail.settled()
    (address,) = inbox.last().recipients
    return address, {"code_id": sent.json()["code_id"], "code": inbox.last().code}


@pytest.mark.parametrize("decided", ["approve", "reject"])
async def test_objection_of_the_duplicate_is_decided_for_the_survivor(node, decided):
    mine, theirs = await two(node)
    about = {"scope": {"purposes": ["fraud-prevention"]}, "details": {"reason": "it is none of your business"}}
    request = await submitted(node, "objection", theirs, **about)
    await verified(node, request)
    await merged(node, mine, theirs)
    assert await code(node, mine, "finance", "fraud-prevention") == "objected"
    await verified(node, request)
    await moved(node, request, decided, **({"ground": "compelling-grounds"} if decided == "reject" else {}))
    await work_off(node)
    now = await code(node, mine, "finance", "fraud-prevention")
    assert now == ("objected" if decided == "approve" else "read")
    said = (await node.call("dpo", "GET", f"/v1/subjects/{mine}/consents")).json()["history"]
    assert [event["kind"] for event in said].count("objected") == 1, "verified twice, it was said once"


async def test_an_erased_subject_cannot_be_merged_even_if_a_law_keeps_something(node):
    mine, theirs = await two(node)
    kept_for_the_law = await somebody(node, external_ids={"shop": "1"}, bought=[LATELY])
    await erase(node, kept_for_the_law)
    await erase(node, theirs)
    assert [await state_of(node, item) for item in (kept_for_the_law, theirs)] == ["retained", "erased"]
    for gone in (kept_for_the_law, theirs):
        problem(await merge(node, mine, gone), 404, "subject-not-found")
        problem(await merge(node, gone, mine), 404, "subject-not-found")
        problem(await node.post("dpo", f"/v1/subjects/{gone}:duplicates"), 404, "subject-not-found")
    answer = await node.post("dpo", f"/v1/subjects/{mine}:duplicates")
    assert answer.json()["results"] == []
    assert [pair async for step in find_pairs(node.services, await node.caller("dpo")) for pair in step.pairs] == []


async def test_recipients_get_notices_under_the_ids_that_they_know(node):
    mine, theirs = await two(node)
    await node.read("support", theirs, ["name"], "customer-support")
    await carry_out(node, theirs, "restriction", ground="accuracy")
    await merged(node, mine, theirs)
    found = [each for each in await notices(node) if each.kind == "subject.restricted"]
    earlier, later = sorted(found, key=lambda each: len(each.former))
    assert (earlier.kind, str(earlier.subject), earlier.former) == ("subject.restricted", theirs, ())
    assert (later.kind, str(later.subject), later.former) == ("subject.restricted", mine, (UUID(theirs),))
    for item in (earlier, later):
        done = await node.post("support", f"/v1/notices/{item.id}:acknowledge")
        assert done.status_code in {200, 204}, done.text


async def notices(node):
    async with node.services.data.reading() as connection:
        return await list_notices(connection, DEFAULT_TENANT, NoticeQuery())


async def test_lifting_is_announced_for_the_announced_restriction_only(node, clock):
    mine, theirs = await two(node)
    for person in (mine, theirs):
        await carry_out(node, person, "restriction", ground="claims")
    answer = await node.post("dpo", f"/v1/subjects/{mine}/restriction:announce", {"told": "by post"})
    assert answer.status_code == 201, answer.text
    await merged(node, mine, theirs)
    clock.advance(days=4)
    lifted = await node.call("dpo", "POST", f"/v1/subjects/{mine}/restriction:lift", {})
    problem(lifted, 409, "notice-first")


async def test_crash_after_the_requests_changes_nothing(node, monkeypatch):
    from vault.identity.tables import IdentityData

    mine, theirs = await two(node)
    request = await submitted(node, "rectification", theirs, details=NEW)
    await verified(node, request)
    cut(monkeypatch, IdentityData, "move", error=Cut, after=True)
    assert (await merge(node, mine, theirs)).status_code == 500
    result, _history = await kept(node, request)
    assert (str(result.subject), result.state) == (theirs, "in_review")
    assert await written(node, request, theirs) == (NEW, [SEEN])
    await merged(node, mine, theirs)
    assert await written(node, request, mine) == (NEW, [SEEN])


async def test_erasure_approved_during_a_merge_is_not_lost(node):
    for _round in range(3):
        mine, theirs = await two(node)
        request = await submitted(node, "erasure", theirs)
        await verified(node, request)
        approved, done = await asyncio.gather(move(node, request, "approve"), merge(node, mine, theirs))
        result, _history = await kept(node, request)
        if approved.status_code == 200:
            problem(done, 409, "request-under-way")
            assert (str(result.subject), result.state) == (theirs, "approved")
        else:
            assert (approved.status_code, done.status_code) in {(409, 201), (503, 201)}
            assert (str(result.subject), result.state) == (mine, "verifying")


async def test_a_verification_during_a_merge_has_to_be_repeated(node, monkeypatch):
    from vault.requests import transaction as change

    mine, theirs = await two(node)
    request = await submitted(node, "rectification", theirs, details=NEW)
    look = change._subject_of

    async def looked_just_before_the_merge(*args):
        match = await look(*args)
        monkeypatch.setattr(change, "_subject_of", look)
        await merged(node, mine, theirs)
        return match

    monkeypatch.setattr(change, "_subject_of", looked_just_before_the_merge)
    problem(await move(node, request, "verify", evidence=SEEN), 503, "unavailable")
    assert (await kept(node, request))[0].state == "received"
    await verified(node, request)
    assert await written(node, request, mine) == (NEW, [SEEN]), "nothing lies there under a key that is gone"


async def test_request_submitted_between_the_locks_is_not_lost(postgres_place, clock, monkeypatch):
    from vault.merging import merge as merging

    lock = merging.requests_of
    async with postgres_place.node(clock) as node:
        mine, theirs = await two(node)

        async def locked_too_early(*args, **how):
            result = await lock(*args, **how)
            monkeypatch.setattr(merging, "requests_of", lock)
            await submitted(node, "access", theirs)
            return result

        monkeypatch.setattr(merging, "requests_of", locked_too_early)
        problem(await merge(node, mine, theirs), 503, "unavailable")
        await merged(node, mine, theirs)
        assert (await requests_of(node, theirs), await requests_of(node, mine)) == (0, 1)


async def test_requests_submitted_during_a_merge_move_or_are_refused(node):
    mine, theirs = await two(node)
    bodies = [{"kind": "access", "subject": person} for person in (theirs, mine) for _ in range(3)]
    *created, done = await asyncio.gather(
        *(node.post("support", "/v1/requests", body) for body in bodies), merge(node, mine, theirs)
    )
    if done.status_code == 503:
        await merged(node, mine, theirs)
    assert {item.status_code for item in created} <= {201, 404}
    assert await requests_of(node, theirs) == 0
    assert await requests_of(node, mine) == sum(item.status_code == 201 for item in created)
