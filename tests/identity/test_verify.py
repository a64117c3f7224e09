"""A request changes nothing before somebody has shown to be the person: by a code, by an app, by what staff saw."""

from __future__ import annotations

import asyncio
import json
from uuid import UUID, uuid4

import pytest

from tests.vaults import ADA, OTHER, problem
from vault.governance.tenants import add_app
from vault.requests.store import events_of

REQUESTS = "/v1/requests"
on_sqlite = pytest.mark.parametrize("dialect", ["sqlite"])  # for what no database can change
NOBODY = {"email": "nobody@example.org"}
ADAS = {"email": "ada@example.org"}


@pytest.fixture
async def portal(place):
    """An app that passes people's requests on, and one more like it."""
    async with place.node() as node:
        for tenant in ("default", OTHER):
            for name in ("portal", "other-portal"):
                _, issued = await add_app(node.services, tenant, name, ["self-service"])
                place.keys[tenant, name] = issued.key.reveal()
    yield "portal"
    for tenant in ("default", OTHER):
        for name in ("portal", "other-portal"):
            del place.keys[tenant, name]


async def submit(node, role="portal", kind="access", *, tenant="default", **who):
    body = {"kind": kind, **(who or {"identity": ADAS})}
    created = await node.post(role, REQUESTS, body, tenant=tenant)
    assert created.status_code == 201, created.text
    return created.json()["id"]


async def verify(node, role, request, body, **how):
    return await node.post(role, f"{REQUESTS}/{request}:verify", body, **how)


async def send(node, request, role="portal"):
    """Have a code sent; returns its id once the letter, if any, has gone."""
    answer = await verify(node, role, request, {"send_code": True})
    assert answer.status_code == 202, answer.text
    await node.services.mail.settled()
    return answer.json()["code_id"]


async def shown(node, request):
    return (await node.call("dpo", "GET", f"{REQUESTS}/{request}")).json()


async def test_a_code_verifies_and_access_is_approved_by_rule(mailing, portal, inbox):
    subject = await mailing.create()
    request = await submit(mailing)
    async with mailing.new_entries() as new_entries:
        code = await send(mailing, request)
        answer = await verify(mailing, portal, request, {"code_id": code, "code": inbox.last().code})
    assert answer.status_code == 200, answer.text
    assert answer.json().keys() == {"id", "state", "due", "level"}
    assert (answer.json()["state"], answer.json()["level"]) == ("approved", "fresh")
    result = await shown(mailing, request)
    assert result["verification"] | {"at": None} == {"how": "code", "level": "fresh", "at": None, "by": None, "contact": "email", "young_contact": False}  # fmt: skip
    pseudonym = await mailing.pseudonym(subject)
    assert {item.subjects for item in new_entries} == {(pseudonym,)}
    assert [item.action for item in new_entries][:2] == [
        "send-code",
        "send-code",
    ]  # that it was asked for, and that it went
    assert {item.action for item in new_entries[2:]} == {"verify-identity"}
    assert {item.target for item in new_entries if item.action == "verify-identity"} == {UUID(request)}


@on_sqlite
@pytest.mark.parametrize("kind", ["erasure", "rectification"])
async def test_an_erasure_waits_for_staff_after_a_fresh_code(mailing, portal, inbox, kind):
    subject = await mailing.create()
    details = {"details": {"changes": {"name": "Ada King"}}} if kind == "rectification" else {}
    request = await submit(mailing, kind=kind, subject=subject, **details)
    code = await send(mailing, request)
    answer = await verify(mailing, portal, request, {"code_id": code, "code": inbox.last().code})
    assert (answer.status_code, answer.json()["state"]) == (200, "in_review")


# ---- The same for everybody ------------------------------------------------------------------------------------------


@on_sqlite
async def test_the_answers_are_the_same_whether_or_not_there_is_such_a_person(mailing, portal, inbox):
    await mailing.create()
    answers = []
    for identity in (ADAS, NOBODY):
        request = await submit(mailing, identity=identity)
        asked = await verify(mailing, portal, request, {"send_code": True})
        await mailing.services.mail.settled()
        code_id = asked.json()["code_id"]
        tried = await verify(mailing, portal, request, {"code_id": code_id, "code": "0000 0000"})
        seen = await mailing.call(portal, "GET", f"{REQUESTS}/{request}")
        answers.append(
            [
                (item.status_code, _without_ids(item.json()), sorted(item.headers.keys() - {"content-length"}))
                for item in (asked, tried, seen)
            ]
        )
    assert json.dumps(answers[0]) == json.dumps(answers[1])
    assert len(inbox.letters) == 1


def _without_ids(body):
    return {key: value for key, value in body.items() if key not in {"id", "code_id", "audit", "request_id"}}


@on_sqlite
async def test_the_limit_is_the_same_whether_or_not_there_is_such_a_person(mailing, portal):
    await mailing.create()
    for identity in (ADAS, NOBODY):
        request = await submit(mailing, identity=identity)
        for _ in range(3):
            await send(mailing, request)
        problem(await verify(mailing, portal, request, {"send_code": True}), 429, "rate-limited")


@on_sqlite
async def test_a_request_without_a_matching_person_cannot_be_verified(mailing, portal):
    request = await submit(mailing, identity=NOBODY)
    for role, body in ((portal, {"vouch": {"level": "fresh"}}), ("dpo", {"evidence": "passport seen"})):
        problem(await verify(mailing, role, request, body), 409, "nobody-to-verify")
    assert (await shown(mailing, request))["state"] == "received"


@on_sqlite
async def test_without_mail_the_other_ways_of_verification_work(node, portal):
    subject = await node.create()
    request = await submit(node, subject=subject)
    problem(await verify(node, portal, request, {"send_code": True}), 409, "mail-not-configured")
    assert (await verify(node, portal, request, {"vouch": {"level": "single"}})).status_code == 200


# ---- Guessing, replay, other people's codes --------------------------------------------------------------------------


async def test_a_code_is_tried_five_times_and_used_once(mailing, portal, inbox):
    await mailing.create()
    request = await submit(mailing)
    code_id = await send(mailing, request)
    code = inbox.last().code
    wrong = [f"{(int(code) + 1 + number) % 10**8:08}" for number in range(12)]
    bodies = [{"code_id": code_id, "code": finding} for finding in wrong]
    answers = await asyncio.gather(*(verify(mailing, portal, request, body) for body in bodies))
    assert {answer.status_code for answer in answers} == {404}
    problem(await verify(mailing, portal, request, {"code_id": code_id, "code": code}), 404, "code-invalid")
    code_id = await send(mailing, request)
    right = {"code_id": code_id, "code": inbox.last().code}
    answers = await asyncio.gather(*(verify(mailing, portal, request, right) for _ in range(4)))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses[0] == 200
    assert set(statuses[1:]) <= {404, 409}
    async with mailing.services.data.reading() as connection:
        history = await events_of(connection, "default", UUID(request))
    assert [event.move for event in history].count("verify") == 1


@on_sqlite
async def test_a_wrong_guess_is_recorded_with_the_person(mailing, portal, inbox):
    subject = await mailing.create()
    request = await submit(mailing)
    code_id = await send(mailing, request)
    wrong = f"{(int(inbox.last().code) + 1) % 10**8:08}"
    async with mailing.new_entries() as new_entries:
        await verify(mailing, portal, request, {"code_id": code_id, "code": wrong})
    (entry,) = new_entries
    assert (entry.action, entry.decision, entry.code) == ("verify-identity", "failed", "code-invalid")
    assert (entry.subjects, entry.target) == ((await mailing.pseudonym(subject),), UUID(request))


@on_sqlite
async def test_a_code_of_another_request_verifies_nothing(mailing, portal, inbox):
    """Eve has a code for her own request, and one of Ada's requests is not hers."""
    await mailing.create()
    await mailing.create({"name": "Eve", "email": "eve@example.org"})
    adas, eves = await submit(mailing), await submit(mailing, identity={"email": "eve@example.org"})
    code = {"code_id": await send(mailing, eves), "code": inbox.last().code}
    problem(await verify(mailing, portal, adas, code), 404, "code-invalid")
    assert (await verify(mailing, portal, eves, code)).status_code == 200
    assert (await shown(mailing, adas))["state"] == "received"


@on_sqlite
async def test_a_code_for_one_request_does_not_serve_for_another_of_the_same_person(mailing, portal, inbox):
    await mailing.create()
    access, erasure = await submit(mailing), await submit(mailing, kind="erasure")
    code = {"code_id": await send(mailing, access), "code": inbox.last().code}
    problem(await verify(mailing, portal, erasure, code), 404, "code-invalid")
    assert (await shown(mailing, erasure))["state"] == "received"


@on_sqlite
async def test_a_code_for_a_session_verifies_no_request(mailing, portal, inbox):
    await mailing.create()
    request = await submit(mailing)
    asked = await mailing.post(None, "/v1/me/sessions", {"identity": ADAS})
    await mailing.services.mail.settled()
    code = {"code_id": asked.json()["session"], "code": inbox.last().code}
    problem(await verify(mailing, portal, request, code), 404, "code-invalid")


@on_sqlite
async def test_a_code_expires_after_ten_minutes(place, portal, clock, inbox):
    async with place.node(clock, smtp_url=f"smtp://127.0.0.1:{inbox.port}") as node:
        await node.create()
        request = await submit(node)
        code = {"code_id": await send(node, request), "code": inbox.last().code}
        clock.advance(minutes=10)
        problem(await verify(node, portal, request, code), 404, "code-invalid")


@on_sqlite
@pytest.mark.parametrize("moves", [("cancel", "reopen"), ("ask-identity",)])
async def test_a_code_from_before_a_renewed_question_is_void(mailing, portal, inbox, clock, moves):
    await mailing.create()
    request = await submit(mailing)
    code = {"code_id": await send(mailing, request), "code": inbox.last().code}
    clock.advance(seconds=1)
    for move in moves:
        assert (await mailing.post("dpo", f"{REQUESTS}/{request}:{move}", {})).status_code == 200
    problem(await verify(mailing, portal, request, code), 404, "code-invalid")
    assert (await shown(mailing, request))["verification"] is None
    new = {"code_id": await send(mailing, request), "code": inbox.last().code}
    assert (await verify(mailing, portal, request, new)).status_code == 200


@on_sqlite
async def test_a_request_of_another_app_is_not_found(mailing, portal, inbox):
    await mailing.create()
    request = await submit(mailing)
    code = {"code_id": await send(mailing, request), "code": inbox.last().code}
    for body in ({"send_code": True}, code, {"vouch": {"level": "fresh"}}):
        problem(await verify(mailing, "other-portal", request, body), 403, "not-granted")
        answer = await verify(mailing, portal, request, body, tenant=OTHER)
        assert answer.status_code in {403, 404}
    assert (await shown(mailing, request))["state"] == "received"
    assert (await verify(mailing, portal, request, code)).status_code == 200  # no attempt of theirs counted


@on_sqlite
async def test_codes_are_sent_to_the_stored_contact_only(mailing, portal, inbox):
    """Somebody who knows Ada's number in the shop, and nothing of her mailbox."""
    await mailing.create(external_ids={"shop": "4711"})
    request = await submit(mailing, identity={"external_id": {"shop": "4711"}})
    body = {"send_code": True, "contact": "mallory@example.org"}
    problem(await verify(mailing, portal, request, body), 422, "invalid-body")
    await send(mailing, request)
    assert [letter.recipients for letter in inbox.letters] == [["ada@example.org"]]


# ---- Apps that vouch, staff with evidence ----------------------------------------------------------------------------


async def test_an_app_vouches_for_a_person_signed_in_there(node, portal):
    subject = await node.create()
    access = await submit(node, subject=subject)
    answer = await verify(node, portal, access, {"vouch": {"level": "single", "evidence": "signed in with a passkey"}})
    assert (answer.status_code, answer.json()["level"]) == (200, "single")
    result = await shown(node, access)
    app = (await node.caller(portal)).principal.id
    assert result["verification"]["by"] == str(app)
    assert [event["note"] for event in result["history"] if event["move"] == "verify"] == ["signed in with a passkey"]
    erasure = await submit(node, kind="erasure", subject=subject)
    stale = await verify(node, portal, erasure, {"vouch": {"level": "single"}})
    problem(stale, 409, "fresh-identity-needed")
    assert (await shown(node, erasure))["state"] == "received"
    assert (await verify(node, portal, erasure, {"vouch": {"level": "fresh"}})).json()["state"] == "in_review"


@on_sqlite
async def test_an_app_cannot_vouch_for_a_request_of_another_app(node, portal, place):
    """Whoever else may see all requests does not know who is signed in elsewhere."""
    _, issued = await add_app(node.services, "default", "busy", ["self-service", "dpo"])
    place.keys["default", "busy"] = issued.key.reveal()
    subject = await node.create()
    theirs = await submit(node, subject=subject)
    problem(await verify(node, "busy", theirs, {"vouch": {"level": "fresh"}}), 404, "request-not-found")
    assert (await shown(node, theirs))["verification"] is None
    own = await submit(node, "busy", subject=subject)
    assert (await verify(node, "busy", own, {"vouch": {"level": "fresh"}})).status_code == 200
    del place.keys["default", "busy"]


@on_sqlite
async def test_vouching_and_evidence_need_their_permissions(node, portal):
    subject = await node.create()
    request = await submit(node, subject=subject)
    for role, body in (
        ("support", {"vouch": {"level": "fresh"}}),
        ("support", {"evidence": "passport seen"}),
        (portal, {"evidence": "passport seen"}),
        ("finance", {"send_code": True}),
        ("finance", {"code_id": str(uuid4()), "code": "12345678"}),
    ):
        problem(await verify(node, role, request, body), 403, "not-granted")
    assert (await shown(node, request))["state"] == "received"


async def test_evidence_of_staff_is_sealed(node, portal):
    subject = await node.create()
    request = await submit(node, "dpo", subject=subject)
    words = "identity card seen at the counter"
    answer = await verify(node, "dpo", request, {"evidence": words})
    assert (answer.status_code, answer.json()["level"]) == (200, "fresh")
    assert words in [event["note"] for event in (await shown(node, request))["history"]]
    for table in ("rights_request", "request_event", "audit_entry"):
        for row in await node.sql(f"SELECT body FROM {table}"):
            assert b"counter" not in bytes(row[0])


async def test_invalid_evidence_is_refused(sqlite_node):
    subject = await sqlite_node.create()
    request = await submit(sqlite_node, "dpo", subject=subject)
    for words in ("", " ", "two\nlines", "x" * 501, "\u0000"):
        problem(await verify(sqlite_node, "dpo", request, {"evidence": words}), 422, "invalid-evidence")


async def test_a_request_is_verified_in_one_way_at_a_time(sqlite_node):
    some = str(uuid4())
    for body in (
        {},
        {"send_code": False},
        {"code": "12345678"},
        {"send_code": True, "evidence": "x"},
        {"vouch": {}},
        {"vouch": {"level": "certain"}},
        {"code_id": some},
        {"code_id": "x", "code": "1"},
        {"code_id": some, "code": "1" * 41},
        {"code_id": some, "code": "1", "evidence": "x"},
    ):
        answer = await verify(sqlite_node, "dpo", some, body)
        assert answer.status_code == 422, body
        assert answer.json()["code"] in {"invalid-body", "invalid-verification"}


@on_sqlite
async def test_a_closed_request_is_not_verified(mailing, portal, inbox):
    subject = await mailing.create()
    request = await submit(mailing, subject=subject)
    code = {"code_id": await send(mailing, request), "code": inbox.last().code}
    assert (await mailing.post(portal, f"{REQUESTS}/{request}:cancel", {})).status_code == 200
    for body in (code, {"send_code": True}, {"vouch": {"level": "fresh"}}):
        problem(await verify(mailing, portal, request, body), 409, "wrong-state")


@on_sqlite
async def test_an_unknown_request_cannot_be_verified(mailing, portal):
    for role, body in (("dpo", {"send_code": True}), ("dpo", {"evidence": "passport seen"})):
        problem(await verify(mailing, role, uuid4(), body), 404, "request-not-found")


async def test_a_person_who_was_merged_or_erased_since_is_not_verified(mailing, portal, inbox):
    subject = await mailing.create({**ADA, "email": "ada2@example.org"})
    request = await submit(mailing, subject=subject)
    code = {"code_id": await send(mailing, request), "code": inbox.last().code}
    await mailing.set_state(subject, "erased")
    answer = await verify(mailing, portal, request, code)
    assert answer.status_code in {404, 409}
    problem(await verify(mailing, "dpo", request, {"evidence": "passport seen"}), 409, "nobody-to-verify")
