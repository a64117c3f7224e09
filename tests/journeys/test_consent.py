"""Consents take effect with the next read, on every node."""

from __future__ import annotations

import re

import pytest

from tests.vaults import problem
from vault.access.callers import operator_caller
from vault.bootstrap import apply_folders
from vault.consent.expiry import expire_lapsed
from vault.consent.model import decode
from vault.consent.receipts.issue import check_receipt
from vault.consent.store import compare

MARKETING = {"purpose": "direct-marketing", "notice": "marketing@3", "method": "checkbox", "channel": "web"}
READ = (["email"], "direct-marketing")
CHILD = {"name": "Tim", "email": "tim@example.org", "birth_date": "2014-06-01"}


@pytest.fixture
async def nodes(place, clock):
    """Two nodes on one database."""
    async with place.node(clock) as one, place.node(clock) as two:
        yield one, two


async def say(node, subject, decision, *, role="support", headers=None, **said):
    body = {**(MARKETING if decision in {"given", "renewed"} else {"purpose": "direct-marketing"}), **said}
    return await node.post(role, f"/v1/subjects/{subject}/consents", {**body, "decision": decision}, headers=headers)


async def told(node, subject, decision, **said):
    answer = await say(node, subject, decision, **said)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def state(node, subject, **params):
    answer = await node.call("support", "GET", f"/v1/subjects/{subject}/consents", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def may(node, subject, purpose="direct-marketing"):
    """Ask by the check and by a read, which must agree."""
    ask = {"subjects": [subject], "purposes": [purpose]}
    answer = await node.post("dpo", "/v1/consents:check", ask)
    assert answer.status_code == 200, answer.text
    return answer.json()["results"][0]["purposes"][purpose]


async def shows(node, subject):
    read = await node.read("marketing", subject, *READ)
    assert await may(node, subject) == (read.status_code == 200)
    if read.status_code == 200:
        assert read.json()["fields"].keys() == {"email"}
        return True
    assert problem(read, 403, "denied")["denied"]["email"]["code"] == "consent-missing"
    return False


async def consistent(node):
    """Check that the state on every row agrees with its consent events."""
    return [difference async for step in compare(node.services, "default") for difference in step.differences] == []


async def apply_notice(node, version, *, material, valid_from="2026-01-01"):
    folder = node.vault.settings.policies
    old = (folder / "notices" / "marketing@3.md").read_text()
    new = old.replace("marketing@3", f"marketing@{version}").replace("about once a week", f"{version} times a week")
    new = re.sub(
        r"^(valid_from = ).*$", rf"\g<1>{valid_from}\nmaterial = {str(material).lower()}", new, flags=re.MULTILINE
    )
    (folder / "notices" / f"marketing@{version}.md").write_text(new)
    assert (await apply_folders(node.vault))["default"]


async def test_consent_given_and_withdrawn_decides_every_read(nodes):
    one, two = nodes
    subject = await one.create()
    assert not await shows(two, subject)

    given = await told(one, subject, "given", evidence="form 4711, box 12")
    assert given["state"] == "given"
    assert await shows(two, subject)

    await apply_notice(one, 4, material=False)
    await two.services.policies.refresh()
    assert await shows(two, subject)  # it says the same in other words
    await apply_notice(one, 5, material=True)
    assert not await shows(one, subject)
    assert await two.services.policies.refresh() == ("default",)
    assert not await shows(two, subject)
    stands = (await state(two, subject))["consents"]["direct-marketing"]
    assert (stands["state"], stands["renew"], stands["notice"]) == ("given", True, "marketing@3")
    problem(await say(two, subject, "given"), 422, "notice-not-good")

    renewed = await told(two, subject, "given", notice="marketing@5")
    assert await shows(one, subject)
    withdrawn = await told(one, subject, "withdrawn")
    assert withdrawn["state"] == "withdrawn"
    assert not await shows(two, subject)  # the very next read, on the other node

    result = await state(two, subject)
    assert [(item["kind"], item["id"], item["notice"]) for item in result["history"]] == [
        ("withdrawn", withdrawn["id"], None),
        ("renewed", renewed["id"], "marketing@5"),
        ("given", given["id"], "marketing@3"),
    ]
    first = result["history"][-1]
    assert (first["evidence"], first["language"], first["channel"]) == ("form 4711, box 12", "en", "web")
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", first["notice_digest"])
    assert result["consents"]["direct-marketing"]["event"] == withdrawn["id"]
    log = [entry for entry in await one.entries() if entry.action == "record-consent" and entry.decision == "allowed"]
    assert [str(entry.target) for entry in log] == [given["id"], renewed["id"], withdrawn["id"]]
    assert {entry.purpose for entry in log} == {"direct-marketing"}
    assert {entry.subjects for entry in log} == {(await one.pseudonym(subject),)}
    for event in result["history"]:
        receipt = await two.call("support", "GET", f"/v1/subjects/{subject}/consents/{event['id']}/receipt")
        assert receipt.status_code == 200, receipt.text
        assert event["id"] in receipt.text
        assert check_receipt(receipt.json()) is not None
    assert await consistent(one)


async def test_a_withdrawal_does_not_stop_reads_required_by_law(nodes):
    one, two = nodes
    subject = await one.create()
    await told(one, subject, "given")
    await told(one, subject, "withdrawn")
    assert not await shows(two, subject)
    for role, purpose in (
        ("finance", "accounting"),
        ("support", "complaint-handling"),
        ("fulfilment", "order-fulfilment"),
    ):
        read = await two.read(role, subject, ["name"], purpose)
        assert read.json()["fields"] == {"name": "Ada Lovelace"}, purpose


async def test_a_consent_expires(nodes, clock):
    one, two = nodes
    subject = await one.create()
    await told(one, subject, "given", valid_until="2026-03-06T12:00:00Z")
    clock.advance(hours=23, minutes=59)
    assert await shows(two, subject)
    clock.advance(minutes=1)
    assert not await shows(two, subject)
    stands = (await state(two, subject))["consents"]["direct-marketing"]
    assert (stands["state"], stands["renew"]) == ("expired", True)


async def test_the_expiry_of_a_consent_is_recorded_once(nodes, clock):
    one, two = nodes
    ended, stays, child = [await one.create() for _ in range(3)]
    given = await told(one, ended, "given", valid_until="2026-03-06T12:00:00Z")
    await told(one, stays, "given", valid_until="2027-03-06T12:00:00Z")
    await told(one, child, "withdrawn")
    clock.advance(days=3)
    counts = []
    for node in (one, two):
        steps = [step async for step in expire_lapsed(node.services, operator_caller())]
        counts.append([sum(step.people for step in steps), sum(step.ended for step in steps)])
    assert counts == [[3, 1], [3, 0]]
    last = (await state(two, ended))["history"][0]
    assert (last["kind"], last["answers"], last["by"]) == ("expired", given["id"], "app")
    assert last["occurred_at"] == "2026-03-06T12:00:00.000000Z"
    receipt = await one.call("dpo", "GET", f"/v1/subjects/{ended}/consents/{last['id']}/receipt")
    assert receipt.status_code == 200
    assert await may(one, stays)
    assert await consistent(one)
    await told(one, ended, "given")
    assert await shows(two, ended)


async def test_an_objection_stops_the_use_until_it_is_decided(nodes):
    one, two = nodes
    subject = await one.create()
    read = ("finance", subject, ["name"], "fraud-prevention")
    assert (await two.read(*read)).status_code == 200
    body = {"purpose": "fraud-prevention", "reason": "a false alarm two years ago"}
    objected = await one.post("support", f"/v1/subjects/{subject}/objections", body)
    assert (objected.status_code, objected.json()["state"]) == (201, "pending")
    refused = problem(await two.read(*read), 403, "denied")
    assert refused["denied"]["name"]["code"] == "objected"
    assert not await may(two, subject, "fraud-prevention")
    event = objected.json()["id"]
    path = f"/v1/subjects/{subject}/objections/{event}:decide"
    decision = {"decision": "overruled", "reason": "an open case of fraud"}
    problem(await two.post("support", path, decision), 403, "not-granted")
    decided = await two.post("dpo", path, decision)
    assert (decided.status_code, decided.json()["state"]) == (201, "overruled")
    assert (await one.read(*read)).status_code == 200
    problem(await one.post("dpo", path, decision), 409, "objection-decided")
    again = await one.post("support", f"/v1/subjects/{subject}/objections", {"purpose": "fraud-prevention"})
    path = f"/v1/subjects/{subject}/objections/{again.json()['id']}:decide"
    assert (await one.post("dpo", path, {"decision": "upheld", "reason": "right"})).json()["state"] == "upheld"
    problem(await two.read(*read), 403, "denied")
    history = (await state(two, subject))["history"]
    assert [item["kind"] for item in history] == [
        "objection-upheld", "objected", "objection-overruled", "objected",
    ]  # fmt: skip
    assert [item["evidence"] for item in history] == ["right", None, "an open case of fraud", body["reason"]]
    assert history[2]["answers"] == event
    actions = [entry.action for entry in await one.entries() if entry.action in {"object", "decide-objection"}]
    assert actions.count("object") == 2
    assert await consistent(one)


async def test_an_objection_to_marketing_is_final_until_the_person_agrees_again(nodes):
    one, two = nodes
    subject = await one.create()
    await told(one, subject, "given")
    objected = await two.post("support", f"/v1/subjects/{subject}/objections", {"purpose": "direct-marketing"})
    assert objected.json()["state"] == "upheld"
    assert not await shows(one, subject)
    stands = (await state(one, subject))["consents"]["direct-marketing"]
    assert (stands["state"], stands["objection"]) == ("withdrawn", "upheld")
    path = f"/v1/subjects/{subject}/objections/{objected.json()['id']}:decide"
    problem(await one.post("dpo", path, {"decision": "overruled", "reason": "no"}), 409, "objection-decided")
    await told(one, subject, "given", by="app")
    assert not await shows(two, subject)  # an app does not speak against a person's own no
    await told(one, subject, "given", by="subject")
    assert await shows(two, subject)
    assert await consistent(one)


async def test_an_objection_to_contract_or_law_is_refused(sqlite_node):
    node = sqlite_node
    subject = await node.create()
    for purpose in ("order-fulfilment", "accounting", "profiling"):
        answer = await node.post("support", f"/v1/subjects/{subject}/objections", {"purpose": purpose})
        body = problem(answer, 422, "no-right-to-object")
        assert [error["at"] for error in body["errors"]] == ["/purpose"]
    unknown = {"purpose": "fun", "reason": "a\nb"}
    body = problem(await node.post("support", f"/v1/subjects/{subject}/objections", unknown), 422, "invalid-reason")
    assert [error["at"] for error in body["errors"]] == ["/reason", "/purpose"]


async def test_a_restriction_permits_storage_and_exceptions(nodes):
    one, two = nodes
    subject = await one.create()
    await told(one, subject, "given")
    path = f"/v1/subjects/{subject}/restriction"
    problem(await one.post("support", path, {"ground": "accuracy"}), 403, "not-granted")
    problem(await one.post("dpo", f"{path}:lift", {}), 409, "not-restricted")
    created = await one.post("dpo", path, {"ground": "accuracy", "reason": "says that the address is wrong"})
    assert (created.status_code, created.json()["state"]) == (201, "restricted")
    assert (await two.call("support", "GET", f"/v1/subjects/{subject}")).json()["state"] == "restricted"
    for role, purpose in (
        ("fulfilment", "order-fulfilment"),
        ("finance", "accounting"),
        ("marketing", "direct-marketing"),
    ):
        fields = ["email"] if role == "marketing" else ["name"]
        refused = problem(await two.read(role, subject, fields, purpose), 403, "denied")
        assert {item["code"] for item in refused["denied"].values()} == {"restricted"}, purpose
        assert not await may(two, subject, purpose)
    written = await two.patch("fulfilment", subject, {"name": "A"}, "order-fulfilment", '"1"')
    assert problem(written, 403, "denied")["denied"]["name"]["code"] == "restricted"
    assert (await two.read("dpo", subject, ["name"], "subject-rights")).status_code == 200
    await told(two, subject, "withdrawn")  # the person's own word is taken all the same
    problem(await two.post("dpo", f"{path}:lift", {"reason": "corrected"}), 409, "notice-first")
    announced = await one.post("dpo", f"{path}:announce", {"told": "by post"})
    assert announced.json()["lift_from"] == "2026-03-08T12:00:00.000000Z"
    problem(await two.post("dpo", f"{path}:lift", {"reason": "corrected"}), 409, "notice-running")
    two.services.clock.advance(days=3)
    lifted = await two.post("dpo", f"{path}:lift", {"reason": "corrected"})
    assert (lifted.status_code, lifted.json()["state"]) == (201, "active")
    assert (await one.read("fulfilment", subject, ["name"], "order-fulfilment")).status_code == 200
    assert not await shows(one, subject)
    history = (await state(one, subject))["history"]
    assert [event["kind"] for event in history] == [
        "restriction-lifted", "lift-announced", "withdrawn", "restricted", "given",
    ]  # fmt: skip
    assert (history[3]["ground"], history[3]["evidence"]) == ("accuracy", "says that the address is wrong")
    actions = [entry.action for entry in await one.entries() if entry.action in {"restrict", "lift-restriction"}]
    assert actions == ["restrict", "lift-restriction", "restrict"] + ["lift-restriction"] * 4  # four were refused
    assert await consistent(one)


async def test_a_child_needs_a_guardian(nodes):
    one, two = nodes
    subject = await one.create_fully(**CHILD)
    body = problem(await say(one, subject, "given", jurisdiction="DE"), 422, "guardian-needed")
    assert [error["at"] for error in body["errors"]] == ["/by"]
    problem(await say(one, subject, "given", by="guardian"), 422, "invalid-value")
    await told(one, subject, "given", by="guardian", evidence="mother, by video call")
    assert await shows(two, subject)
    await told(two, subject, "withdrawn")  # to say no, nobody is too young
    assert not await shows(one, subject)


async def test_the_consents_of_a_newly_known_child_expire(nodes):
    one, two = nodes
    subject = await one.create({"name": "Tim", "email": "tim@example.org"})
    other = await one.create({"name": "Eva", "email": "eva@example.org"})
    await told(one, subject, "given", jurisdiction="BE")
    await told(one, other, "given", by="guardian", evidence="father, on paper")
    loyalty = {"purpose": "loyalty-programme", "notice": "loyalty@1", "method": "double-opt-in"}
    token = (await told(one, subject, "given", **loyalty))["confirmation"]["token"]
    assert await shows(two, subject)
    for item in (subject, other):
        changed = await two.patch("dpo", item, {"birth_date": "2014-06-01"}, "subject-rights", '"1"')
        assert changed.status_code == 200, changed.text
    assert not await shows(one, subject)
    assert await shows(one, other)
    result = await state(one, subject)
    assert [(event["kind"], event["by"], event["origin"]) for event in result["history"][:2]] == [
        ("expired", "app", "system"),
        ("expired", "app", "system"),
    ]
    assert {result["consents"][name]["state"] for name in ("direct-marketing", "loyalty-programme")} == {"expired"}
    problem(await one.post(None, "/v1/consents:confirm", {"token": token}), 404, "confirmation-invalid")
    assert await consistent(one)


async def test_the_age_of_consent_depends_on_the_country(nodes):
    one, _ = nodes
    subject = await one.create_fully(name="Tim", birth_date="2011-06-01")  # 14 years old
    problem(await say(one, subject, "given", jurisdiction="DE"), 422, "guardian-needed")
    await told(one, subject, "given", jurisdiction="AT")


async def test_a_double_opt_in_counts_once_it_is_confirmed(nodes, clock):
    one, two = nodes
    subject = await one.create()
    pending = await told(one, subject, "given", method="double-opt-in", evidence="sign-up form")
    assert pending["state"] == "pending"
    assert pending["confirmation"]["expires"] == "2026-03-07T12:00:00.000000Z"
    assert "link" not in pending["confirmation"]
    token = pending["confirmation"]["token"]
    assert not await shows(two, subject)
    for _ in range(2):  # mail scanners look at every link
        page = await two.call(None, "GET", "/v1/consents:confirm", params={"token": token})
        assert page.status_code == 200
    assert not await shows(two, subject)
    clock.advance(hours=1)
    confirmed = await two.post(None, "/v1/consents:confirm", {"token": token})
    assert (confirmed.status_code, confirmed.json()["state"]) == (200, "given")
    assert await shows(one, subject)
    problem(await one.post(None, "/v1/consents:confirm", {"token": token}), 404, "confirmation-invalid")
    last = (await state(one, subject))["history"][0]
    assert (last["id"], last["kind"], last["answers"]) == (confirmed.json()["id"], "given", pending["id"])
    assert (last["notice"], last["method"], last["occurred_at"]) == (
        "marketing@3", "double-opt-in", "2026-03-05T13:00:00.000000Z",
    )  # fmt: skip
    log = [
        (entry.decision, entry.principal_name, entry.purpose)
        for entry in await one.entries()
        if entry.action == "confirm-consent"
    ]
    assert log == [("allowed", "confirmation-link", "direct-marketing"), ("denied", None, None)]
    rows = await one.sql("SELECT token_hash FROM consent_confirmation")
    assert len(rows) == 1
    assert token.encode() not in bytes(rows[0][0])
    assert await consistent(one)


async def test_a_late_or_superseded_confirmation_has_no_effect(nodes, clock):
    one, two = nodes
    subject, late = await one.create(), await one.create({"name": "Late", "email": "late@example.org"})
    tokens = [
        (await told(one, item, "given", method="double-opt-in"))["confirmation"]["token"] for item in (subject, late)
    ]
    await told(two, subject, "withdrawn")
    answers = [await one.post(None, "/v1/consents:confirm", {"token": tokens[0]})]
    clock.advance(hours=48)
    wrong = tokens[1][:-5] + "AAAAA"
    answers += [await one.post(None, "/v1/consents:confirm", {"token": item}) for item in (tokens[1], wrong, "x")]
    bodies = [problem(answer, 404, "confirmation-invalid") for answer in answers]
    assert len({(body["detail"], body["hint"], body["title"]) for body in bodies}) == 1
    assert not await shows(one, subject)
    assert not await shows(one, late)


async def test_a_double_opt_in_restores_a_withdrawn_consent(nodes):
    one, two = nodes
    subject = await one.create()
    for _ in range(2):
        pending = await told(one, subject, "given", method="double-opt-in")
        assert pending["state"] == "pending"
        assert not await shows(two, subject)
        answer = await two.post(None, "/v1/consents:confirm", {"token": pending["confirmation"]["token"]})
        assert answer.status_code == 200, answer.text
        assert await shows(one, subject)
        await told(two, subject, "withdrawn")
        assert not await shows(one, subject)


async def test_a_gpc_signal_refuses_sale_and_nothing_else(nodes):
    one, two = nodes
    subject = await one.create()
    partner = {"purpose": "partner-advertising", "notice": "partner-advertising@1"}
    read = ("marketing", subject, ["email"], "partner-advertising")
    await told(one, subject, "given", **partner)
    await told(one, subject, "given")
    assert (await two.read(*read)).status_code == 200
    gpc = {"Sec-GPC": "1"}
    path = f"/v1/subjects/{subject}/consents:signal"
    problem(await one.post("support", path), 422, "no-signal")
    for node in (one, two):  # sent again it changes nothing
        answer = await node.post("support", path, headers=gpc)
        assert answer.json() == {"purposes": {"partner-advertising": "withdrawn"}}
    problem(await two.read(*read), 403, "denied")
    assert await shows(two, subject)  # marketing of our own is no sale
    refused = await say(two, subject, "given", headers=gpc, **partner)
    problem(refused, 409, "opted-out-by-signal")
    history = (await state(two, subject))["history"]
    assert [(event["kind"], event["purpose"], event["method"]) for event in history] == [
        ("withdrawn", "partner-advertising", "signal"),
        ("given", "direct-marketing", "checkbox"),
        ("given", "partner-advertising", "checkbox"),
    ]
    await told(two, subject, "given", **partner)  # asked, and without the signal: the person's own word
    assert (await one.read(*read)).status_code == 200
    problem(await say(one, subject, "given", headers=gpc, **partner), 409, "opted-out-by-signal")
    problem(await two.read(*read), 403, "denied")  # the signal of a refused call is recorded
    assert await consistent(one)


async def test_a_gpc_signal_can_accompany_a_decision(nodes):
    one, two = nodes
    subject = await one.create()
    await told(one, subject, "given", headers={"Sec-GPC": "1"})
    result = await state(two, subject)
    assert [(event["kind"], event["purpose"]) for event in result["history"]] == [
        ("given", "direct-marketing"),
        ("withdrawn", "partner-advertising"),
    ]
    await told(one, subject, "withdrawn", headers={"Sec-GPC": "0"})
    assert len((await state(two, subject))["history"]) == 3


async def test_a_gpc_signal_takes_effect_even_if_the_call_fails(nodes):
    one, two = nodes
    partner = {"purpose": "partner-advertising", "notice": "partner-advertising@1"}
    child, other = await one.create_fully(**CHILD), await one.create()
    await told(one, child, "given", by="guardian", evidence="mother, on paper", **partner)
    await told(one, other, "given", **partner)
    assert await may(two, child, "partner-advertising")
    problem(await say(one, child, "given", headers={"Sec-GPC": "1"}), 422, "guardian-needed")
    problem(await say(one, other, "given", headers={"Sec-GPC": "1"}, notice="marketing@99"), 422, "unknown-notice")
    for item in (child, other):
        assert not await may(two, item, "partner-advertising")


async def test_a_gpc_signal_ends_a_pending_double_opt_in(nodes):
    one, two = nodes
    partner = {"purpose": "partner-advertising", "notice": "partner-advertising@1", "method": "double-opt-in"}
    subject = await one.create()
    await told(one, subject, "refused", purpose="partner-advertising")
    token = (await told(one, subject, "given", **partner))["confirmation"]["token"]
    path = f"/v1/subjects/{subject}/consents:signal"
    for _ in range(2):  # the second time there is nothing left to say
        assert (await two.post("support", path, headers={"Sec-GPC": "1"})).status_code == 200
    kinds = [event["kind"] for event in (await state(two, subject))["history"]]
    assert kinds == ["withdrawn", "requested", "refused"]
    problem(await one.post(None, "/v1/consents:confirm", {"token": token}), 404, "confirmation-invalid")
    assert not await may(two, subject, "partner-advertising")


async def test_consent_events_are_never_changed(node):
    subject = await node.create()
    await told(node, subject, "given")
    before = await node.sql("SELECT id, body FROM consent_event ORDER BY id")
    for decision in ("withdrawn", "withdrawn", "refused", "given"):
        await told(node, subject, decision)
    after = await node.sql("SELECT id, body FROM consent_event ORDER BY id")
    assert after[0] == before[0]
    assert [decode(bytes(body)).kind for _id, body in after] == ["given", "withdrawn", "withdrawn", "refused", "given"]
    assert await shows(node, subject)
