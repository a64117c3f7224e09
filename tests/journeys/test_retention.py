"""Twelve years of one customer, from the account to the last invoice, on both databases.

The clock is passed in and nobody sleeps. Every date below is counted by hand from policies/retention.toml as it ships,
and `GET /v1/subjects/{id}/retention` has to give the same, with its grounds. A day until which something is kept is
still included: on that day a sweep takes nothing, and on the day after it does.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from tests.sweep.people import go_to, keys_of, state_of, sweeps_on_record, swept, there
from tests.vaults import ROLES, problem
from vault.governance.tenants import issue_key
from vault.ids import DEFAULT_TENANT

MIA = {
    "name": "Mia Lind",
    "email": "mia.lind@example.org",
    "phone": "+442079460321",
    "birth_date": "1985-12-10",
}
MARKETING = {"purpose": "direct-marketing", "notice": "marketing@3", "method": "checkbox", "channel": "web"}
YEAR = "profile.birth_date.year"
LONG = datetime(2040, 1, 1, tzinfo=UTC)
"""Expiry of the apps' keys: by default they would expire after a year."""


@pytest.fixture
async def node(place, clock):
    place = replace(place, keys=dict(place.keys))  # the template's own are left alone
    async with place.node(clock) as node:
        for role in ROLES:
            issued = await issue_key(node.services, DEFAULT_TENANT, role, expires_at=LONG)
            place.keys[DEFAULT_TENANT, role] = issued.key.reveal()
        yield node


async def told(node, subject, field):
    """Ask why a field is kept; returns the explanations of its values, the newest record first."""
    answer = await node.call("dpo", "GET", f"/v1/subjects/{subject}/retention?field={field}")
    assert answer.status_code == 200, answer.text
    return answer.json()["values"]


async def end_of(node, subject, field):
    """Return until when the one value of a field is kept, by what, the action at its end, and its state today."""
    (value,) = await told(node, subject, field)
    return value["until"], value["by"], value["then"], value["state"]


async def grounds(node, subject, field):
    """Return the last day of each claim on the one value of a field."""
    (value,) = await told(node, subject, field)
    return {ground["ground"]: ground["until"] for ground in value["grounds"]}


async def idle(node, subject, field):
    """Return why purposes that need the field do not keep it."""
    (value,) = await told(node, subject, field)
    return {item["purpose"]: item["why"] for item in value["idle"]}


async def reads(node, role, subject, field, purpose):
    """Read a field; returns the value, or the code of the refusal."""
    answer = (await node.read(role, subject, [field], purpose)).json()
    shown = {**{name: item["code"] for name, item in answer.get("denied", {}).items()}, **answer.get("fields", {})}
    assert shown.keys() == {field}, answer
    return shown[field]


async def stands(node, subject):
    """Return the relationship of the subject: state, since when, and until when without further contact."""
    answer = (await node.call("dpo", "GET", f"/v1/subjects/{subject}/relationship")).json()
    return answer["state"], answer["since"], answer["until"]


async def said(node, subject, decision):
    answer = await node.post("sales", f"/v1/subjects/{subject}/consents", {**MARKETING, "decision": decision})
    assert answer.status_code == 201, answer.text


async def happened(node, subject, event, on):
    body = {"event": event, "on": on}
    answer = await node.post("dpo", f"/v1/subjects/{subject}/retention-events", body)
    assert answer.status_code == 201, answer.text


async def wrote(node, role, subject, collection, purpose, fields):
    answer = await node.append(role, subject, collection, fields, purpose)
    assert answer.status_code == 201, answer.text


async def bought(node, subject, order):
    fields = {"order": order, "product": "Teapot", "amount": "12.90", "currency": "EUR"}
    await wrote(node, "sales", subject, "purchase", "order-fulfilment", fields)


async def takes(node, clock, last_day: date, **counts):
    """Check that a sweep deletes nothing on the last day, and that many values on the day after."""
    go_to(clock, last_day, hour=23)
    before = await swept(node)
    assert (before.erased, before.generalised, before.whole) == (0, 0, 0)
    go_to(clock, date.fromordinal(last_day.toordinal() + 1))
    after = await swept(node)
    assert {name: getattr(after, name) for name in counts} == counts


async def ends_tomorrow(node):
    """Return the preview of the next day: the action for each field."""
    answer = (await node.call("dpo", "GET", "/v1/retention/due?days=1")).json()
    return {end["field"]: end["then"] for end in answer["ends"]}


async def test_retention_over_twelve_years_of_one_customer(node, clock):
    mia = await a_prospect(node)
    await who_buys(node, clock, mia)
    await who_takes_her_consent_back(node, clock, mia)
    await whom_support_forgets_sooner_than_fulfilment(node, clock, mia)
    await who_has_a_claim(node, clock, mia)
    hold = await about_which_there_is_a_lawsuit(node, clock, mia)
    await that_outlives_the_claim(node, clock, mia)
    await while_she_becomes_a_former_customer(node, clock, mia)
    await so_that_only_what_is_held_stays(node, clock, mia)
    await until_the_hold_is_lifted(node, clock, mia, hold)
    await and_the_books_are_closed(node, clock, mia)
    entries = await sweeps_on_record(node)
    assert [entry.code for entry in entries] == [
        "erased", "generalised", "erased", "erased", "erased", "erased", "person-erased",
    ]  # fmt: skip


async def a_prospect(node) -> str:
    """2026-03-05: she opens an account without an order and consents to marketing."""
    mia = await node.create(dict(MIA), external_ids={"shop": "4711"})
    await said(node, mia, "given")
    changed = await node.patch("marketing", mia, {"preferences": ["tea"]}, "direct-marketing", '"1"')
    assert changed.status_code == 200, changed.text
    assert await stands(node, mia) == ("prospect", "2026-03-05", None)
    # No order and no message yet, so that "last contact" is the day on which the value came in.
    assert await grounds(node, mia, "email") == {
        "order-fulfilment": "2029-03-05",  # P3Y since last-contact
        "customer-support": "2028-03-05",  # P2Y since last-contact
        "service-analytics": "2028-03-05",  # P2Y since collected: for its domain
        "direct-marketing": "2027-03-05",  # P1Y since last-contact: of a prospect
        "fraud-prevention": "2027-03-05",  # P1Y since collected
    }
    assert await idle(node, mia, "email") == {
        "complaint-handling": "not-brought-about",  # there is no complaint that the law would be about
        "partner-advertising": "consent-missing",
        "loyalty-programme": "consent-missing",
        "health-advice": "consent-missing",
    }
    assert await end_of(node, mia, "email") == ("2029-03-05", "order-fulfilment", "erase", "kept")
    assert await end_of(node, mia, "preferences") == ("2027-03-05", "direct-marketing", "erase", "kept")
    return mia


async def who_buys(node, clock, mia) -> None:
    """2026-09-10: her first order. It is a contact, she is now a customer, and accounting must keep it."""
    go_to(clock, date(2026, 9, 10), hour=9)
    await bought(node, mia, "order-1")
    assert await stands(node, mia) == ("customer", None, "2029-09-10")  # silent for P3Y she would be a former one
    assert await grounds(node, mia, "email") == {
        "order-fulfilment": "2029-09-10",
        "customer-support": "2028-09-10",
        "direct-marketing": "2028-09-10",  # P2Y now: of a customer
        "service-analytics": "2028-03-05",
        "fraud-prevention": "2027-03-05",  # counts from the day it was collected, whatever happens
    }
    (name,) = await told(node, mia, "name")
    (books,) = [ground for ground in name["grounds"] if ground["ground"] == "accounting"]
    assert (books["until"], books["least"]) == ("2036-09-10", "2036-09-10")  # P10Y from the newest order
    assert "accounting" not in await grounds(node, mia, "email")  # nobody books an e-mail address
    assert await end_of(node, mia, "preferences") == ("2028-09-10", "direct-marketing", "erase", "kept")


async def who_takes_her_consent_back(node, clock, mia) -> None:
    """2027-04-20: she withdraws the consent. The claim of marketing ended the day before."""
    go_to(clock, date(2027, 4, 20), hour=9)
    assert await reads(node, "marketing", mia, "email", "direct-marketing") == MIA["email"]
    assert (await swept(node)).erased == 0
    await said(node, mia, "withdrawn")
    assert await reads(node, "marketing", mia, "email", "direct-marketing") == "consent-missing"
    (email,) = await told(node, mia, "email")
    (lost,) = [ground for ground in email["grounds"] if ground["ground"] == "direct-marketing"]
    assert (lost["until"], lost["lost"]) == ("2027-04-19", True)
    assert await end_of(node, mia, "email") == ("2029-09-10", "order-fulfilment", "erase", "kept")
    assert await end_of(node, mia, "preferences") == ("2027-04-19", "direct-marketing", "erase", "over")
    counts = await swept(node)
    assert (counts.erased, counts.whole) == (1, 0)
    assert await told(node, mia, "preferences") == []


async def whom_support_forgets_sooner_than_fulfilment(node, clock, mia) -> None:
    """2028-09-10 is support's last day, P2Y after the order; fulfilment has another year. Then she buys again."""
    go_to(clock, date(2028, 9, 10), hour=23)
    assert await reads(node, "support", mia, "name", "customer-support") == MIA["name"]
    go_to(clock, date(2028, 9, 11))
    assert await reads(node, "support", mia, "name", "customer-support") == "retention-over"
    assert await reads(node, "sales", mia, "name", "order-fulfilment") == MIA["name"]
    go_to(clock, date(2028, 11, 2), hour=9)
    await bought(node, mia, "order-2")
    assert await reads(node, "support", mia, "name", "customer-support") == MIA["name"]  # until 2030-11-02
    amounts = [(item["until"], item["by"]) for item in await told(node, mia, "purchase.amount")]
    # Each order has ten years of its own; the first is kept for no longer because there is a second.
    assert amounts == [("2038-11-02", "accounting"), ("2036-09-10", "accounting")]


async def who_has_a_claim(node, clock, mia) -> None:
    """2029-01-15: a complaint. While it is open, the end of its claim is unknown."""
    go_to(clock, date(2029, 1, 15), hour=9)
    await wrote(node, "support", mia, "interaction", "customer-support", {"channel": "phone", "body": "It broke."})
    await wrote(node, "support", mia, "complaint", "complaint-handling", {"subject": "Broken", "body": "Hot!"})
    await happened(node, mia, "claim-opened", "2029-01-15")
    assert await grounds(node, mia, "email") == {
        "complaint-handling": None,  # P3Y since claim-closed, and the claim is open
        "order-fulfilment": "2032-01-15",  # she called: the last contact
        "customer-support": "2031-01-15",
        "service-analytics": "2028-03-05",
        "direct-marketing": "2027-04-19",
        "fraud-prevention": "2027-03-05",
    }
    assert await end_of(node, mia, "email") == (None, "complaint-handling", "erase", "kept")
    assert await end_of(node, mia, "birth_date") == ("2032-01-15", "order-fulfilment", YEAR, "kept")


async def about_which_there_is_a_lawsuit(node, clock, mia) -> str:
    """2029-03-01: a hold on evidence. Held values are now readable for the lawsuit and accounting only."""
    go_to(clock, date(2029, 3, 1), hour=9)
    assert await reads(node, "support", mia, "email.masked", "customer-support") != "held"
    asked = {
        "matter": "LG-2029-0815",
        "owner": "legal-dept",
        "subjects": [mia],
        "fields": ["email", "complaint.*", "purchase.*"],
        "also_for": ["accounting"],
        "review_on": "2031-03-01",
    }
    placed = await node.post("dpo", "/v1/holds", asked)
    assert placed.status_code == 201, placed.text
    hold = placed.json()["id"]
    assert await reads(node, "support", mia, "email.masked", "customer-support") == "held"
    assert await reads(node, "support", mia, "name", "customer-support") == MIA["name"]  # is no part of it
    assert await reads(node, "support", mia, "purchase.product", "customer-support") == "held"
    assert sorted(await reads(node, "finance", mia, "purchase.amount", "accounting")) == ["12.90", "12.90"]
    assert await reads(node, "dpo", mia, "email", "legal-claims") == MIA["email"]
    assert await end_of(node, mia, "email") == (None, "complaint-handling", "erase", "held")
    return str(hold)


async def that_outlives_the_claim(node, clock, mia) -> None:
    """2029-06-30: the complaint is settled, and its period starts. 2031-03-01: the hold is due for review."""
    go_to(clock, date(2029, 6, 30), hour=9)
    await happened(node, mia, "claim-closed", "2029-06-30")
    assert (await grounds(node, mia, "email"))["complaint-handling"] == "2032-06-30"  # P3Y since claim-closed
    assert await end_of(node, mia, "email") == ("2032-06-30", "complaint-handling", "erase", "held")
    assert await end_of(node, mia, "phone") == ("2032-06-30", "complaint-handling", "erase", "kept")
    assert await end_of(node, mia, "interaction.body") == ("2032-06-30", "complaint-handling", "erase", "kept")
    go_to(clock, date(2031, 2, 28), hour=9)
    assert (await node.call("dpo", "GET", "/v1/holds?due=true")).json()["holds"] == []
    go_to(clock, date(2031, 3, 1), hour=9)
    (due,) = (await node.call("dpo", "GET", "/v1/holds?due=true")).json()["holds"]
    moved = await node.call("dpo", "PATCH", f"/v1/holds/{due['id']}", {"review_on": "2033-03-01"})
    assert moved.status_code == 200, moved.text


async def while_she_becomes_a_former_customer(node, clock, mia) -> None:
    """2032-01-15: P3Y without contact end the relationship and fulfilment's claim: only her year of birth stays."""
    go_to(clock, date(2032, 1, 15), hour=9)
    assert await stands(node, mia) == ("customer", None, "2032-01-15")
    assert await reads(node, "fulfilment", mia, "birth_date.over_18", "order-fulfilment") is True
    assert await ends_tomorrow(node) == {"profile.birth_date": YEAR}
    assert (await swept(node)).generalised == 0
    go_to(clock, date(2032, 1, 16))
    assert await stands(node, mia) == ("former", "2032-01-16", None)
    assert await reads(node, "fulfilment", mia, "birth_date.over_18", "order-fulfilment") == "retention-over"
    assert (await there(node, mia))["profile.birth_date"] == [MIA["birth_date"]]  # not shown, though still there
    counts = await swept(node)
    assert (counts.generalised, counts.erased) == (1, 0)
    assert await reads(node, "fulfilment", mia, "birth_date.over_18", "order-fulfilment") == "no-value"
    assert await reads(node, "analytics", mia, "birth_date.year", "service-analytics") == 1985
    assert (await there(node, mia))["profile.birth_date.year"] == [1985]
    (year,) = await told(node, mia, "birth_date")
    assert (year["form"], year["until"], year["by"]) == (YEAR, "2036-03-05", "service-analytics")  # P10Y since 2026


async def so_that_only_what_is_held_stays(node, clock, mia) -> None:
    """2032-06-30: the P3Y of the complaint end. Her phone number and the call are deleted; held values are not."""
    go_to(clock, date(2032, 6, 30), hour=9)
    assert {"profile.phone", "interaction.body"} <= (await ends_tomorrow(node)).keys()
    # phone; channel and body of the call.
    await takes(node, clock, date(2032, 6, 30), erased=3, whole=0)
    left = await there(node, mia)
    assert left["profile.email"] == [MIA["email"]]
    assert left["complaint.body"] == ["Hot!"]
    assert not {"profile.phone", "interaction.body", "interaction.channel"} & left.keys()
    assert await end_of(node, mia, "email") == ("2032-06-30", "complaint-handling", "erase", "held")
    assert await reads(node, "dpo", mia, "email", "legal-claims") == MIA["email"]


async def until_the_hold_is_lifted(node, clock, mia, hold) -> None:
    """2033-02-14: a judgment. The next sweep deletes the values that only the hold kept."""
    go_to(clock, date(2033, 2, 14), hour=9)
    assert (await swept(node)).erased == 0
    lifted = await node.post("dpo", f"/v1/holds/{hold}:lift", {"reason": "judgment-of-2033-02-11"})
    assert lifted.status_code == 200, lifted.text
    assert await end_of(node, mia, "email") == ("2032-06-30", "complaint-handling", "erase", "over")
    assert await reads(node, "dpo", mia, "email", "legal-claims") == "retention-over"  # even before the sweep
    # email; subject and body of the complaint.
    counts = await swept(node)
    assert (counts.erased, counts.whole) == (3, 0)
    left = await there(node, mia)
    assert {name for name in left if not name.startswith("purchase.")} == {
        "profile.name", "profile.external_ids", "profile.birth_date.year",
    }  # fmt: skip
    assert await keys_of(node, mia) == [5]  # sealed anew four times, and every older key is gone


async def and_the_books_are_closed(node, clock, mia) -> None:
    """2036: the year of birth ends, then the first order; 2038-11-02: ten years after the last order all has ended."""
    await takes(node, clock, date(2036, 3, 5), erased=1, whole=0)
    # order, product, amount and currency of the first order.
    await takes(node, clock, date(2036, 9, 10), erased=4, whole=0)
    assert await end_of(node, mia, "purchase.amount") == ("2038-11-02", "accounting", "erase", "kept")
    assert await end_of(node, mia, "name") == ("2038-11-02", "accounting", "erase", "kept")
    go_to(clock, date(2038, 11, 2), hour=9)
    assert await reads(node, "finance", mia, "name", "accounting") == MIA["name"]
    await takes(node, clock, date(2038, 11, 2), whole=1)
    assert await state_of(node, mia) == "erased"
    assert await keys_of(node, mia) == []
    assert await there(node, mia) == {}
    problem(await node.read("finance", mia, ["name"], "accounting"), 404, "subject-not-found")
    problem(await node.call("dpo", "GET", f"/v1/subjects/{mia}/retention?field=name"), 404, "subject-not-found")


async def test_a_participant_of_a_draw_is_deleted_after_three_months(node, clock):
    # sweepstake-spring was drawn on 2026-04-15, and its limit is P3M: whatever else claims the values.
    body = {"profile": dict(MIA), "purpose": "order-fulfilment", "source": "sweepstake-spring"}
    zoe = (await node.post("sales", "/v1/subjects", body)).json()["id"]
    assert await end_of(node, zoe, "email") == ("2026-07-15", "limit:sweepstakes", "erase", "kept")
    assert (await grounds(node, zoe, "email"))["order-fulfilment"] == "2029-03-05"
    body = {
        "profile": {**MIA, "email": "eva@example.org"},
        "purpose": "order-fulfilment",
        "source": "sweepstake-autumn",
    }
    eva = (await node.post("sales", "/v1/subjects", body)).json()["id"]
    (email,) = await told(node, eva, "email")
    assert (email["until"], [limit["until"] for limit in email["limits"]]) == ("2029-03-05", [None])  # no draw yet
    await takes(node, clock, date(2026, 7, 15), whole=1)
    assert (await state_of(node, zoe), await state_of(node, eva)) == ("erased", "active")


async def test_a_member_is_kept_while_the_contract_runs_and_three_years_after(node, clock):
    leo = await node.create(dict(MIA))
    joined = {"purpose": "loyalty-programme", "decision": "given", "notice": "loyalty@1"}
    answer = await node.post(
        "sales", f"/v1/subjects/{leo}/consents", {**joined, "method": "signature", "channel": "paper"}
    )
    assert answer.status_code == 201, answer.text
    await happened(node, leo, "contract-began", "2026-03-05")
    assert (await stands(node, leo))[0] == "customer"
    assert await end_of(node, leo, "birth_date") == (None, "loyalty-programme", "erase", "kept")
    go_to(clock, date(2034, 8, 31), hour=9)
    assert (await swept(node)).erased == 1  # the telephone number, which the programme does not need: since 2029-03-06
    await happened(node, leo, "contract-ended", "2034-08-31")
    # P3Y since contract-ended; figures with the year of birth have ended by then (P10Y from 2026-03-05 is 2036-03-05).
    assert await end_of(node, leo, "birth_date") == ("2037-08-31", "loyalty-programme", "erase", "kept")
    await takes(node, clock, date(2037, 8, 31), whole=1)
