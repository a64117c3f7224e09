"""Requests are listed by urgency, and each caller sees as much of one as it may."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from sqlalchemy import update

from tests.requests.submitting import another, as_staff, kept, move, moved, show, submit, submitted, verified, work_off
from tests.vaults import problem
from vault.access.callers import data_subject_caller
from vault.errors import NotFound
from vault.identity.self_service import my_request
from vault.identity.sessions import Session
from vault.ids import SubjectId
from vault.requests.store import REQUEST
from vault.workflows import pending


async def listed(node, role="dpo", **params):
    answer = await node.call(role, "GET", "/v1/requests", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_requests_are_listed_by_urgency_in_pages(node, clock):
    subject = await node.create()
    moments = {days: f"2026-02-{days:02}T12:00:00Z" for days in (10, 20, 15)}
    created = {days: await submitted(node, "access", subject, received_at=at) for days, at in moments.items()}
    page = await listed(node, limit=2)
    assert [request["id"] for request in page["requests"]] == [created[10], created[15]]
    rest = await listed(node, limit=2, cursor=page["next"])
    assert ([request["id"] for request in rest["requests"]], rest["next"]) == ([created[20]], None)
    assert [request["days_left"] for request in page["requests"]] == [5, 11]  # 03-10, and 03-16: 03-15 is a Sunday
    problem(await node.call("dpo", "GET", "/v1/requests", params={"cursor": "x"}), 422, "invalid-cursor")


async def test_overdue_and_soon_due_requests_are_listed(node, clock):
    subject = await node.create()
    old, soon, far = [
        await submitted(node, "access", subject, received_at=f"2026-{day}T12:00:00Z")
        for day in ("01-20", "02-10", "03-05")
    ]
    closed = await submitted(node, "erasure", subject, received_at="2026-01-20T12:00:00Z")
    await moved(node, closed, "cancel")

    async def ids(**params):
        return [request["id"] for request in (await listed(node, **params))["requests"]]

    assert await ids(due="overdue") == [old]
    assert await ids(due="soon") == [old, soon]
    assert await ids(due="overdue", state="cancelled") == []
    assert await ids(state="cancelled") == [closed]
    assert await ids(kind="erasure") == [closed]
    assert set(await ids()) == {old, soon, far, closed}
    assert await ids(subject=str(uuid4())) == []
    clock.advance(days=6)
    assert await ids(due="overdue") == [old, soon]
    assert (await show(node, soon))["days_left"] == -1


async def test_a_request_that_the_vault_did_not_write_neither_fails_a_list_nor_ends_it(node):
    subject = await node.create()
    of = [await submitted(node, "access", subject, received_at=f"2026-02-{day}T12:00:00Z") for day in range(10, 15)]
    for request in of[1:3]:
        forged = REQUEST.c.id == UUID(request)
        async with node.services.data.transaction() as connection:
            await connection.execute(update(REQUEST).where(forged).values(state="approved"))
    page = await listed(node, limit=2)
    assert [request["id"] for request in page["requests"]] == [of[0], of[3]]
    rest = await listed(node, limit=2, cursor=page["next"])
    assert ([request["id"] for request in rest["requests"]], rest["next"]) == ([of[4]], None)
    assert [work.id for work in await pending(node.services)] == [], "and no job begins for one of them"
    problem(await node.call("dpo", "GET", f"/v1/requests/{of[1]}"), 500, "row-tampered")
    problem(await move(node, of[1], "cancel"), 500, "row-tampered")


async def test_a_forged_request_does_not_keep_the_person_from_another(node):
    subject = await node.create()
    first = await submitted(node, "erasure", subject)
    async with node.services.data.transaction() as connection:
        await connection.execute(update(REQUEST).where(REQUEST.c.id == UUID(first)).values(mac=b"forged"))
    created = await submit(node, kind="erasure", subject=subject)
    assert (created.status_code, created.json().get("duplicate_of")) == (201, None)


async def test_an_app_sees_the_state_of_its_own_requests_only(node):
    await node.create()
    one, two = [await another(node, name, "self-service") for name in ("portal", "shop")]
    body = {"kind": "erasure", "identity": {"email": "ada@example.org"}}
    request = (await node.post(None, "/v1/requests", body, headers=one)).json()["id"]
    path = f"/v1/requests/{request}"
    seen = (await node.call(None, "GET", path, headers=one)).json()
    assert seen["state"] == "received"
    assert not seen.keys() & {"subject", "history", "details", "verification", "duplicate_of", "approvals"}
    problem(await node.call(None, "GET", path, headers=two), 403, "not-granted")
    problem(await node.call(None, "GET", f"/v1/requests/{uuid4()}", headers=two), 403, "not-granted")
    problem(await node.call(None, "GET", "/v1/requests", headers=one), 403, "not-granted")
    cancelled = (await as_staff(node, one, request, "cancel")).json()
    assert cancelled["state"] == "cancelled"
    assert "subject" not in cancelled


async def test_a_person_sees_their_own_requests_only(node):
    ada, eve = await node.create(), await node.create({"name": "Eve", "email": "eve@example.org"})
    request = UUID(await submitted(node, "erasure", ada))
    now = node.services.clock.now()

    def session(person):
        return Session(data_subject_caller("default", "me-1"), uuid4(), SubjectId(UUID(person)), uuid4(), now)

    seen = await my_request(node.services, session(ada), request)
    assert seen.id == request
    assert not seen.as_json().keys() & {"details", "subject", "recorder"}
    assert {key for event in seen.history for key in event.as_json()} == {"at", "move", "state", "code"}
    with pytest.raises(NotFound):
        await my_request(node.services, session(eve), request)


async def test_reading_requests_is_recorded(node):
    subject = await node.create()
    request = await submitted(node, "access", subject)
    async with node.new_entries() as new_entries:
        await show(node, request)
        await listed(node, subject=subject)
        problem(await node.call("dpo", "GET", f"/v1/requests/{uuid4()}"), 404, "request-not-found")
        problem(await node.call("marketing", "GET", "/v1/requests"), 403, "not-granted")
    assert [(item.action, item.decision, item.code) for item in new_entries] == [
        ("read-requests", "allowed", None),
        ("read-requests", "allowed", None),
        ("read-requests", "failed", "request-not-found"),
        ("read-requests", "denied", "not-granted"),
    ]
    pseudonym = await node.pseudonym(subject)
    assert [item.subjects for item in new_entries] == [(pseudonym,), (pseudonym,), (), ()]


async def test_texts_under_a_destroyed_key_are_not_shown_and_the_history_stays(node):
    subject = await node.create()
    request = await submitted(node, "access", subject, details={"statement": "about my father"})
    await verified(node, request)
    assert (await show(node, request))["history"][1]["note"] == "identity card seen at the counter"
    await node.services.keyring.destroy_subject_keys("default", [SubjectId(UUID(subject))])
    result = await show(node, request)
    assert result["details"] is None
    assert [(event["move"], event["note"]) for event in result["history"]] == [
        ("receive", None),
        ("verify", None),
        ("approve", None),
    ]


async def test_details_of_an_unknown_identity_are_not_stored(node):
    body = {"identity": {"email": "nobody@example.org"}, "details": {"statement": "my secret"}}
    request = (await submit(node, kind="review", **body)).json()["id"]
    result = await show(node, request)
    assert (result["subject"], result["details"]) == (None, None)
    ((details,),) = await node.sql("SELECT details FROM rights_request")
    assert details is None
    assert (await kept(node, request))[0].channel is None


async def test_a_note_is_not_sealed_with_the_keys_of_an_erased_person(node, clock):
    """Another node has their keys opened still; what it sealed with them would lie there and open for nobody."""
    subject = await node.create()
    request, erasure = await submitted(node, "review", subject), await submitted(node, "erasure", subject)
    async with node.place.node(clock) as other:
        await verified(other, request)
        await verified(node, erasure)
        await moved(node, erasure, "approve")
        await work_off(node)
        await moved(other, request, "reject", ground="manifestly-unfounded", note="she wrote to us")
    assert [item.note for item in (await kept(node, request))[1]] == [None] * 3
