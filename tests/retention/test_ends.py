"""Until when a value is kept, by hand-counted days: claims, laws, limits and replacing views."""

from __future__ import annotations

from datetime import date

import pytest

from tests.retention.rules import ALL, bought, day, ends, rule, span, text, value
from vault.catalogue.retention import Limit, Relationship, Since
from vault.retention.clocks import Clocks
from vault.retention.ends import NEVER

YEAR = "profile.birth_date.year"
BIRTH = "profile.birth_date"


def ended(ending):
    return text(ending.until), ending.by, ending.then


def test_latest_claim_decides_and_includes_its_last_day():
    result = ends(rule("order-fulfilment", "P3Y"), rule("customer-support", "P1Y")).of(value())

    assert ended(result) == ("2023-02-28", "order-fulfilment", "erase")
    assert [claim.ground for claim in result.claims] == ["order-fulfilment", "customer-support"]
    assert not result.is_over(day("2023-02-28"))
    assert result.is_over(day("2023-03-01"))
    assert result.may_go(day("2023-03-01"))


def test_purpose_sees_a_value_only_while_its_own_claim_runs():
    result = ends(rule("order-fulfilment", "P3Y"), rule("customer-support", "P1Y")).of(value())
    last, next_day = day("2021-02-28"), day("2021-03-01")

    assert result.serves("customer-support", last)
    assert not result.serves("customer-support", next_day)
    assert result.serves("order-fulfilment", next_day)
    assert result.serves("subject-rights", next_day)  # which claims nothing: as long as anything does
    assert not result.serves("subject-rights", day("2023-03-01"))


@pytest.mark.parametrize(
    ("since", "clocks", "until"),
    [
        (Since.COLLECTED, bought("2024-01-10"), "2021-02-28"),
        (Since.LAST_CONTACT, bought("2024-01-10"), "2025-01-10"),
        (Since.LAST_CONTACT, bought("2010-01-10"), "2021-02-28"),
        (Since.LAST_CONTACT, Clocks(), "2021-02-28"),
        (Since.CONTRACT_ENDED, bought("2024-01-10"), "2021-02-28"),
        (Since.CONTRACT_ENDED, bought("2024-01-10", contract_began="2019-01-01"), None),
        (Since.CONTRACT_ENDED, bought("2024-01-10", contract_began="2019-01-01", contract_ended="2022-06-30"), "2023-06-30"),
        (Since.CONTRACT_ENDED, bought("2024-01-10", contract_ended="2022-06-30", contract_began="2023-01-01"), None),
        (Since.CLAIM_CLOSED, bought("2024-01-10", claim_opened="2021-01-01"), None),
        (Since.CLAIM_CLOSED, bought("2024-01-10", claim_opened="2021-01-01", claim_closed="2021-02-01"), "2022-02-01"),
        (Since.RELATIONSHIP_ENDED, bought("2024-01-10"), "2028-01-10"),  # former after three silent years
        (Since.RELATIONSHIP_ENDED, bought("2024-01-10", relationship_ended="2024-03-31"), "2025-03-31"),
        (Since.RELATIONSHIP_ENDED, bought("2024-01-10", contract_began="2024-01-10"), None),
        (Since.RELATIONSHIP_ENDED, Clocks({"interaction": day("2024-01-10")}), "2025-01-10"),  # who bought nothing
        (Since.RELATIONSHIP_ENDED, Clocks(), "2021-02-28"),
        (Since.DRAW_HELD, Clocks(), "2021-02-28"),
    ],
)  # fmt: skip
def test_period_counts_from_its_anchor(since, clocks, until):
    result = ends(rule("order-fulfilment", "P1Y", since), clocks=clocks, inactive=span("P3Y")).of(value())

    assert text(result.until) == until


def test_a_purchase_or_resumption_makes_a_former_customer_a_customer():
    def stands(on: str, **events):
        return ends(clocks=bought(on, **events), inactive=span("P3Y")).relationship

    assert stands("2024-01-10") == Relationship.CUSTOMER
    assert stands("2023-03-05") == Relationship.CUSTOMER  # three years ago to the day
    assert stands("2023-03-04") == Relationship.FORMER
    assert stands("2024-01-10", relationship_ended="2025-01-01") == Relationship.FORMER
    assert stands("2025-01-02", relationship_ended="2025-01-01") == Relationship.CUSTOMER
    assert stands("2024-01-10", relationship_ended="2025-01-01", relationship_resumed="2025-01-01") == "customer"
    assert stands("2022-01-10", relationship_ended="2025-12-01") == Relationship.FORMER  # silent before that already
    assert ends(clocks=Clocks({"interaction": day("2026-01-01")})).relationship == Relationship.PROSPECT
    assert stands("2019-01-10", contract_began="2019-01-10") == Relationship.CUSTOMER
    assert ends(clocks=Clocks({}, {"contract-began": day("2026-01-01")})).relationship == Relationship.CUSTOMER


def test_turns_on_is_the_day_after_the_relationship_ends():
    assert text(ends(clocks=bought("2024-01-10"), inactive=span("P3Y")).turns_on) == "2027-01-11"
    assert ends(clocks=bought("2020-01-10"), inactive=span("P3Y")).turns_on is None
    assert ends(clocks=bought("2024-01-10")).turns_on is None


def test_periods_may_differ_for_prospects_and_former_customers():
    periods = {Relationship.PROSPECT: span("P1M"), Relationship.FORMER: span("P6M")}
    kept = rule("order-fulfilment", "P3Y", by_relationship=periods)

    def until(clocks):
        return text(ends(kept, clocks=clocks, inactive=span("P1Y")).of(value()).until)

    assert until(Clocks()) == "2020-03-29"
    assert until(bought("2026-01-01")) == "2023-02-28"
    assert until(bought("2020-05-01")) == "2020-08-29"


def test_draw_limits_only_values_of_its_source():
    limit = Limit("draw", span("P3M"), Since.DRAW_HELD, "prizes", sources=("spring", "autumn"))
    draws = {"spring": date(2020, 5, 15), "autumn": None}
    kept = ends(rule("order-fulfilment", "P3Y"), limits={"draw": limit}, draws=draws)

    assert ended(kept.of(value(source="spring"))) == ("2020-08-15", "limit:draw", "erase")
    assert ended(kept.of(value(source="autumn")))[1] == "order-fulfilment"  # still to be held
    assert ended(kept.of(value(source="shop")))[1] == "order-fulfilment"


def test_withdrawn_consent_ends_the_claim_the_day_before():
    kept = (rule("direct-marketing", "P2Y"), rule("loyalty-programme", "P1Y"))
    result = ends(*kept, applies=ALL | {"direct-marketing": day("2020-08-01")}).of(value())

    assert ended(result) == ("2021-02-28", "loyalty-programme", "erase")
    assert [claim.lost for claim in result.claims] == [False, True]
    assert not result.serves("direct-marketing", day("2020-08-02"))


def test_unclaimed_value_is_kept_for_the_unclaimed_period():
    def until(found, **more):
        return ended(found.of(value(**more)))

    assert until(ends()) == ("2020-03-30", "unclaimed", "erase")
    assert until(ends(), arrived=day("2026-03-01")) == ("2026-03-31", "unclaimed", "erase")
    before = ends(rule("direct-marketing", "P2Y"), applies={"direct-marketing": day("2019-12-31")})
    assert until(before) == ("2020-03-30", "unclaimed", "erase")  # the consent was over before it came in
    never = ends(rule("direct-marketing", "P2Y"), applies={})
    assert until(never) == ("2020-03-30", "unclaimed", "erase")


def test_undeclared_field_is_reviewed_before_it_is_erased():
    assert ended(ends().of(value("profile.shoe_size"))) == ("2020-03-30", "unclaimed", "review")


# ---- Laws ---------------------------------------------------------------------------------------------------------

BOOKS = rule("accounting", "P10Y", brought_by=("purchase",))
COMPLAINTS = rule("complaint-handling", "P3Y", brought_by=("complaint",))


def test_law_demands_profile_values_with_the_newest_record():
    result = ends(BOOKS, clocks=bought("2024-01-10")).of(value("profile.iban"))

    assert ended(result) == ("2034-01-10", "accounting", "erase")
    assert text(result.least_until) == "2034-01-10"


def test_law_demands_each_record_from_its_own_day():
    result = ends(BOOKS, clocks=bought("2024-01-10")).of(value("purchase.amount", "2018-06-01"))

    assert text(result.least_until) == "2028-06-01"


def test_law_without_a_record_keeps_nothing():
    result = ends(rule("complaint-handling", "P1Y", brought_by=("complaint",)), rule("order-fulfilment", "P3Y")).of(
        value()
    )

    assert (ended(result)[1], result.least_until) == ("order-fulfilment", None)
    assert result.serves("complaint-handling", day("2021-02-28"))
    assert not result.serves("complaint-handling", day("2021-03-01"))
    assert ended(ends(COMPLAINTS).of(value()))[1] == "unclaimed"


def test_law_keeps_a_record_only_if_the_obligation_ran_then():
    def claims(complained: str):
        clocks = Clocks({"complaint": day(complained), "interaction": day("2024-05-01")})
        return [
            claim.ground for claim in ends(COMPLAINTS, clocks=clocks).of(value("interaction.body", "2024-05-01")).claims
        ]

    assert claims("2024-06-01") == ["complaint-handling"]
    assert claims("2021-05-01") == ["complaint-handling"]
    assert claims("2021-04-30") == []


def test_value_collected_for_a_law_is_kept_from_its_own_day():
    result = ends(BOOKS).of(value("profile.iban", purpose="accounting"))

    assert ended(result) == ("2030-02-28", "accounting", "erase")


def test_law_outlives_a_limit_for_its_own_purpose_only():
    limit = Limit("short", span("P1Y"), Since.COLLECTED, "so it is", fields=("profile.iban",))
    result = ends(BOOKS, rule("fraud-prevention", "P5Y"), clocks=bought("2020-03-01"), limits={"short": limit})
    result = result.of(value("profile.iban"))
    after = day("2021-03-01")

    assert (text(result.served_until), result.by, text(result.until)) == ("2021-02-28", "limit:short", "2030-03-01")
    assert result.is_over(after)
    assert not result.may_go(day("2030-03-01"))
    assert result.may_go(day("2030-03-02"))
    assert result.serves("accounting", after)
    assert not result.serves("fraud-prevention", after)
    assert not result.serves("subject-rights", after)


def test_minimum_may_be_shorter_than_the_period():
    books = rule("accounting", "P10Y", brought_by=("purchase",), least=span("P8Y"))
    result = ends(books, clocks=bought("2020-03-01")).of(value("profile.iban"))

    assert (text(result.least_until), text(result.until)) == ("2028-03-01", "2030-03-01")


def test_open_claim_is_demanded_without_end():
    clocks = Clocks({"complaint": day("2024-01-01")}, {"claim-opened": day("2024-01-01")})
    complaints = rule("complaint-handling", "P3Y", Since.CLAIM_CLOSED, brought_by=("complaint",))
    result = ends(complaints, clocks=clocks).of(value())

    assert (result.served_until, result.until, result.least_until) == (None, None, NEVER)
    assert not result.may_go(NEVER)


def test_expired_law_demands_nothing():
    result = ends(BOOKS, clocks=bought("2024-01-10"), applies={"accounting": day("2025-12-31")}).of(
        value("profile.iban")
    )

    assert (text(result.until), text(result.least_until), result.claims[0].lost) == ("2025-12-31", "2025-12-31", True)


# ---- Views in a value's place ---------------------------------------------------------------------------------------

ORDERS = rule("order-fulfilment", "P3Y", at_end={BIRTH: YEAR})
FIGURES = rule("service-analytics", "P2Y", fields={YEAR: span("P10Y")})


def test_view_replaces_the_value_for_purposes_that_need_only_it():
    kept = ends(ORDERS, FIGURES)

    assert ended(kept.of(value(BIRTH))) == ("2023-02-28", "order-fulfilment", YEAR)
    assert ended(kept.of(value(BIRTH, form=YEAR))) == ("2030-02-28", "service-analytics", "erase")


def test_view_is_served_while_its_own_period_runs():
    result = ends(ORDERS, FIGURES).of(value(BIRTH))
    later = day("2022-03-01")

    assert result.serves("service-analytics", later, YEAR)
    assert not result.serves("service-analytics", later, "profile.birth_date.age_band")
    assert result.serves("service-analytics", day("2022-02-28"), "profile.birth_date.age_band")


def test_view_replaces_the_value_after_the_last_claim_on_the_value():
    assert ended(ends(ORDERS, FIGURES, rule("fraud-prevention", "P5Y")).of(value(BIRTH))) == (
        "2025-02-28",
        "fraud-prevention",
        YEAR,
    )
    asked = rule("fraud-prevention", "P5Y", then="review")
    assert ended(ends(ORDERS, FIGURES, asked).of(value(BIRTH))) == ("2025-02-28", "fraud-prevention", "review")


def test_value_is_not_generalised_if_no_purpose_needs_the_view():
    assert ended(ends(ORDERS).of(value(BIRTH))) == ("2023-02-28", "order-fulfilment", "erase")
    short = rule("service-analytics", "P2Y", fields={YEAR: span("P2Y")})
    assert ended(ends(ORDERS, short).of(value(BIRTH))) == ("2023-02-28", "order-fulfilment", "erase")
    longer = rule("fraud-prevention", "P20Y")  # needs the date itself for longer than anybody the year
    assert ended(ends(ORDERS, FIGURES, longer).of(value(BIRTH))) == ("2040-02-29", "fraud-prevention", "erase")


def test_stricter_action_decides_on_the_same_day():
    both = ends(rule("order-fulfilment", "P3Y", then="review"), rule("customer-support", "P3Y")).of(value())
    assert both.then == "erase"


# ---- Other ends -----------------------------------------------------------------------------------------------------


def test_value_may_have_its_own_expiry():
    result = ends(rule("order-fulfilment", "P3Y")).of(value(expires=day("2020-12-31")))

    assert ended(result) == ("2020-12-31", "expires", "erase")


def test_review_keeps_a_value_past_a_limit():
    limit = Limit("old", span("P1Y"), Since.COLLECTED, "so it is", fields=("profile.email",), then="review")
    kept = day("2027-01-01")
    result = ends(rule("order-fulfilment", "P3Y"), limits={"old": limit}).of(value(kept_until=kept))
    assert (text(result.served_until), text(result.until), result.then) == ("2021-02-28", "2027-01-01", "review")
    result = ends(rule("order-fulfilment", "P3Y")).of(value(kept_until=kept))
    assert ended(result) == ("2027-01-01", "reviewed", "review")
    assert not result.serves("order-fulfilment", day("2023-03-01"))


def test_values_of_an_erased_subject_end_by_their_own_expiry():
    kept = ends(rule("order-fulfilment", "P3Y"), retained=True)

    assert text(kept.of(value(expires=day("2030-01-01"))).until) == "2030-01-01"
    assert kept.of(value()).until is None  # a hold keeps it: lifting that erases it


def test_period_past_the_calendar_ends_on_its_last_day():
    result = ends(rule("order-fulfilment", "P999Y")).of(value(start="9990-01-01"))

    assert result.until == NEVER


def test_future_value_is_kept_from_its_own_day():
    result = ends(rule("order-fulfilment", "P1Y")).of(value(start="2027-01-01"))

    assert text(result.until) == "2028-01-01"
    assert result.serves("order-fulfilment", day("2026-03-05"))
