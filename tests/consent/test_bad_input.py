"""Invalid statements are refused with all faults, and nothing is recorded."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tests.vaults import problem
from vault.http.problem_codes import IN_ERRORS

GIVEN = {
    "purpose": "direct-marketing", "decision": "given", "notice": "marketing@3", "method": "checkbox",
}  # fmt: skip
WORD = "Kanarienvogel"


async def send(node, subject, role="support", **changes):
    body = {key: value for key, value in {**GIVEN, **changes}.items() if value is not None}
    return await node.post(role, f"/v1/subjects/{subject}/consents", body)


async def events(node):
    return [bytes(body) for (body,) in await node.sql("SELECT body FROM consent_event ORDER BY id")]


@pytest.mark.parametrize(
    ("changes", "at", "code"),
    [
        ({"purpose": "fun"}, "/purpose", "unknown-purpose"),
        ({"purpose": "order-fulfilment"}, "/purpose", "purpose-without-consent"),
        ({"notice": None}, "/notice", "missing"),
        ({"notice": "marketing@99"}, "/notice", "unknown-notice"),
        ({"notice": "not a notice"}, "/notice", "unknown-notice"),
        ({"notice": "loyalty@1"}, "/notice", "notice-not-good"),
        ({"language": "xx"}, "/language", "unknown-language"),
        ({"decision": "refused", "notice": None, "language": "Ada L."}, "/language", "unknown-language"),
        ({"method": None}, "/method", "missing"),
        ({"method": "telepathy"}, "/method", "unknown-code"),
        ({"method": "signal"}, "/method", "unknown-code"),
        ({"method": "import"}, "/method", "unknown-code"),
        ({"decision": "perhaps"}, "/decision", "unknown-code"),
        ({"by": "neighbour"}, "/by", "unknown-code"),
        ({"channel": "Over The Counter"}, "/channel", "invalid-channel"),
        ({"jurisdiction": "Bavaria"[:7]}, "/jurisdiction", "invalid-jurisdiction"),
        ({"jurisdiction": "XX"}, "/jurisdiction", "invalid-jurisdiction"),
        ({"jurisdiction": "us-ca"}, "/jurisdiction", "invalid-jurisdiction"),
        ({"occurred_at": "2026-03-05T12:01:01Z"}, "/occurred_at", "event-in-future"),
        ({"occurred_at": "2026-02-03T11:59:59Z"}, "/occurred_at", "event-too-old"),
        ({"occurred_at": "0001-01-01T00:00:00+14:00"}, "/occurred_at", "out-of-range"),
        ({"valid_until": "2026-03-05T12:00:00Z"}, "/valid_until", "out-of-range"),
        ({"valid_until": "2026-03-01T12:00:00Z", "occurred_at": "2026-02-28T12:00:00Z"}, "/valid_until", "out-of-range"),
        ({"decision": "withdrawn", "valid_until": "2027-03-05T12:00:00Z"}, "/valid_until", "out-of-range"),
        ({"decision": "withdrawn", "notice": "marketing@99"}, "/notice", "unknown-notice"),
        ({"evidence": ""}, "/evidence", "invalid-evidence"),
        ({"evidence": " "}, "/evidence", "invalid-evidence"),
        ({"evidence": "two\nlines"}, "/evidence", "invalid-evidence"),
        ({"evidence": "a\x00b"}, "/evidence", "invalid-evidence"),
        ({"evidence": "\x1b[31m"}, "/evidence", "invalid-evidence"),
        ({"evidence": "x" * 501}, "/evidence", "invalid-evidence"),
        ({"by": "guardian"}, "/evidence", "missing"),
        (
            {"purpose": "health-advice", "notice": "health-advice@1", "method": "button"},
            "/method",
            "method-not-explicit",
        ),
        ({"purpose": "profiling", "notice": "profiling@1", "method": "settings"}, "/method", "method-not-explicit"),
    ],
)  # fmt: skip
async def test_a_single_fault_is_reported(sqlite_node, changes, at, code):
    subject = await sqlite_node.create()
    whole = "invalid-value" if code in IN_ERRORS else code
    body = problem(await send(sqlite_node, subject, **changes), 422, whole)
    assert [(fault["at"], fault["code"]) for fault in body["errors"]] == [(at, code)]
    assert await events(sqlite_node) == []
    failed = [entry for entry in await sqlite_node.entries() if entry.action == "record-consent"]
    assert [(entry.decision, entry.code, str(entry.id)) for entry in failed] == [("failed", whole, body["audit"])]


async def test_all_faults_are_reported_at_once_without_values(sqlite_node):
    subject = await sqlite_node.create()
    answer = await send(
        sqlite_node,
        subject,
        purpose=WORD,
        decision=WORD,
        notice=WORD,
        method=WORD,
        by=WORD,
        channel=WORD,
        jurisdiction=WORD[:10],
        evidence=f"{WORD}\n",
        occurred_at="2027-01-01T00:00:00Z",
    )
    body = problem(answer, 422, "unknown-purpose")
    assert {fault["at"] for fault in body["errors"]} == {
        "/purpose", "/decision", "/notice", "/method", "/by", "/channel", "/jurisdiction", "/evidence", "/occurred_at",
    }  # fmt: skip
    assert WORD[:10] not in answer.text


@pytest.mark.parametrize(
    "body", [{"occurred_at": "yesterday"}, {"occurred_at": "2026-03-05T12:00:00"}, {WORD: 1}, {"evidence": 5}]
)
async def test_malformed_bodies_are_refused(sqlite_node, body):
    subject = await sqlite_node.create()
    answer = await send(sqlite_node, subject, **body)
    problem(answer, 422, "invalid-body")
    assert WORD not in answer.text


async def test_boundary_values_are_accepted(sqlite_node):
    subject = await sqlite_node.create()
    for changes in (
        {"occurred_at": "2026-03-05T12:01:00Z"},  # the clock of an app is a minute ahead
        {"occurred_at": "2026-02-03T12:00:00Z"},
        {"evidence": "x" * 500},
        {"evidence": "Anruf, mündlich: „ja“, Band 7 – Spur 2"},
        {"language": "de"},
        {"jurisdiction": "US-CA"},
        {"purpose": "health-advice", "notice": "health-advice@1", "method": "oral"},
    ):
        answer = await send(sqlite_node, subject, **changes)
        assert answer.status_code == 201, answer.text


async def test_a_time_slightly_in_the_future_is_recorded_as_now(node):
    subject = await node.create()
    await send(node, subject, occurred_at="2026-03-05T12:01:00Z")
    assert (await send(node, subject, decision="withdrawn", notice=None, method=None)).json()["state"] == "withdrawn"


async def test_an_app_whose_clock_is_behind_can_withdraw(node, clock):
    """A recent withdrawal must not look older than the consent that it withdraws."""
    subject = await node.create()
    await send(node, subject)
    clock.advance(seconds=10)
    late = await send(node, subject, decision="withdrawn", notice=None, occurred_at="2026-03-05T11:59:30Z")
    assert late.json()["state"] == "withdrawn"


async def test_an_old_statement_does_not_undo_a_later_one(node):
    subject = await node.create()
    await send(node, subject)
    old = await send(node, subject, decision="withdrawn", notice=None, occurred_at="2026-03-01T12:00:00Z")
    assert old.json()["state"] == "given"
    new = await send(node, subject, decision="withdrawn", notice=None)
    assert new.json()["state"] == "withdrawn"
    again = await send(node, subject, occurred_at="2026-03-01T13:00:00Z")
    assert again.json()["state"] == "withdrawn"
    assert len(await events(node)) == 4


async def test_a_withdrawal_without_a_consent_is_recorded(node):
    subject = await node.create()
    for _ in range(2):
        answer = await send(node, subject, decision="withdrawn", notice=None, method=None)
        assert (answer.status_code, answer.json()["state"]) == (201, "withdrawn")
    assert len(await events(node)) == 2


async def test_denied_callers_and_unknown_subjects_are_refused(node):
    subject = await node.create()
    for role in ("marketing", "finance", "analytics", "operator", "stranger"):
        problem(await send(node, subject, role=role), 403, "not-granted")
    problem(await send(node, str(uuid4())), 404, "subject-not-found")
    problem(await send(node, await node.create(tenant="acme")), 404, "subject-not-found")
    for path in ("consents", "objections", "restriction", "restriction:announce", "restriction:lift"):
        body = {"consents": GIVEN, "objections": {"purpose": "fraud-prevention"}, "restriction": {"ground": "claims"}}
        answer = await node.post("dpo", f"/v1/subjects/{uuid4()}/{path}", body.get(path, {}))
        problem(answer, 404, "subject-not-found")
    problem(await node.call("dpo", "GET", f"/v1/subjects/{uuid4()}/consents"), 404, "subject-not-found")
    problem(await node.call("marketing", "GET", f"/v1/subjects/{subject}/consents"), 403, "not-granted")
    assert await events(node) == []


async def test_evidence_is_stored_sealed_and_opened_for_permitted_callers(node):
    subject = await node.create()
    await send(node, subject, evidence=f"{WORD} 7")
    (body,) = await events(node)
    assert WORD.encode() not in body
    answer = await node.call("support", "GET", f"/v1/subjects/{subject}/consents")
    assert answer.json()["history"][0]["evidence"] == f"{WORD} 7"
    assert all(WORD not in str(entry) for entry in await node.entries())


async def test_evidence_moved_to_another_event_does_not_open(node):
    one, two = await node.create(), await node.create({"name": "Two"})
    await send(node, one, evidence="one")
    await send(node, two, evidence="two")
    rows = await node.sql("SELECT subject_id, id, body FROM consent_event ORDER BY id")
    first, second = (bytes(body) for _s, _id, body in rows)
    sealed = [part.split(b'"evidence":"')[1].split(b'"')[0] for part in (first, second)]
    moved = second.replace(sealed[1], sealed[0])
    await node.sql("UPDATE consent_event SET body = :body WHERE id = :id", body=moved, id=rows[1][1])
    problem(await node.call("support", "GET", f"/v1/subjects/{two}/consents"), 500, "cannot-open")


async def test_an_idempotency_key_records_once_and_shows_the_token_once(node):
    subject = await node.create()
    path, headers = f"/v1/subjects/{subject}/consents", {"Idempotency-Key": "k-1"}
    body = {**GIVEN, "method": "double-opt-in"}
    first = await node.post("support", path, body, headers=headers)
    again = await node.post("support", path, body, headers=headers)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json()["id"] == first.json()["id"]
    assert again.json()["confirmation"] == {"expires": first.json()["confirmation"]["expires"]}
    token = first.json()["confirmation"]["token"]
    assert all(token.encode() not in bytes(answer) for (answer,) in await node.sql("SELECT answer FROM idempotency"))
    for where, sent in (("objections", {"purpose": "fraud-prevention"}), ("restriction", {"ground": "claims"})):
        answers = [
            await node.post("dpo", f"/v1/subjects/{subject}/{where}", sent, headers={"Idempotency-Key": where})
            for _ in range(2)
        ]
        assert answers[0].content == answers[1].content
        assert answers[1].status_code == 201
    assert len(await events(node)) == 3


async def test_history_pages_lead_to_the_next(node):
    subject = await node.create()
    created = [(await send(node, subject, decision="refused", notice=None)).json()["id"] for _ in range(5)]
    listed, cursor = [], None
    for _ in range(3):
        params = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = (await node.call("support", "GET", f"/v1/subjects/{subject}/consents", params=params)).json()
        listed += [event["id"] for event in page["history"]]
        cursor = page["next"]
    assert cursor is None
    assert listed == created[::-1]
    wrong = await node.call("support", "GET", f"/v1/subjects/{subject}/consents", params={"cursor": "x"})
    problem(wrong, 422, "invalid-cursor")
