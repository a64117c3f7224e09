"""Journeys of a shop's apps over HTTP with the shipped policies."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from tests.vaults import ADA, problem


async def test_a_customer_is_created_read_corrected_and_a_field_is_deleted(node):
    created = await node.post(
        "sales",
        "/v1/subjects",
        {
            "profile": ADA,
            "external_ids": {"shop": "4711"},
            "source": "web-order",
            "purpose": "order-fulfilment",
        },
    )
    assert created.status_code == 201
    assert created.headers["etag"] == '"1"'
    subject = created.json()["id"]
    assert UUID(subject).version == 7
    assert created.json() == {"id": subject, "revision": 1}

    read = await node.read(
        "fulfilment", subject, ["name", "email", "address", "birth_date.over_18"], "order-fulfilment"
    )
    assert read.status_code == 200
    assert read.json()["fields"] == {
        "name": "Ada Lovelace",
        "email": "ada@example.org",
        "address": ADA["address"],
        "birth_date.over_18": True,
    }
    assert read.json()["denied"] == {}

    state = await node.call("fulfilment", "GET", f"/v1/subjects/{subject}")
    assert state.json() == {"id": subject, "state": "active", "revision": 1}
    assert state.headers["etag"] == '"1"'

    changed = await node.patch(
        "fulfilment",
        subject,
        {"email": "ada@lovelace.example", "phone": None, "address": {"street": "6 Dorset Street"}},
        "order-fulfilment",
        state.headers["etag"],
    )
    assert changed.status_code == 200
    assert changed.json() == {"id": subject, "revision": 2}
    assert changed.headers["etag"] == '"2"'

    after = (await node.read("fulfilment", subject, ["email", "phone", "address"], "order-fulfilment")).json()
    assert after["fields"] == {
        "email": "ada@lovelace.example",
        "address": {**ADA["address"], "street": "6 Dorset Street"},
    }
    assert after["denied"]["phone"]["code"] == "no-value"


async def test_a_search_finds_corrected_values(node):
    subject = await node.create()
    ask = {"match": {"email": "Ada@Example.ORG"}, "fields": ["name"], "purpose": "order-fulfilment"}
    answer = (await node.post("fulfilment", "/v1/subjects:search", ask)).json()
    assert [result["subject"] for result in answer["results"]] == [subject]
    assert answer["results"][0]["fields"] == {"name": "Ada Lovelace"}
    assert answer["more"] is False

    await node.patch("fulfilment", subject, {"email": "new@example.org"}, "order-fulfilment", '"1"')
    assert (await node.post("fulfilment", "/v1/subjects:search", ask)).json()["results"] == []
    ask["match"] = {"email": "new@example.org"}
    assert len((await node.post("fulfilment", "/v1/subjects:search", ask)).json()["results"]) == 1

    await node.patch("fulfilment", subject, {"email": None}, "order-fulfilment", '"2"')
    assert (await node.post("fulfilment", "/v1/subjects:search", ask)).json()["results"] == []


@pytest.mark.parametrize(
    ("match", "is_found"),
    [
        ({"name": {"prefix": "ad"}}, True),
        ({"name": {"prefix": "ada love"}}, True),
        ({"name": {"prefix": "ada lovelace the"}}, False),
        ({"name": "ada LOVELACE"}, True),
        ({"phone": "+44 20 7946 0123"}, True),
        ({"phone": {"last_4": "0123"}}, True),
        ({"phone": {"last_4": "9999"}}, False),
        ({"name": {"prefix": "ad"}, "email": "ada@example.org"}, True),
        ({"name": {"prefix": "ad"}, "email": "other@example.org"}, False),
    ],
)
async def test_every_kind_of_index_can_be_searched(sqlite_node, match, is_found):
    subject = await sqlite_node.create()
    await sqlite_node.create({"name": "Charles Babbage", "email": "charles@example.org", "phone": "+442079460124"})
    body = {"match": match, "purpose": "customer-support"}
    answer = await sqlite_node.post("support", "/v1/subjects:search", body)
    assert answer.status_code == 200, answer.text
    assert [result["subject"] for result in answer.json()["results"]] == ([subject] if is_found else [])


async def test_support_sees_a_masked_address_and_the_complaint(node):
    subject = await node.create()
    created = await node.append(
        "support",
        subject,
        "complaint",
        {"subject": "Broken", "body": "It broke.", "status": "open"},
        "complaint-handling",
    )
    assert created.status_code == 201
    seen = await node.read(
        "support", subject, ["name", "email.masked", "email", "complaint.body", "complaint.status"], "customer-support"
    )
    body = seen.json()
    assert body["fields"]["name"] == "Ada Lovelace"
    assert "@" in body["fields"]["email.masked"]
    assert "ada@" not in body["fields"]["email.masked"]
    assert body["fields"]["complaint.body"] == ["It broke."]
    assert body["fields"]["complaint.status"] == ["open"]
    assert body["denied"].keys() == {"email"}
    refusal = body["denied"]["email"]
    assert refusal["code"] == "not-granted"
    assert refusal["rule"] == "policy.csv: no rule grants read of email"
    assert "p, support, *, email, read, customer-support, allow" in refusal["detail"]


async def test_marketing_is_denied_without_consent(node):
    subject = await node.create()
    answer = await node.read("marketing", subject, ["email", "name"], "direct-marketing")
    body = problem(answer, 403, "denied")
    assert {name: item["code"] for name, item in body["denied"].items()} == {
        "email": "consent-missing",
        "name": "consent-missing",
    }
    assert b"ada@" not in answer.content
    assert b"Lovelace" not in answer.content


async def test_analytics_sees_the_year_and_not_the_day(node):
    subject = await node.create()
    body = (await node.read("analytics", subject, ["birth_date.year", "birth_date"], "service-analytics")).json()
    assert body["fields"] == {"birth_date.year": 1985}
    assert body["denied"]["birth_date"]["code"] == "purpose-excludes-field"
    assert body["denied"]["birth_date"]["rule"] == "purposes.toml: service-analytics"


async def test_an_unknown_purpose_and_a_wrong_key_are_refused(node):
    subject = await node.create()
    body = problem(await node.read("support", subject, ["name"], "curiosity"), 422, "unknown-purpose")
    assert body["errors"] == [
        {
            "at": "/purpose",
            "code": "unknown-purpose",
            "detail": "There is no such purpose; GET /v1/purposes lists them.",
        }
    ]
    wrong = node.place.keys["default", "support"][:-2] + "AA"
    answer = await node.read(None, subject, ["name"], "customer-support", headers={"Authorization": f"Bearer {wrong}"})
    problem(answer, 401, "not-authenticated")
    assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_records_are_appended_once_and_listed_page_by_page(node):
    subject = await node.create()
    ids = []
    for number in range(5):
        created = await node.append(
            "fulfilment",
            subject,
            "purchase",
            {"order": f"A-{number}", "amount": f"{number}.50", "currency": "EUR"},
            "order-fulfilment",
            external_id=f"line-{number}",
            occurred_at=f"2026-03-0{number + 1}T10:00:00+01:00",
        )
        assert created.status_code == 201
        ids.append(created.json()["id"])
    again = await node.append(
        "fulfilment",
        subject,
        "purchase",
        {"order": "A-4", "amount": "4.50", "currency": "EUR"},
        "order-fulfilment",
        external_id="line-4",
    )
    assert (again.status_code, again.json()["id"]) == (200, ids[4])
    other = await node.append(
        "fulfilment", subject, "purchase", {"order": "A-4"}, "order-fulfilment", external_id="line-4"
    )
    problem(other, 409, "external-id-taken")

    ask = {"fields": ["amount", "purchase.order"], "purpose": "order-fulfilment", "limit": 2}
    path = f"/v1/subjects/{subject}/records/purchase:read"
    listed, pages = [], 0
    while True:
        page = (await node.post("fulfilment", path, ask)).json()
        listed += page["results"]
        pages += 1
        if page["next"] is None:
            break
        ask["cursor"] = page["next"]
    assert pages == 3
    assert [row["id"] for row in listed] == ids[::-1]
    assert [row["fields"]["amount"] for row in listed] == ["4.50", "3.50", "2.50", "1.50", "0.50"]
    assert listed[0]["fields"]["purchase.order"] == "A-4"
    assert listed[4]["occurred_at"] == "2026-03-01T09:00:00.000000Z"


async def test_upsert_finds_the_person_by_any_external_id(node):
    first = await node.post(
        "sales",
        "/v1/subjects:upsert",
        {"profile": {"name": "Ada"}, "external_ids": {"shop": "1"}, "purpose": "order-fulfilment"},
    )
    assert first.status_code == 201
    second = await node.post(
        "sales",
        "/v1/subjects:upsert",
        {
            "profile": {"email": "ada@example.org"},
            "external_ids": {"shop": "1", "erp": "9"},
            "purpose": "order-fulfilment",
        },
    )
    assert (second.status_code, second.json()) == (200, {"id": first.json()["id"], "revision": 2})
    third = await node.post(
        "sales",
        "/v1/subjects:upsert",
        {"profile": {"name": "Ada L."}, "external_ids": {"erp": "9"}, "purpose": "order-fulfilment"},
    )
    assert (third.status_code, third.json()) == (200, {"id": first.json()["id"], "revision": 3})
    subject = first.json()["id"]
    seen = (await node.read("fulfilment", subject, ["name", "email", "external_ids"], "order-fulfilment")).json()
    assert seen["fields"] == {
        "name": "Ada L.",
        "email": "ada@example.org",
        "external_ids": {"erp": "9", "shop": "1"},
    }


async def test_upsert_refuses_two_people_and_a_second_id_in_a_system(node):
    await node.create({"name": "One"}, external_ids={"shop": "1"})
    await node.create({"name": "Two"}, external_ids={"erp": "2"})
    body = {"profile": {"name": "X"}, "external_ids": {"shop": "1", "erp": "2"}, "purpose": "order-fulfilment"}
    problem(await node.post("sales", "/v1/subjects:upsert", body), 409, "two-people-match")
    await node.create({"name": "Three"}, external_ids={"shop": "3", "crm": "3"})
    body["external_ids"] = {"crm": "3", "shop": "4"}
    problem(await node.post("sales", "/v1/subjects:upsert", body), 409, "external-id-differs")


async def test_external_ids_are_equal_in_every_unicode_form(node):
    body = {
        "profile": {"name": "Ren\u00e9e"},
        "external_ids": {"shop": "Re\u0301ne\u0301e-1"},  # decomposed
        "purpose": "order-fulfilment",
    }
    first = await node.post("sales", "/v1/subjects:upsert", body)
    second = await node.post("sales", "/v1/subjects:upsert", body)
    body["external_ids"] = {"shop": "R\u00e9n\u00e9e-1"}  # composed
    third = await node.post("sales", "/v1/subjects:upsert", body)
    assert [item.status_code for item in (first, second, third)] == [201, 200, 200], (second.text, third.text)
    assert first.json()["id"] == second.json()["id"] == third.json()["id"]


async def test_every_call_of_the_journey_is_on_the_audit_log(node):
    subject = await node.create()
    await node.read("support", subject, ["email.masked", "email"], "customer-support", reason="call 17")
    await node.read("marketing", subject, ["email"], "direct-marketing")
    search = {"match": {"email": "ada@example.org"}, "fields": ["name"], "purpose": "customer-support"}
    await node.post("support", "/v1/subjects:search", search)
    log = await node.call("dpo", "GET", "/v1/audit/entries", params={"subject": subject})
    entries = log.json()["entries"]
    pseudonym = str(await node.pseudonym(subject))
    assert pseudonym != subject
    assert [entry["action"] for entry in entries] == ["search", "read", "read", "create"]
    assert all(entry["subjects"] == [pseudonym] for entry in entries)
    searched, marketing, support, created = entries
    assert searched["matched"] == ["profile.email.clear"]
    assert searched["fields"] == ["profile.name.clear"]
    assert marketing["decision"] == "denied"
    assert marketing["refused"] == {"profile.email.clear": "consent-missing"}
    assert marketing["rule"] == "purposes.toml: direct-marketing: legal_basis"
    assert marketing["principal_name"] == "marketing"
    assert support["decision"] == "partly"
    assert support["fields"] == ["profile.email.masked"]
    assert support["refused"] == {"profile.email.clear": "not-granted"}
    assert support["reason"]
    assert created["purpose"] == "order-fulfilment"
    assert subject not in log.text
    again = await node.call("dpo", "GET", "/v1/audit/entries", params={"action": "read-audit"})
    assert len(again.json()["entries"]) == 1


async def test_a_denied_read_of_the_log_is_recorded(node):
    answer = await node.call("support", "GET", "/v1/audit/entries")
    problem(answer, 403, "not-granted")
    log = await node.call("operator", "GET", "/v1/audit/entries", params={"limit": 1})
    (entry,) = log.json()["entries"]
    assert (entry["action"], entry["decision"], entry["code"]) == ("read-audit", "denied", "not-granted")
    assert log.json()["next"] == entry["id"]


async def test_a_decision_is_explained_without_a_read(node):
    subject = await node.create()
    ask = {"fields": ["email", "email.masked", "iban"], "purpose": "customer-support", "subject": subject}
    answer = (await node.post("support", "/v1/decisions:explain", ask)).json()["fields"]
    assert {name: (item["allowed"], item["step"], item["code"]) for name, item in answer.items()} == {
        "email": (False, 5, "not-granted"),
        "email.masked": (True, 5, "granted"),
        "iban": (False, 3, "purpose-excludes-field"),
    }
    ask = {"fields": ["email"], "purpose": "direct-marketing", "roles": ["marketing"], "subject": str(uuid4())}
    answer = (await node.post("dpo", "/v1/decisions:explain", ask)).json()["fields"]
    assert (answer["email"]["step"], answer["email"]["code"]) == (7, "consent-missing")


async def test_every_app_can_see_the_policies(node):
    catalogue = (await node.call("stranger", "GET", "/v1/catalogue")).json()
    assert catalogue["collections"]["profile"]["fields"]["email"]["views"] == ["clear", "domain", "masked", "present"]
    purposes = (await node.call("stranger", "GET", "/v1/purposes")).json()
    assert purposes["purposes"]["health-advice"]["article9"] == "explicit-consent"
    assert catalogue["policy_version"] == purposes["policy_version"]
