"""Requests are submitted: for whom, by whom, and with which answer."""

from __future__ import annotations

import json
from uuid import UUID, uuid4

import pytest

from tests.requests.submitting import DEFAULT, kept, show, submit, submitted, verified
from tests.vaults import problem, without_ids
from vault.access.callers import data_subject_caller
from vault.errors import Denied
from vault.ids import SubjectId
from vault.merging.merge import MergeRequest, merge_authorized
from vault.requests import verification as verifying
from vault.requests.model import Verification
from vault.requests.submit import Submission, submit_request
from vault.subjects.rows import search_digest

WORD = "Kanarienvogel"


async def test_a_new_request_has_its_deadlines(node):
    subject = await node.create()
    created = await submit(node, kind="access", subject=subject, channel="letter")
    body = created.json()
    assert (created.status_code, body["state"]) == (201, "received")
    assert (body["due"], body["internal_due"]) == ("2026-04-07", "2026-03-31")
    assert "Easter Monday (IE)" in body["due_rule"]
    assert body.keys() == {"id", "state", "due", "due_rule", "internal_due"}
    result = await show(node, body["id"])
    assert (result["subject"], result["jurisdiction"], result["channel"]) == (subject, "IE", "letter")
    assert [(event["move"], event["by_name"]) for event in result["history"]] == [("receive", "support")]


async def test_the_deadline_depends_on_jurisdiction_and_receipt(node):
    subject = await node.create()
    said = {"jurisdiction": "DE-BE", "received_at": "2026-02-08T09:00:00+01:00"}
    created = await submit(node, kind="access", subject=subject, **said)
    assert created.json()["due"] == "2026-03-09"  # 03-08 is a Sunday
    ccpa = await submit(node, kind="access", subject=subject, regime="ccpa", jurisdiction="US-CA")
    assert ccpa.json()["due"] == "2026-04-19"


KNOWN_BY = [
    {"email": "ada@example.org"},
    {"email": " Ada@EXAMPLE.org "},
    {"email": "second@example.org"},
    {"external_id": {"shop": "4711"}},
    {"external_id": {"shop": "4711", "crm": "A-1"}},
]


async def test_the_person_is_found_by_address_or_external_id(sqlite_node):
    node = sqlite_node
    subject = await node.create(external_ids={"shop": "4711", "crm": "A-1"})
    changed = await node.patch("dpo", subject, {"email_secondary": "second@example.org"}, "subject-rights", '"1"')
    assert changed.status_code == 200, changed.text
    for identity in KNOWN_BY:
        created = await submit(node, kind="access", identity=identity)
        assert (await show(node, created.json()["id"]))["subject"] == subject


NOBODY = [
    {"email": "nobody@example.org"},
    {"external_id": {"shop": "9999"}},
    {"external_id": {"shop": "4711", "crm": "someone else's"}},
    {"email": "both@example.org"},
]


async def test_the_answer_does_not_reveal_whether_a_person_exists(node):
    await node.create(external_ids={"shop": "4711"})
    for name in ("One", "Other"):
        await node.create({"name": name, "email": "both@example.org"})
    known = await submit(node, kind="erasure", identity={"email": "ada@example.org"}, details={"statement": WORD})
    for identity in NOBODY:
        unknown = await submit(node, kind="erasure", identity=identity, details={"statement": WORD})
        assert without_ids(known, known.json()["id"]) == without_ids(unknown, unknown.json()["id"])
        assert known.headers.keys() == unknown.headers.keys()
        request, (event,) = await kept(node, unknown.json()["id"])
        assert request.subject is None
        assert event.code == ("several-people" if identity == {"email": "both@example.org"} else None)


async def test_a_duplicate_request_is_linked_and_not_verified_by_the_first(node):
    subject = await node.create()
    first = await submitted(node, "erasure", subject, scope={"fields": ["phone", "email"]})
    await verified(node, first)
    second = await submit(node, kind="erasure", subject=subject, scope={"fields": ["profile.email", "profile.phone"]})
    assert second.json()["duplicate_of"] == first
    result = await show(node, second.json()["id"])
    assert (result["state"], result["verification"], result["duplicate_of"]) == ("received", None, first)
    assert (await show(node, first))["state"] == "in_review"
    other = await submit(node, kind="erasure", subject=subject, scope={"fields": ["phone"]})
    assert "duplicate_of" not in other.json()
    third = await submit(node, kind="erasure", subject=subject, scope={"fields": ["phone", "email"]})
    assert third.json()["duplicate_of"] == first


async def test_an_address_of_more_people_than_are_compared_matches_no_one_and_staff_see_it(node, monkeypatch):
    """One match among the first of them would prove nothing about the others."""
    monkeypatch.setattr(verifying, "MOST_CANDIDATES", 2)
    subjects = [await node.create({"name": f"Nr {number}", "email": "shop@example.org"}) for number in range(3)]
    keys = await node.services.keyring.index_keys(DEFAULT)
    field = node.services.policies.active(DEFAULT).policy_set.catalogue.field("email")
    exact = next(index for index in field.indexes if index.kind == "exact")
    digest = search_digest(keys, field, exact, "shop@example.org")
    for subject in subjects[:2]:  # only the last one really has it: the digest of the others is equal by chance
        done = await node.patch("sales", subject, {"email": f"{subject}@example.org"}, "order-fulfilment", '"1"')
        assert done.status_code == 200
        await node.sql(
            "INSERT INTO blind_index (tenant_id, digest, subject_id, record_id, version)"
            " VALUES ('default', :digest, :id, :id, 1)", digest=digest, id=UUID(subject),
        )  # fmt: skip
    wide = await submit(node, kind="access", identity={"email": "shop@example.org"})
    request, (event,) = await kept(node, wide.json()["id"])
    assert (request.subject, event.code) == (None, "too-many-people")
    unknown = await submit(node, kind="access", identity={"email": "no.one@example.org"})
    assert without_ids(wide, wide.json()["id"]) == without_ids(unknown, unknown.json()["id"])


async def test_what_strangers_asked_does_not_hold_up_the_person_nor_show(node, clock, monkeypatch):
    """Two strangers ask in Ada's name, one by the app's form and one through another app; then she does, twice."""
    started = []

    async def start(self, name, tenant, id_, **how):
        started.append((name, id_))

    monkeypatch.setattr(type(node.services.jobs), "start", start)
    subject = await node.create()
    strangers = []
    for role, about in (("support", {"identity": {"email": "ada@example.org"}}), ("dpo", {"subject": subject})):
        created = (await submit(node, role=role, kind="review", **about)).json()
        assert "duplicate_of" not in created
        strangers.append(created["id"])
    caller, person = data_subject_caller(DEFAULT, "me-1"), SubjectId(UUID(subject))
    fresh = Verification("session", "fresh", clock.now())
    hers = await submit_request(node.services, caller, Submission("review", person), verification=fresh)
    assert (hers.state, hers.duplicate_of) == ("in_review", None)
    assert ("tell-received", hers.id) in started
    by_app = (await submit(node, kind="review", subject=subject)).json()
    assert "duplicate_of" not in by_app
    again = await submit_request(node.services, caller, Submission("review", person), verification=fresh)
    assert again.duplicate_of == hers.id
    for item in (strangers[1], hers.id, by_app["id"], again.id):
        assert (await show(node, item))["duplicate_of"] == strangers[0], "staff see the link"


async def test_a_request_that_is_approved_at_once_has_no_letter_but_that_with_the_answer(node, clock, monkeypatch):
    """The letter "we have received your request" could arrive after "your data is ready"."""
    started = []

    async def start(self, name, tenant, id_, **how):
        started.append(name)

    monkeypatch.setattr(type(node.services.jobs), "start", start)
    person = SubjectId(UUID(await node.create()))
    caller = data_subject_caller(DEFAULT, "me-1")
    fresh = Verification("session", "fresh", clock.now())
    at_once = await submit_request(node.services, caller, Submission("access", person), verification=fresh)
    assert at_once.state == "approved"
    assert started == ["access"]
    later = await submit_request(node.services, caller, Submission("erasure", person), verification=fresh)
    assert later.state == "in_review"
    assert started == ["access", "tell-received"]


async def test_a_claimed_identity_does_not_learn_of_a_duplicate(node):
    subject = await node.create()
    first = await submitted(node, "access", subject)
    again = await submit(node, kind="access", identity={"email": "ada@example.org"})
    assert "duplicate_of" not in again.json()
    assert (await show(node, again.json()["id"]))["duplicate_of"] == first


async def test_a_request_can_follow_an_earlier_one_of_the_same_person_only(node):
    ada, eve = await node.create(), await node.create({"name": "Eve", "email": "eve@example.org"})
    first = await submitted(node, "access", ada)
    again = await submitted(node, "access", ada, follows=first)
    assert (await show(node, again))["follows"] == first
    problem(await submit(node, kind="access", subject=eve, follows=first), 404, "request-not-found")
    problem(await submit(node, kind="access", subject=ada, follows=str(uuid4())), 404, "request-not-found")
    claimed = await submit(node, kind="access", identity={"email": "eve@example.org"}, follows=first)
    assert (await show(node, claimed.json()["id"]))["follows"] is None


async def test_a_repeated_call_submits_once(node):
    subject = await node.create()
    headers = {"Idempotency-Key": "letter 17"}
    first, again = [await submit(node, kind="access", subject=subject, headers=headers) for _ in range(2)]
    assert first.content == again.content
    assert again.headers["idempotent-replayed"] == "true"
    assert len(await node.sql("SELECT id FROM rights_request")) == 1


async def test_details_are_stored_sealed(node):
    subject = await node.create()
    request = await submitted(node, "rectification", subject, details={"changes": {"name": WORD}, "reason": WORD})
    assert (await show(node, request))["details"] == {"changes": {"name": WORD}, "reason": WORD}
    for table in ("rights_request", "request_event", "audit_entry", "idempotency"):
        rows = await node.sql(f"SELECT * FROM {table}")
        assert rows or table == "idempotency"
        assert WORD not in "".join(
            str(bytes(value) if isinstance(value, memoryview) else value) for row in rows for value in row
        )


FAULTS = [
    ({"jurisdiction": "Bavaria"[:7]}, "/jurisdiction", "invalid-jurisdiction"),
    ({"jurisdiction": "XX"}, "/jurisdiction", "invalid-jurisdiction"),
    ({"language": "Deutsch"}, "/language", "unknown-language"),
    ({"channel": "Over The Counter"}, "/channel", "invalid-channel"),
    ({"scope": {"fields": [WORD]}}, "/scope/fields/0", "unknown-field"),
    ({"scope": {"collections": ["profile", WORD]}}, "/scope/collections/1", "unknown-collection"),
    ({"scope": {"purposes": [WORD]}}, "/scope/purposes/0", "unknown-purpose"),
    ({"received_at": "2026-03-05T12:01:01Z"}, "/received_at", "event-in-future"),
    ({"received_at": "2026-01-04T11:59:59Z"}, "/received_at", "out-of-range"),
    ({"received_at": "0001-01-01T00:00:00+14:00"}, "/received_at", "out-of-range"),
    ({"details": {"text": "x" * 66_000}}, "/details", "too-long"),
    ({"kind": "objection", "scope": {"purposes": ["accounting"]}}, "/scope/purposes", "no-right-to-object"),
    ({"kind": "restriction", "details": {"ground": WORD}}, "/details/ground", "unknown-code"),
    ({"kind": "rectification"}, "/details", "missing"),
    ({"subject": None}, "/subject", "invalid-identity"),
    ({"identity": {"email": "a@example.org"}}, "/subject", "invalid-identity"),
    ({"subject": None, "identity": {}}, "/identity", "invalid-identity"),
    ({"subject": None, "identity": {"email": "nonsense"}}, "/identity/email", "invalid-identity"),
    ({"subject": None, "identity": {"external_id": {}}}, "/identity", "invalid-identity"),
    ({"subject": None, "identity": {"external_id": {"S H": "1"}}}, "/external_ids", "invalid-system"),
]  # fmt: skip


async def test_an_invalid_submission_is_refused_with_pointers_and_not_stored(sqlite_node):
    node = sqlite_node
    subject = await node.create()
    for body, at, code in FAULTS:
        sent = {"kind": "access", "subject": subject, **body}
        refused = await submit(node, **{key: value for key, value in sent.items() if value is not None})
        answer = refused.json()
        assert (refused.status_code, body) == (422, body)
        assert (at, code) in [(error["at"], error["code"]) for error in answer["errors"]]
        assert WORD not in refused.text
        failed = [entry for entry in await node.entries() if entry.action == "submit-request"][-1]
        assert (failed.decision, failed.code, str(failed.id)) == ("failed", answer["code"], answer["audit"])
    assert await node.sql("SELECT id FROM rights_request") == []


async def test_the_day_that_the_receipt_states_counts_for_every_later_deadline(node):
    """It is still known when the deadline is computed again: at an extension."""
    said = {"jurisdiction": "PT", "received_at": "2026-02-28T23:30:00-01:00"}  # in Lisbon it is March
    made = (await submit(node, kind="access", subject=await node.create(), **said)).json()
    assert made["due"] == "2026-03-30"  # 03-28 is a Saturday
    await node.post("dpo", f"/v1/requests/{made['id']}:extend", {"reason": "complexity"})
    assert (await node.call("dpo", "GET", f"/v1/requests/{made['id']}")).json()["due"] == "2026-05-28"


async def test_half_a_surrogate_pair_is_refused(sqlite_node):
    body = {"kind": "access", "subject": await sqlite_node.create(), "details": {"text": "\ud800"}}
    sent = {"content": json.dumps(body).encode(), "headers": {"content-type": "application/json"}}
    answer = problem(await sqlite_node.post("support", "/v1/requests", **sent), 422, "bad-format")
    assert answer["errors"][0]["at"] == "/details"


async def test_an_unknown_or_erased_person_cannot_have_requests(node):
    problem(await submit(node, kind="access", subject=str(uuid4())), 404, "subject-not-found")
    erased = await node.create()
    await node.set_state(erased, "erased")
    problem(await submit(node, kind="access", subject=erased), 404, "subject-not-found")
    unknown = await submit(node, kind="access", identity={"email": "ada@example.org"})
    assert (await kept(node, unknown.json()["id"]))[0].subject is None


async def test_submitting_needs_the_permission(sqlite_node):
    subject = await sqlite_node.create()
    for role in ("marketing", "finance", "operator", "stranger"):
        problem(await submit(sqlite_node, role, kind="access", subject=subject), 403, "not-granted")


async def test_a_claimed_identity_counts_against_the_rate_of_searches(sqlite_place, clock):
    async with sqlite_place.node(clock, searches_per_minute=2) as node:
        asked = [await submit(node, kind="access", identity={"email": f"a{i}@example.org"}) for i in range(3)]
        assert [question.status_code for question in asked] == [201, 201, 429]


async def test_a_person_submits_in_a_session_of_their_own(node, clock):
    subject = SubjectId(UUID(await node.create()))
    caller = data_subject_caller(DEFAULT, "me-1")
    stale = Verification("session", "single", clock.now())
    access = await submit_request(node.services, caller, Submission("access", subject), verification=stale)
    assert access.state == "approved"
    erasure = await submit_request(node.services, caller, Submission("erasure", subject), verification=stale)
    assert erasure.state == "received"  # nothing that cannot be undone on a session that is not fresh
    fresh = Verification("session", "fresh", clock.now())
    again = await submit_request(node.services, caller, Submission("erasure", subject), verification=fresh)
    assert (again.state, again.duplicate_of) == ("in_review", erasure.id)
    claimed = Submission("access", identity={"email": "ada@example.org"})
    for submission, verification in ((Submission("access", subject), None), (claimed, fresh)):
        with pytest.raises(Denied):
            await submit_request(node.services, caller, submission, verification=verification)


async def test_an_app_cannot_submit_a_verified_request(node, clock):
    subject = SubjectId(UUID(await node.create()))
    caller = await node.caller("support")
    fresh = Verification("session", "fresh", clock.now())
    created = await submit_request(node.services, caller, Submission("access", subject), verification=fresh)
    assert created.state == "received"


async def test_a_request_of_another_tenant_is_not_found(node):
    subject = await node.create()
    request = await submitted(node, "access", subject)
    answer = await node.call("dpo", "GET", f"/v1/requests/{request}", tenant="acme")
    problem(answer, 404, "request-not-found")
    listed = await node.call("dpo", "GET", "/v1/requests", tenant="acme")
    assert listed.json()["requests"] == []
    refused = await node.post("support", "/v1/requests", {"kind": "access", "subject": subject}, tenant="acme")
    problem(refused, 404, "subject-not-found")


async def test_a_merged_person_is_found_under_the_new_id(node):
    ada = await node.create(external_ids={"shop": "1"})
    other = await node.create({"name": "A. Lovelace", "email": "al@example.org"}, external_ids={"shop": "2"})
    caller = await node.caller("dpo")
    merge = MergeRequest(SubjectId(UUID(ada)), SubjectId(UUID(other)), "both hers")
    await merge_authorized(node.services, caller, merge)
    created = await submit(node, kind="access", identity={"external_id": {"shop": "2"}})
    assert (await show(node, created.json()["id"]))["subject"] == ada


async def test_an_open_request_moves_with_a_merge(node):
    ada, other = await node.create(), await node.create({"name": "A. Lovelace"})
    request = await submitted(node, "access", other)
    both = {"survivor": ada, "duplicate": other, "evidence": "both hers"}
    assert (await node.post("dpo", "/v1/subjects:merge", both)).status_code == 201
    assert (await show(node, request))["subject"] == ada
