"""A signed-in person makes requests, sees their own and nobody else's, and fetches what is theirs."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

import pytest

from tests.export.made_up import with_package
from tests.identity.test_sessions import signed_in
from tests.vaults import OTHER, problem
from vault.crypto import age
from vault.identity.sessions import MOST_A_DAY

MINE = "/v1/me/requests"


async def call(node, me, method, path, json=None, **headers):
    return await node.call(None, method, path, json, headers={**me, **headers})


async def submit(node, me, kind="access", **more):
    created = await call(node, me, "POST", MINE, {"kind": kind, **more})
    assert created.status_code == 201, created.text
    return created.json()


@pytest.fixture
async def ada(mailing):
    return await mailing.create(external_ids={"shop": "4711"})


async def test_a_person_submits_an_access_request_and_it_is_started(mailing, inbox, ada):
    me = await signed_in(mailing, inbox)
    async with mailing.new_entries() as new_entries:
        request = await submit(mailing, me)
    assert request["state"] == "approved"
    pseudonym = await mailing.pseudonym(ada)
    assert {(item.action, item.principal_name, item.subjects) for item in new_entries} >= {
        ("submit-request", "the-person", (pseudonym,))
    }
    shown = (await call(mailing, me, "GET", f"{MINE}/{request['id']}")).json()
    assert (shown["kind"], shown["verified"], shown["channel"]) == ("access", "fresh", "self-service")
    assert [event["move"] for event in shown["history"]] == ["receive", "verify", "approve"]
    listed = (await call(mailing, me, "GET", MINE)).json()["requests"]
    assert [row["id"] for row in listed] == [request["id"]]


async def test_what_cannot_be_undone_needs_a_fresh_session(sqlite_mailing, clock, inbox):
    node = sqlite_mailing
    await node.create()
    me = await signed_in(node, inbox)
    clock.advance(minutes=9, seconds=59)
    assert (await submit(node, me, "erasure", scope={"collections": ["offer"]}))["state"] == "in_review"
    clock.advance(seconds=1)
    assert (await submit(node, me))["state"] == "approved"  # one factor is enough for access
    waiting = await submit(node, me, "erasure")
    assert waiting["state"] == "received"
    verify = f"{MINE}/{waiting['id']}:verify"
    problem(await call(node, me, "POST", verify), 409, "fresh-identity-needed")
    anew = await signed_in(node, inbox)
    verified = await call(node, anew, "POST", verify)
    assert (verified.status_code, verified.json()["state"], verified.json()["verified"]) == (200, "in_review", "fresh")


async def test_requests_of_other_people_are_not_found(mailing, inbox, ada):
    me = await signed_in(mailing, inbox)
    await mailing.create({"name": "Eve", "email": "eve@example.org"})
    eve = await signed_in(mailing, inbox, {"identity": {"email": "eve@example.org"}})
    request = (await submit(mailing, me))["id"]
    for method, path in (
        ("GET", f"{MINE}/{request}"),
        ("POST", f"{MINE}/{request}:cancel"),
        ("POST", f"{MINE}/{request}:verify"),
        ("GET", f"{MINE}/{request}/package"),
    ):
        theirs = await call(mailing, eve, method, path)
        nobodys = await call(mailing, eve, method, path.replace(request, str(uuid4())))
        problem(theirs, 404, "request-not-found")
        assert theirs.json()["detail"] == nobodys.json()["detail"]
    encrypted = {"passphrase": "correct horse battery"}
    problem(await call(mailing, eve, "POST", f"{MINE}/{request}/package:download", encrypted), 404, "request-not-found")
    assert (await call(mailing, eve, "GET", MINE)).json() == {"requests": []}
    assert (await call(mailing, me, "GET", f"{MINE}/{request}")).json()["state"] == "approved"


async def test_a_person_cannot_submit_for_someone_else(sqlite_mailing, inbox):
    await sqlite_mailing.create()
    other = await sqlite_mailing.create({"name": "Eve"})
    me = await signed_in(sqlite_mailing, inbox)
    for more in (
        {"subject": other},
        {"identity": {"email": "eve@example.org"}},
        {"received_at": "2020-01-01T00:00:00Z"},
    ):
        answer = await call(sqlite_mailing, me, "POST", MINE, {"kind": "access", **more})
        problem(answer, 422, "invalid-body")


async def test_a_person_cancels_their_request(sqlite_mailing, inbox):
    await sqlite_mailing.create()
    me = await signed_in(sqlite_mailing, inbox)
    request = (await submit(sqlite_mailing, me, "erasure"))["id"]
    cancelled = await call(sqlite_mailing, me, "POST", f"{MINE}/{request}:cancel")
    assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")
    problem(await call(sqlite_mailing, me, "POST", f"{MINE}/{request}:cancel"), 409, "wrong-state")


async def test_a_package_needs_a_fresh_session(sqlite_mailing, inbox, clock):
    node = sqlite_mailing
    subject = await node.create()
    me = await signed_in(node, inbox)
    request = (await submit(node, me))["id"]
    answer = await call(node, me, "GET", f"{MINE}/{request}/package")
    assert answer.status_code == 409  # it is not packed yet
    clock.advance(minutes=10)
    async with node.new_entries() as new_entries:
        problem(await call(node, me, "GET", f"{MINE}/{request}/package"), 403, "fresh-session-needed")
    (entry,) = new_entries
    assert (entry.action, entry.code, entry.subjects) == (
        "download-package", "fresh-session-needed", (await node.pseudonym(subject),),
    )  # fmt: skip


async def test_notes_of_staff_are_not_shown(sqlite_mailing, inbox):
    node = sqlite_mailing
    await node.create()
    me = await signed_in(node, inbox)
    request = (await submit(node, me, "erasure"))["id"]
    rejected = {"ground": "legal-obligation", "note": "the invoices of last year"}
    assert (await node.post("dpo", f"/v1/requests/{request}:reject", rejected)).status_code == 200
    shown = await call(node, me, "GET", f"{MINE}/{request}")
    assert "invoices" not in shown.text
    assert "dpo" not in shown.text.replace("dpo@", "")
    assert shown.json()["ground"] == "legal-obligation"
    assert "complaint" in shown.json()["remedies"]


async def test_idempotency_keys_of_two_people_do_not_collide(mailing, inbox, ada):
    me = await signed_in(mailing, inbox)
    await mailing.create({"name": "Eve", "email": "eve@example.org"})
    eve = await signed_in(mailing, inbox, {"identity": {"email": "eve@example.org"}})
    key = {"Idempotency-Key": "the-same"}
    first = await call(mailing, me, "POST", MINE, {"kind": "access"}, **key)
    again = await call(mailing, me, "POST", MINE, {"kind": "access"}, **key)
    others = await call(mailing, eve, "POST", MINE, {"kind": "access"}, **key)
    assert first.status_code == again.status_code == others.status_code == 201
    assert first.json()["id"] == again.json()["id"] != others.json()["id"]
    assert "idempotent-replayed" in again.headers
    assert "idempotent-replayed" not in others.headers


async def test_a_session_is_valid_for_one_tenant_only(sqlite_mailing, inbox):
    node = sqlite_mailing
    await node.create()
    theirs = await node.create(tenant=OTHER)
    me = await signed_in(node, inbox)
    request = await node.post("dpo", "/v1/requests", {"kind": "access", "subject": theirs}, tenant=OTHER)
    problem(await call(node, me, "GET", f"{MINE}/{request.json()['id']}"), 404, "request-not-found")


async def test_each_action_of_a_person_has_one_audit_entry(sqlite_mailing, inbox):
    node = sqlite_mailing
    subject = await node.create()
    me = await signed_in(node, inbox)
    request = (await submit(node, me, "erasure"))["id"]
    pseudonym = await node.pseudonym(subject)
    for method, path, expected in (
        ("GET", MINE, ("read-requests", "allowed", (pseudonym,), None)),
        ("GET", f"{MINE}/{request}", ("read-requests", "allowed", (pseudonym,), UUID(request))),
        ("GET", f"{MINE}/{uuid4()}", ("read-requests", "failed", (pseudonym,), None)),
        ("POST", f"{MINE}/{request}:cancel", ("move-request", "allowed", (pseudonym,), UUID(request))),
        ("DELETE", "/v1/me/session", ("end-session", "allowed", (pseudonym,), UUID(me["Authorization"][12:44]))),
    ):
        async with node.new_entries() as new_entries:
            await call(node, me, method, path)
        (entry,) = new_entries
        assert (entry.action, entry.decision, entry.subjects, entry.target) == expected


async def test_the_requests_of_a_person_per_day_are_limited(mailing, inbox, ada, clock):
    me = await signed_in(mailing, inbox)
    for _ in range(MOST_A_DAY):
        await submit(mailing, me, "erasure")
    async with mailing.new_entries() as new_entries:
        answer = await call(mailing, me, "POST", MINE, {"kind": "access"}, **{"Idempotency-Key": "one-more"})
    problem(answer, 429, "rate-limited")
    assert int(answer.headers["retry-after"]) <= 86_400
    assert [(item.action, item.code, item.subjects) for item in new_entries] == [
        ("submit-request", "rate-limited", (await mailing.pseudonym(ada),))
    ]
    clock.advance(days=1)
    me = await signed_in(mailing, inbox)
    await submit(mailing, me, "erasure")


async def test_the_calls_of_a_person_per_minute_are_limited(sqlite_place, inbox, clock):
    relay = f"smtp://127.0.0.1:{inbox.port}"
    async with sqlite_place.node(clock, smtp_url=relay, searches_per_minute=6) as node:
        await node.create()
        me = await signed_in(node, inbox)
        request = (await submit(node, me, "erasure"))["id"]
        await node.create({"name": "Eve", "email": "eve@example.org"})
        eve = await signed_in(node, inbox, {"identity": {"email": "eve@example.org"}})
        before = await node.count()
        for method, path in (
            ("GET", MINE),
            ("GET", f"{MINE}/{request}"),
            ("POST", f"{MINE}/{request}:verify"),
            ("GET", f"{MINE}/{request}/package"),
            ("POST", f"{MINE}/{request}:cancel"),
        ):
            assert (await call(node, me, method, path)).status_code != 429, path
        for _ in range(3):
            problem(await call(node, me, "GET", MINE), 429, "rate-limited")
        assert await node.count() == before + 6  # of the refusals the first is on record
        assert (await call(node, eve, "GET", MINE)).status_code == 200


async def test_a_person_encrypts_one_package_at_a_time(sqlite_mailing, inbox, monkeypatch):
    """Each stretching of a passphrase takes a second and 256 MB, and all of them wait in one line."""
    node = sqlite_mailing
    subject = await node.create()
    me = await signed_in(node, inbox)
    request = await with_package(node, subject)
    monkeypatch.setattr(age.begin, "__kwdefaults__", {"work_factor": 14})
    ask = {"passphrase": "correct horse battery staple"}
    path = f"{MINE}/{request}/package:download"
    answers = await asyncio.gather(*(call(node, me, "POST", path, ask) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 429, 429, 429]
    assert (await call(node, me, "POST", path, ask)).status_code == 200
