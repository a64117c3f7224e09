"""Every kind of denial: its code, the rule that decided, the remedy in words, and one entry that names it."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from uuid import UUID, uuid4

import pytest
from msgspec import structs

from tests.vaults import problem
from vault.audit.entry import Entry
from vault.bootstrap import apply_folders
from vault.catalogue.model import FieldView
from vault.clock import to_microseconds
from vault.policy.decision import rule_out
from vault.subjects.rows import pack, unpack


async def _change(node, file, *replacements, more=""):
    path = node.vault.settings.policies / file
    text = path.read_text()
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new, 1)
    path.write_text(text + more)
    assert await apply_folders(node.vault) == {"default": True}


async def _refused(node, role, subject, field, purpose, status=403, code="denied") -> tuple[dict, Entry]:
    """Read one field that is refused; returns its refusal and the one entry of the read."""
    async with node.new_entries() as new_entries:
        answer = await node.read(role, subject, [field], purpose)
    (entry,) = new_entries
    if status == 200:
        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert body["fields"] == {}
    else:
        body = problem(answer, status, code)
    assert body["audit"] == str(entry.id)
    (refusal,) = body["denied"].values()
    assert refusal.keys() == {"code", "detail", "rule"}
    assert refusal["rule"]
    assert refusal["detail"].endswith(".")
    assert list(entry.refused.values()) == [refusal["code"]]
    assert entry.rule == refusal["rule"]
    assert entry.fields == ()
    assert entry.decision == "denied"
    return refusal, entry


async def test_a_purpose_that_is_not_in_force_is_refused(node, clock):
    subject = await node.create()
    await _change(
        node, "purposes.toml", ('owner = "Customer service"', 'owner = "Customer service"\nvalid_until = 2026-03-05')
    )
    assert (await node.read("support", subject, ["name"], "customer-support")).status_code == 200
    clock.advance(hours=12)
    refusal, entry = await _refused(node, "support", subject, "name", "customer-support")
    assert refusal["code"] == "purpose-not-in-force"
    assert refusal["rule"] == "purposes.toml: customer-support"
    assert "ended on 2026-03-05" in refusal["detail"]
    assert "Customer service" in refusal["detail"]
    assert entry.refused == {"profile.name.clear": "purpose-not-in-force"}
    assert entry.subjects == (await node.pseudonym(subject),)


async def test_a_field_that_the_purpose_does_not_need_is_refused(node):
    subject = await node.create()
    refusal, entry = await _refused(node, "analytics", subject, "birth_date", "service-analytics")
    assert refusal["code"] == "purpose-excludes-field"
    assert refusal["rule"] == "purposes.toml: service-analytics"
    assert "Analytics" in refusal["detail"]
    assert entry.refused == {"profile.birth_date.clear": "purpose-excludes-field"}
    assert entry.subjects == (await node.pseudonym(subject),)


async def test_a_special_category_without_a_condition_is_refused(sqlite_node, clock):
    """Such policies do not load, so this second check is tested without loading them."""
    catalogue = sqlite_node.services.policies.active("default").policy_set.catalogue
    shown = FieldView(catalogue.field("health_notes"), "clear")
    purpose = SimpleNamespace(
        name="made-up", owner="Nobody", article9=None, in_force=lambda _day: True, covers=lambda _shown: True
    )
    verdict = rule_out(purpose, shown, "read", clock.now().date())
    assert (verdict.granted, verdict.code, verdict.step) == (False, "special-category-needs-condition", 4)
    assert "data protection officer" in verdict.detail


async def test_a_field_without_a_granting_rule_is_refused(node):
    subject = await node.create()
    refusal, entry = await _refused(node, "support", subject, "email", "customer-support")
    assert refusal["code"] == "not-granted"
    assert refusal["rule"] == "policy.csv: no rule grants read of email"
    assert "p, support, *, email, read, customer-support, allow" in refusal["detail"]
    assert entry.subjects == (await node.pseudonym(subject),)


async def test_a_denying_rule_overrides_a_grant(node):
    subject = await node.create()
    grant = "p, support, *, email.clear, read, customer-support, allow\n"
    deny = "p, support, *, email.clear, read, customer-support, deny\n"
    await _change(node, "policy.csv", more=grant + deny)
    refusal, _entry = await _refused(node, "support", subject, "email", "customer-support")
    assert refusal["code"] == "denied-by-rule"
    assert refusal["rule"].startswith("policy.csv:")
    assert refusal["rule"].endswith(deny.strip())


async def test_an_unknown_subject_is_not_found(node):
    stranger = uuid4()
    async with node.new_entries() as new_entries:
        answer = await node.read("support", stranger, ["name"], "customer-support")
    body = problem(answer, 404, "subject-not-found")
    (entry,) = new_entries
    assert body["audit"] == str(entry.id)
    assert entry.refused == {"profile.name.clear": "subject-not-found"}
    assert entry.subjects == ()
    assert "denied" not in body


async def test_an_erased_subject_is_not_found(node):
    subject = await node.create()
    await node.set_state(subject, "erased")
    answer = await node.read("support", subject, ["name"], "customer-support")
    problem(answer, 404, "subject-not-found")
    entry = (await node.entries())[-1]
    assert entry.subjects == (await node.pseudonym(subject),)
    problem(await node.call("support", "GET", f"/v1/subjects/{subject}"), 404, "subject-not-found")
    search = {"match": {"email": "ada@example.org"}, "purpose": "customer-support"}
    assert (await node.post("support", "/v1/subjects:search", search)).json()["results"] == []
    listed = await node.post(
        "support",
        f"/v1/subjects/{subject}/records/purchase:read",
        {"fields": ["amount"], "purpose": "customer-support"},
    )
    problem(listed, 404, "subject-not-found")
    patched = await node.patch("support", subject, {"name": "X"}, "customer-support", '"1"')
    problem(patched, 404, "subject-not-found")
    appended = await node.append("support", subject, "complaint", {"body": "x"}, "complaint-handling")
    problem(appended, 404, "subject-not-found")


async def test_a_subject_without_keys_is_not_found(node):
    subject = await node.create()
    await node.services.keyring.destroy_subject_keys("default", [UUID(subject)])
    problem(await node.read("support", subject, ["name"], "customer-support"), 404, "subject-not-found")
    problem(await node.patch("support", subject, {"name": "X"}, "customer-support", '"1"'), 404, "subject-not-found")
    listing = {"fields": ["amount"], "purpose": "customer-support"}
    async with node.new_entries() as new_entries:
        listed = await node.post("support", f"/v1/subjects/{subject}/records/purchase:read", listing)
    problem(listed, 404, "subject-not-found")
    assert [item.decision for item in new_entries] == ["denied"]


async def test_a_restricted_subject_is_refused(node):
    subject = await node.create()
    await node.append("sales", subject, "purchase", {"amount": "1"}, "order-fulfilment")
    await node.set_state(subject, "restricted")
    refusal, entry = await _refused(node, "support", subject, "name", "customer-support")
    assert refusal["code"] == "restricted"
    assert "Art. 18" in refusal["detail"]
    assert entry.subjects == (await node.pseudonym(subject),)
    search = {"match": {"email": "ada@example.org"}, "purpose": "customer-support"}
    assert (await node.post("support", "/v1/subjects:search", search)).json()["results"] == []
    listed = await node.post(
        "support",
        f"/v1/subjects/{subject}/records/purchase:read",
        {"fields": ["amount"], "purpose": "customer-support"},
    )
    assert problem(listed, 403, "denied")["denied"]["amount"]["code"] == "restricted"
    # The person's own rights stay open (Art. 18(2)).
    seen = await node.read("dpo", subject, ["name"], "subject-rights")
    assert seen.json()["fields"] == {"name": "Ada Lovelace"}


@pytest.mark.parametrize(
    ("role", "field", "purpose"),
    [
        ("marketing", "email", "direct-marketing"),
        ("marketing", "occupation", "profiling"),
        ("marketing", "name", "loyalty-programme"),
        ("support", "health_notes", "health-advice"),
    ],
)
async def test_a_read_without_consent_is_refused(node, role, field, purpose):
    subject = await node.create()
    refusal, entry = await _refused(node, role, subject, field, purpose)
    assert refusal["code"] == "consent-missing"
    assert refusal["rule"] == f"purposes.toml: {purpose}: legal_basis"
    assert entry.subjects == (await node.pseudonym(subject),)


async def test_writes_and_searches_without_consent_are_refused(node):
    subject = await node.create()
    patched = await node.patch("marketing", subject, {"preferences": {"tea": 1}}, "direct-marketing", '"1"')
    assert problem(patched, 403, "denied")["denied"]["preferences"]["code"] == "consent-missing"
    appended = await node.append("marketing", subject, "offer", {"title": "x"}, "direct-marketing")
    assert problem(appended, 403, "denied")["denied"]["offer.title"]["code"] == "consent-missing"


async def test_a_missing_value_is_refused(node):
    subject = await node.create({"name": "Ada"})
    refusal, entry = await _refused(node, "support", subject, "notes", "customer-support", status=200)
    assert refusal["code"] == "no-value"
    assert "Ask the person" in refusal["detail"]
    assert entry.refused == {"profile.notes.clear": "no-value"}


async def test_an_expired_value_is_refused(node, clock):
    subject = await node.create()
    ends = (clock.now() + timedelta(days=1)).isoformat()
    sale = {"order": "A-1", "amount": "1.00"}
    await node.append("fulfilment", subject, "purchase", sale, "order-fulfilment", expires_at=ends)
    listing = f"/v1/subjects/{subject}/records/purchase:read", {"fields": ["amount"], "purpose": "order-fulfilment"}
    search = {"match": {"purchase.order": "A-1"}, "purpose": "order-fulfilment"}
    assert (await node.post("fulfilment", *listing)).json()["results"][0]["fields"] == {"amount": "1.00"}
    assert len((await node.post("fulfilment", "/v1/subjects:search", search)).json()["results"]) == 1
    clock.advance(days=1)
    (record,) = (await node.post("fulfilment", *listing)).json()["results"]
    assert record["fields"] == {}
    assert record["denied"]["amount"]["code"] == "retention-over"
    assert record["denied"]["amount"]["rule"] == "retention"
    assert (await node.read("fulfilment", subject, ["purchase.amount"], "order-fulfilment")).json()["fields"] == {}
    # Nor is anybody found by a value that may no longer be kept.
    assert (await node.post("fulfilment", "/v1/subjects:search", search)).json()["results"] == []


async def test_an_expired_profile_value_is_refused(node, clock):
    subject = await node.create()
    await _expire(node, subject, "email", clock.now() + timedelta(hours=1))
    clock.advance(hours=1)
    refusal, entry = await _refused(node, "fulfilment", subject, "email", "order-fulfilment", status=200)
    assert refusal["code"] == "retention-over"
    assert entry.refused == {"profile.email.clear": "retention-over"}
    search = {"match": {"email": "ada@example.org"}, "purpose": "order-fulfilment"}
    assert (await node.post("fulfilment", "/v1/subjects:search", search)).json()["results"] == []


async def _expire(node, subject, field, moment):
    """Give one field an expiry."""
    ((body,),) = await node.sql("SELECT body FROM record WHERE id = :id", id=UUID(subject))
    fields = unpack(bytes(body))
    fields[field] = structs.replace(fields[field], expires_at=to_microseconds(moment))
    await node.sql("UPDATE record SET body = :body WHERE id = :id", body=pack(fields, None), id=UUID(subject))


async def test_all_refusals_of_a_request_are_in_one_answer(node):
    subject = await node.create({"name": "Ada"})
    async with node.new_entries() as new_entries:
        answer = await node.read("support", subject, ["name", "notes", "email", "iban"], "customer-support")
    body = answer.json()
    assert body["fields"] == {"name": "Ada"}
    codes = {name: item["code"] for name, item in body["denied"].items()}
    assert codes == {"notes": "no-value", "email": "not-granted", "iban": "purpose-excludes-field"}
    (entry,) = new_entries
    assert entry.decision == "partly"
    assert entry.fields == ("profile.name.clear",)
    assert entry.refused == {f"profile.{name}.clear": code for name, code in codes.items()}


async def test_a_batch_has_the_refusals_of_each_subject(node):
    one, two, three = await node.create(), await node.create({"name": "Two"}), await node.create({"name": "Three"})
    await node.set_state(two, "restricted")
    await node.set_state(three, "erased")
    stranger = str(uuid4())
    body = {
        "subjects": [one, two, stranger, three, one],
        "fields": ["name", "email"],
        "purpose": "customer-support",
        "reason": "audit of addresses",
    }
    async with node.new_entries() as new_entries:
        answer = await node.post("support", "/v1/read", body)
    assert answer.status_code == 200
    results = answer.json()["results"]
    assert [result["subject"] for result in results] == body["subjects"]
    answers = [result["fields"].get("name") or result["denied"]["name"]["code"] for result in results]
    assert answers == ["Ada Lovelace", "restricted", "subject-not-found", "subject-not-found", "Ada Lovelace"]
    assert all(result["denied"]["email"]["code"] == "not-granted" for result in results)
    (entry,) = new_entries
    assert entry.decision == "partly"
    assert set(entry.subjects) == {await node.pseudonym(item) for item in (one, two, three)}
    assert len(entry.reasons) == len(entry.subjects)


async def test_a_batch_of_a_thousand_is_one_call_and_one_entry(node):
    people = [await node.create({"name": f"P {number}"}) for number in range(20)]
    subjects = [people[number % 20] if number % 2 else str(uuid4()) for number in range(1000)]
    async with node.new_entries() as new_entries:
        answer = await node.post(
            "support", "/v1/read", {"subjects": subjects, "fields": ["name"], "purpose": "customer-support"}
        )
    results = answer.json()["results"]
    assert [result["subject"] for result in results] == subjects
    assert sum(1 for result in results if result["fields"]) == 500
    assert len(new_entries) == 1
    many = {"subjects": [*subjects, str(uuid4())], "fields": ["name"], "purpose": "customer-support"}
    problem(await node.post("support", "/v1/read", many), 422, "too-many-subjects")
