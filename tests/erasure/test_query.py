"""Previews, grounds and certificates over HTTP."""

from __future__ import annotations

from tests.erasure.people import LATELY, ask, erase, run, somebody, state_of
from tests.vaults import ADA, problem
from vault.crypto.signing import key_id
from vault.erasure.verify import check_certificate


def by_field(lines):
    return {line["field"]: line for line in lines}


async def preview(node, subject, **scope):
    answer = await node.post("dpo", f"/v1/subjects/{subject}/erasure:preview", scope)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_preview_has_a_verdict_for_every_field_and_changes_nothing(node):
    subject = await somebody(node, bought=[LATELY, "2026-01-31T12:00:00Z"])
    shown = (await node.call("dpo", "GET", f"/v1/subjects/{subject}/erasure:preview")).json()
    assert shown["becomes"] == "retained"
    kept, erased = by_field(shown["kept"]), by_field(shown["erased"])
    assert kept["purchase.amount"] == {
        "field": "purchase.amount",
        "records": 2,
        "ground": "legal-obligation",
        "article": "17(3)(b)",
        "purpose": "accounting",
        "law": "Directive 2006/112/EC (VAT) and national tax and commercial law",
        "until": "2036-02-01",
    }
    assert {"profile.name", "profile.external_ids"} <= kept.keys()
    assert {"profile.email", "profile.phone", "profile.birth_date", "profile.address"} <= erased.keys()
    assert kept.keys() | erased.keys() >= {f"profile.{name}" for name in ADA}
    assert await state_of(node, subject) == "active"
    assert (await node.read("sales", subject, ["email"], "order-fulfilment")).status_code == 200


async def test_a_preview_by_purpose_lists_the_fields_that_no_other_purpose_needs(node):
    subject = await node.create_fully(email="ada@example.org", notes="likes tea", iban="DE89370400440532013000")
    shown = await preview(node, subject, purposes=["customer-support"])
    assert by_field(shown["erased"]).keys() == {"profile.notes"}
    assert shown["becomes"] == "active"


async def test_a_preview_needs_the_permission_to_read_requests(node):
    subject = await somebody(node)
    problem(await node.post("marketing", f"/v1/subjects/{subject}/erasure:preview", {}), 403, "not-granted")


async def test_unknown_names_in_a_scope_are_reported_by_position(node):
    subject = await somebody(node)
    body = {"fields": ["email", "shoe_size"], "purposes": ["world-peace"]}
    answer = problem(await node.post("dpo", f"/v1/subjects/{subject}/erasure:preview", body), 422, "unknown-scope")
    assert {error["at"] for error in answer["errors"]} == {"/scope/fields/1", "/scope/purposes/0"}


async def test_staff_can_keep_fields_for_an_open_legal_claim(node):
    subject = await somebody(node, profile={**ADA})
    request = await ask(node, subject, state="in_review")
    body = {"names": ["phone"], "until": "2028-12-31", "reason": "claim 12 before the court of Cologne"}
    created = await node.post("dpo", f"/v1/requests/{request}/grounds", body)
    assert created.status_code == 201, created.text
    kept = by_field((await preview(node, subject, request=str(request)))["kept"])
    assert kept == {
        "profile.phone": {
            "field": "profile.phone", "records": 1, "ground": "legal-claims", "article": "17(3)(e)",
            "purpose": None, "law": None, "until": "2028-12-31",
        }
    }  # fmt: skip


async def test_grounds_without_a_reason_a_name_or_a_future_day_are_refused(node):
    subject = await somebody(node)
    request = await ask(node, subject, state="in_review")
    for body in (
        {"names": [], "until": "2028-12-31", "reason": "claim 12"},
        {"names": ["shoe_size"], "until": "2028-12-31", "reason": "claim 12"},
        {"names": ["phone"], "until": "2026-03-05", "reason": "claim 12"},
        {"names": ["phone"], "until": "2028-12-31", "reason": " "},
        {"names": ["*"], "until": "2028-12-31", "reason": "everything"},
    ):
        problem(await node.post("dpo", f"/v1/requests/{request}/grounds", body), 422, "invalid-grounds")


async def test_fields_kept_for_a_claim_survive_the_erasure_of_that_subject_only(node):
    subject = await somebody(node)
    request = await ask(
        node, subject, details={"claims": [{"names": ["profile.phone"], "until": "2028-12-31", "reason": "claim 12"}]}
    )
    await run(node.services, request)
    assert await state_of(node, subject) == "retained"
    own = await node.read("dpo", subject, ["phone", "email"], "subject-rights")
    assert own.json()["fields"] == {"phone": ADA["phone"]}
    problem(await node.read("sales", subject, ["phone"], "order-fulfilment"), 404, "subject-not-found")


async def test_the_certificate_is_signed_and_names_the_audit_entry(node):
    subject = await somebody(node, bought=[LATELY])
    request = await ask(node, subject)
    problem(await node.call("dpo", "GET", f"/v1/requests/{request}/certificate"), 409, "certificate-not-ready")
    await run(node.services, request)
    file = (await node.call("dpo", "GET", f"/v1/requests/{request}/certificate")).json()
    signed = check_certificate(file)
    assert signed.sound
    assert signed.key_id == key_id((await node.services.keyring.public_keys("default"))[0].public)
    (entry,) = [item for item in await node.entries() if item.action == "erase" and item.decision == "allowed"]
    assert signed.document["audit_entry"] == str(entry.id)
    assert signed.document["subject"] == str(subject)
    for value in (ADA["name"], ADA["email"], ADA["phone"], "Teapot", "4711"):
        assert value not in str(file)


async def test_only_requests_for_erasure_have_a_certificate(node):
    subject = await somebody(node)
    request = await ask(node, subject, kind="access")
    problem(await node.call("dpo", "GET", f"/v1/requests/{request}/certificate"), 404, "request-not-found")


async def test_erasures_are_listed_with_their_progress(node):
    subject = await somebody(node)
    await erase(node, subject)
    listed = (await node.call("dpo", "GET", "/v1/erasures")).json()["erasures"]
    assert [row["state"] for row in listed] == ["done"]
    assert listed[0]["subject"] == str(subject)
