"""The explanation of why a value is kept: claims with their days, limits, holds, reviews and inactive rules."""

from __future__ import annotations

from datetime import date
from uuid import UUID, uuid4

from tests.erasure.people import buy, somebody
from tests.vaults import problem
from vault.access.callers import operator_caller
from vault.ids import DEFAULT_TENANT, SubjectId
from vault.retention.explain import explain_retention
from vault.retention.reviews import NewReview, open_reviews

ADA = "ada@example.org"


async def asked(node, subject, field, **more):
    answer = await node.call("dpo", "GET", f"/v1/subjects/{subject}/retention", params={"field": field, **more})
    assert answer.status_code == 200, answer.text
    assert ADA not in answer.text
    return answer.json()


async def only(node, subject, field, **more):
    (value,) = (await asked(node, subject, field, **more))["values"]
    return value


async def test_explanation_lists_each_ground_with_its_days(node):
    subject = await somebody(node, bought=["2026-02-01T12:00:00Z"])
    result = await only(node, subject, "name")
    grounds = {ground["ground"]: ground for ground in result["grounds"]}

    assert (result["until"], result["by"], result["then"], result["state"]) == (
        "2036-02-01",
        "accounting",
        "erase",
        "kept",
    )
    assert (result["record"], result["starts"], result["collected"]) == (subject, "2026-03-05", "2026-03-05")
    assert [ground["ground"] for ground in result["grounds"]] == [
        "accounting",
        "order-fulfilment",
        "customer-support",
        "fraud-prevention",
    ]
    assert grounds["accounting"] == {
        "ground": "accounting",
        "until": "2036-02-01",
        "least": "2036-02-01",
        "since": "collected",
        "counted_from": "2026-02-01",
        "period": "P10Y",
        "lost": False,
        "then": "erase",
        "views": ["profile.name.clear", "profile.name.first_letter", "profile.name.masked", "profile.name.present"],
        "law": "Directive 2006/112/EC (VAT) and national tax and commercial law",
        "article": "Directive 2006/112/EC Art. 247; national tax and commercial law",
        "reason": "Retention periods of tax and commercial law",
    }
    orders = grounds["order-fulfilment"]
    assert (orders["until"], orders["since"], orders["counted_from"]) == ("2029-03-05", "last-contact", "2026-03-05")
    idle = {item["purpose"]: item["why"] for item in result["idle"]}
    assert idle == {
        "complaint-handling": "not-brought-about",
        "direct-marketing": "consent-missing",
        "loyalty-programme": "consent-missing",
        "health-advice": "consent-missing",
    }


async def test_explanation_of_each_record_and_of_one_record(node):
    subject = await somebody(node, bought=["2020-02-01T12:00:00Z", "2024-02-29T12:00:00Z"])
    all_of_them = await asked(node, subject, "purchase.amount")
    newest = all_of_them["values"][0]
    one = await only(node, subject, "purchase.amount", record=newest["record"])

    assert (all_of_them["relationship"], all_of_them["today"], all_of_them["more"]) == ("customer", "2026-03-05", False)
    assert [value["until"] for value in all_of_them["values"]] == ["2034-02-28", "2030-02-01"]
    assert one == newest
    assert (await asked(node, subject, "purchase.amount", record=str(uuid4())))["values"] == []


async def test_explanation_shows_a_withdrawn_consent_with_its_day(node):
    subject = await node.create_fully(preferences={"topics": ["tea"]})
    body = {"purpose": "direct-marketing", "method": "form", "notice": "marketing@3"}
    path = f"/v1/subjects/{subject}/consents"
    assert (await node.post("support", path, {**body, "decision": "given"})).status_code == 201
    assert (await only(node, subject, "preferences"))["until"] == "2027-03-05"  # a prospect's year
    node.services.clock.advance(days=20)
    assert (await node.post("support", path, {**body, "decision": "withdrawn"})).status_code == 201
    result = await only(node, subject, "preferences")

    (ground,) = result["grounds"]
    assert (ground["ground"], ground["until"], ground["lost"]) == ("direct-marketing", "2026-03-24", True)
    assert (result["until"], result["state"]) == ("2026-03-24", "over")


async def test_explanation_of_an_unclaimed_value(node):
    subject = await node.create_fully(preferences={"topics": ["tea"]})
    result = await only(node, subject, "preferences")

    assert (result["by"], result["until"], result["grounds"]) == ("unclaimed", "2026-04-04", [])


async def test_explanation_lists_limits(node):
    subject = await node.create_fully(national_id="12345678Z")
    result = await only(node, subject, "national_id")

    (limit,) = result["limits"]
    assert (limit["name"], limit["until"], limit["since"]) == ("national-ids", "2027-03-05", "collected")
    assert (result["by"], result["until"]) == ("fraud-prevention", "2026-09-05")


async def test_explanation_announces_a_generalisation(node):
    result = await only(node, await node.create(), "birth_date")
    years = [ground for ground in result["grounds"] if ground["views"] == ["profile.birth_date.year"]]

    assert (result["until"], result["by"]) == ("2029-03-05", "order-fulfilment")
    assert result["then"] == "profile.birth_date.year"
    assert [(year["ground"], year["until"]) for year in years] == [("service-analytics", "2036-03-05")]


async def test_explanation_of_an_ended_value_and_of_its_review(node):
    subject = SubjectId(UUID(await node.create()))
    node.services.clock.advance(days=5 * 366)  # longer than the apps' keys are good for

    async def at_the_end():
        (value,) = (await explain_retention(node.services, operator_caller(DEFAULT_TENANT), subject, "email")).values
        return value

    assert (await at_the_end()).state == "over"
    ended = NewReview((subject, "profile", subject), "email", "review", date(2029, 3, 5))
    async with node.services.data.transaction() as connection:
        await open_reviews(connection, DEFAULT_TENANT, [ended], node.services.clock.now())
    result = await at_the_end()
    assert (result.state, result.review.kind, result.review.state) == ("in-review", "review", "open")


async def test_explanation_lists_holds_on_covered_values(node):
    subject = await node.create()
    body = {
        "matter": "case 17", "owner": "legal", "purpose": "legal-claims", "subjects": [subject], "fields": ["email"],
        "review_on": "2026-12-31",
    }  # fmt: skip
    placed = await node.post("dpo", "/v1/holds", body)
    assert placed.status_code == 201, placed.text
    result = await only(node, subject, "email")

    assert result["state"] == "held"
    assert [(hold["id"], hold["purpose"]) for hold in result["holds"]] == [(placed.json()["id"], "legal-claims")]
    assert (await only(node, subject, "name"))["holds"] == []


async def test_explanation_of_an_unknown_field_is_refused(sqlite_node):
    subject = await sqlite_node.create()
    path = f"/v1/subjects/{subject}/retention"
    for name in ("shoe_size", "purchase.shoe", "a.b.c", "", "Robert'); DROP", "email.masked"):
        problem(await sqlite_node.call("dpo", "GET", path, params={"field": name}), 422, "unknown-field")


async def test_explanation_needs_permission_and_is_audited(node):
    subject = await node.create()
    await buy(node, subject)
    path = f"/v1/subjects/{subject}/retention"
    for role in ("sales", "marketing", "finance"):
        problem(await node.call(role, "GET", path, params={"field": "email"}), 403, "not-granted")
    async with node.new_entries() as entries:
        assert (await node.call("operator", "GET", path, params={"field": "purchase.amount"})).status_code == 200
    (entry,) = entries
    assert (entry.action, entry.decision, entry.fields) == ("read-retention", "allowed", ("purchase.amount.clear",))
