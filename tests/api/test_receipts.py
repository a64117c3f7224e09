"""Receipts over HTTP, on both databases: permissions, contents, and verification."""

from __future__ import annotations

import json
from uuid import UUID, uuid4

import pytest

from tests.vaults import ADA, OTHER, problem
from vault.consent.receipts.issue import check_receipt, read_contents, rotate_signing_key
from vault.crypto.signing import key_id, parse, public_of_jwk
from vault.governance.tenants import apply_policies
from vault.ids import TenantId
from vault.policy.policy_set import PolicySet

EVIDENCE = "Form 4711 in the archive, row Z"
YES = {
    "purpose": "direct-marketing",
    "decision": "given",
    "notice": "marketing@3",
    "method": "checkbox",
    "channel": "web",
    "evidence": EVIDENCE,
}
FORMS = ("dpv", "kantara")
each_form = pytest.mark.parametrize("form", FORMS)


async def say(node, subject, *, tenant="default", **more):
    done = await node.post("support", f"/v1/subjects/{subject}/consents", {**YES, **more}, tenant=tenant)
    assert done.status_code == 201, done.text
    return done.json()["id"]


async def done(node, role, subject, what, **body):
    answer = await node.post(role, f"/v1/subjects/{subject}/{what}", body)
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


async def fetch(node, subject, event, role="support", *, form=None, tenant="default"):
    params = {} if form is None else {"format": form}
    return await node.call(
        role, "GET", f"/v1/subjects/{subject}/consents/{event}/receipt", tenant=tenant, params=params
    )


async def receipt(node, subject, event, **how):
    answer = await fetch(node, subject, event, **how)
    assert answer.status_code == 200, answer.text
    return answer


async def trusted(node, role="analytics", tenant="default"):
    answer = await node.call(role, "GET", "/v1/signing-keys", tenant=tenant)
    assert answer.status_code == 200, answer.text
    return {key_id(public_of_jwk(key)): key for key in answer.json()["keys"]}


def verified(answer, keys):
    signed = check_receipt(parse(answer.content))
    assert signed.sound
    assert signed.key_id in keys
    return read_contents(signed.document)


@each_form
async def test_a_receipt_is_signed_and_contains_no_value(node, form):
    subject = await node.create()
    given = await say(node, subject)
    withdrawn = await say(node, subject, decision="withdrawn")
    keys = await trusted(node)
    for event, kind in ((given, "given"), (withdrawn, "withdrawn")):
        answer = await receipt(node, subject, event, form=form)
        said = verified(answer, keys)
        assert (said.kind, said.receipt) == (kind, event)
        assert said.person == str(await node.pseudonym(subject))
        for value in (ADA["name"], ADA["email"], ADA["phone"], ADA["address"]["street"], EVIDENCE, str(subject)):
            assert value not in answer.text


async def test_every_event_of_a_subject_has_a_receipt(node):
    subject = await node.create()
    await say(node, subject)
    await say(node, subject, decision="renewed")
    await say(node, subject, decision="withdrawn")
    await say(node, subject, purpose="loyalty-programme", notice="loyalty@1", decision="refused")
    for purpose, fate in (("fraud-prevention", "upheld"), ("service-analytics", "overruled")):
        objected = await done(node, "support", subject, "objections", purpose=purpose)
        await done(node, "dpo", subject, f"objections/{objected}:decide", decision=fate, reason=EVIDENCE)
    await done(node, "support", subject, "objections", purpose="direct-marketing")
    await done(node, "dpo", subject, "restriction", ground="accuracy", reason=EVIDENCE)
    await done(node, "dpo", subject, "restriction:announce", told=EVIDENCE)
    node.services.clock.advance(days=3)
    await done(node, "dpo", subject, "restriction:lift")
    listed = (await node.call("dpo", "GET", f"/v1/subjects/{subject}/consents")).json()["history"]
    keys = await trusted(node)
    for event in listed:
        for form in FORMS:
            answer = await receipt(node, subject, event["id"], form=form)
            assert verified(answer, keys).kind == event["kind"]
            assert EVIDENCE not in answer.text
    assert {event["kind"] for event in listed} == {
        "given", "renewed", "withdrawn", "refused", "objected", "objection-upheld", "objection-overruled",
        "restricted", "lift-announced", "restriction-lifted",
    }  # fmt: skip


async def test_iso_27560_is_the_default_format(sqlite_node):
    subject = await sqlite_node.create()
    event = await say(sqlite_node, subject)
    answer = await receipt(sqlite_node, subject, event)
    assert "@context" in answer.json()["receipt"]
    assert answer.headers["content-type"] == "application/json"


async def test_reading_a_receipt_is_audited(node):
    subject = await node.create()
    event = await say(node, subject)
    async with node.new_entries() as entries:
        await receipt(node, subject, event)
    (made,) = entries
    assert (made.action, made.decision, made.purpose) == ("read-receipt", "allowed", "direct-marketing")
    assert made.subjects == (await node.pseudonym(subject),)
    assert made.target == UUID(event)
    assert made.policy == node.services.policies.active("default").version


@pytest.mark.parametrize(("role", "may"), [("support", True), ("dpo", True), ("fulfilment", True), ("finance", False), ("analytics", False), ("stranger", False)])  # fmt: skip
async def test_callers_that_may_record_or_read_consents_get_receipts(sqlite_node, role, may):
    node = sqlite_node
    subject = await node.create()
    event = await say(node, subject)
    async with node.new_entries() as entries:
        answer = await fetch(node, subject, event, role)
    (made,) = entries
    assert made.action == "read-receipt"
    if may:
        assert answer.status_code == 200
    else:
        problem(answer, 403, "not-granted")
        assert made.decision == "denied"


async def test_unknown_events_are_not_found_and_audited(node):
    ada, bob = await node.create(), await node.create({"name": "Bob"})
    event = await say(node, ada)
    theirs = await node.create(tenant=OTHER)
    cases = [
        (uuid4(), event, "default", "subject-not-found"),
        (ada, uuid4(), "default", "consent-event-not-found"),
        (bob, event, "default", "consent-event-not-found"),
        (ada, event, OTHER, "subject-not-found"),
        (theirs, event, OTHER, "consent-event-not-found"),
    ]
    for subject, asked, tenant, code in cases:
        async with node.new_entries() as entries:
            answer = await fetch(node, subject, asked, tenant=tenant)
        problem(answer, 404, code)
        (made,) = entries
        assert (made.action, made.decision, made.code, made.tenant) == ("read-receipt", "failed", code, tenant)
        assert bool(made.subjects) == (code == "consent-event-not-found")


async def test_an_erased_person_has_no_receipts(node):
    subject = await node.create()
    event = await say(node, subject)
    await node.set_state(subject, "erased")
    problem(await fetch(node, subject, event), 404, "subject-not-found")


async def test_an_unknown_format_is_refused(sqlite_node):
    subject = await sqlite_node.create()
    event = await say(sqlite_node, subject)
    problem(await fetch(sqlite_node, subject, event, form="pdf"), 422, "invalid-body")


async def test_a_receipt_describes_the_purpose_by_the_policies_of_its_day(node):
    subject = await node.create()
    before = await say(node, subject)
    old = node.services.policies.active("default").policy_set
    files = {**old.files, "purposes.toml": old.files["purposes.toml"].replace('"Send offers"', '"Send a lot"')}
    await apply_policies(node.services, TenantId("default"), PolicySet.load(files))
    after = await say(node, subject, decision="withdrawn")
    keys = await trusted(node)
    assert verified(await receipt(node, subject, before), keys).purpose == "Send offers"
    assert verified(await receipt(node, subject, before), keys).purpose == "Send offers"  # kept loaded
    assert verified(await receipt(node, subject, after), keys).purpose == "Send a lot"


async def test_every_app_may_list_the_public_signing_keys(node):
    for role in ("analytics", "stranger"):
        (key,) = (await trusted(node, role)).values()
        assert key.keys() == {"kty", "crv", "x", "kid", "use", "alg", "status"}
        assert (key["kty"], key["crv"], key["status"]) == ("OKP", "Ed25519", "current")
    assert (await trusted(node)).keys() != (await trusted(node, tenant=OTHER)).keys()
    problem(await node.call(None, "GET", "/v1/signing-keys"), 401, "not-authenticated")


async def test_listing_signing_keys_is_audited(sqlite_node):
    async with sqlite_node.new_entries() as entries:
        await trusted(sqlite_node)
    assert [(entry.action, entry.decision, entry.principal_name) for entry in entries] == [
        ("read-policies", "allowed", "analytics")
    ]


async def test_a_receipt_does_not_verify_by_another_tenants_key(node):
    subject = await node.create(tenant=OTHER)
    event = await say(node, subject, tenant=OTHER)
    answer = await receipt(node, subject, event, tenant=OTHER)
    assert check_receipt(parse(answer.content)).key_id in await trusted(node, tenant=OTHER)
    assert check_receipt(parse(answer.content)).key_id not in await trusted(node)


async def test_signatures_of_a_retired_key_stay_valid(node):
    subject = await node.create()
    event = await say(node, subject)
    before = await receipt(node, subject, event)
    async with node.new_entries() as entries:
        await rotate_signing_key(node.services, TenantId("default"))
    assert [entry.action for entry in entries] == ["rotate-keys"]
    after, keys = await receipt(node, subject, event), await trusted(node)
    assert [key["status"] for key in keys.values()] == ["current", "retired"]
    ids = [check_receipt(parse(answer.content)).key_id for answer in (after, before)]
    assert ids == list(keys)


async def test_an_old_vault_without_signing_keys_signs_its_first_receipt(node):
    await node.sql("DELETE FROM tenant_secret WHERE kind = 'signing'", keystore=True)
    node.services.keyring.clear()
    subject = await node.create()
    event = await say(node, subject)
    assert verified(await receipt(node, subject, event), await trusted(node)).kind == "given"


async def test_a_reformatted_receipt_stays_valid(sqlite_node):
    subject = await sqlite_node.create()
    event = await say(sqlite_node, subject)
    answer = await receipt(sqlite_node, subject, event)
    pretty = json.dumps(answer.json(), indent=4, sort_keys=True).encode()
    assert check_receipt(parse(pretty)).sound
