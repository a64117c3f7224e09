"""Until when a value is kept, by hand-counted days: claims, laws, limits, views that take its place."""

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


def test_the_latest_claim_decides_and_its_last_day_is_still_included():
    found = ends(rule("order-fulfilment", "P3Y"), rule("customer-support", "P1Y")).of(value())

    assert ended(found) == ("2023-02-28", "order-fulfilment", "erase")
    assert [each.ground for each in found.claims] == ["order-fulfilment", "customer-support"]
    assert not found.is_over(day("2023-02-28"))
    assert found.is_over(day("2023-03-01"))
    assert found.may_go(day("2023-03-01"))


def test_a_purpose_sees_a_value_only_while_its_own_claim_runs():
    found = ends(rule("order-fulfilment", "P3Y"), rule("customer-support", "P1Y")).of(value())
    last, next_day = day("2021-02-28"), day("2021-03-01")

    assert found.serves("customer-support", last)
    assert not found.serves("customer-support", next_day)
    assert found.serves("order-fulfilment", next_day)
    assert found.serves("subject-rights", next_day)  # which claims nothing: as long as anything does
    assert not found.serves("subject-rights", day("2023-03-01"))


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
def test_a_period_counts_from_what_it_says(since, clocks, until):
    found = ends(rule("order-fulfilment", "P1Y", since), clocks=clocks, inactive=span("P3Y")).of(value())

    assert text(found.until) == until


def test_who_buys_again_or_resumes_is_a_customer_again():
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


def test_the_day_on_which_somebody_becomes_a_former_customer_is_told():
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


def test_the_draw_of_a_source_ends_what_came_in_by_it_and_nothing_else():
    limit = Limit("draw", span("P3M"), Since.DRAW_HELD, "prizes", sources=("spring", "autumn"))
    draws = {"spring": date(2020, 5, 15), "autumn": None}
    kept = ends(rule("order-fulfilment", "P3Y"), limits={"draw": limit}, draws=draws)

    assert ended(kept.of(value(source="spring"))) == ("2020-08-15", "limit:draw", "erase")
    assert ended(kept.of(value(source="autumn")))[1] == "order-fulfilment"  # still to be held
    assert ended(kept.of(value(source="shop")))[1] == "order-fulfilment"


def test_a_consent_taken_back_ends_the_claim_the_day_before():
    kept = (rule("direct-marketing", "P2Y"), rule("loyalty-programme", "P1Y"))
    found = ends(*kept, applies=ALL | {"direct-marketing": day("2020-08-01")}).of(value())

    assert ended(found) == ("2021-02-28", "loyalty-programme", "erase")
    assert [each.lost for each in found.claims] == [False, True]
    assert not found.serves("direct-marketing", day("2020-08-02"))


def test_what_nobody_claims_is_kept_a_little_while_from_when_it_came_in():
    def until(found, **more):
        return ended(found.of(value(**more)))

    assert until(ends()) == ("2020-03-30", "unclaimed", "erase")
    assert until(ends(), arrived=day("2026-03-01")) == ("2026-03-31", "unclaimed", "erase")
    before = ends(rule("direct-marketing", "P2Y"), applies={"direct-marketing": day("2019-12-31")})
    assert until(before) == ("2020-03-30", "unclaimed", "erase")  # the consent was over before it came in
    never = ends(rule("direct-marketing", "P2Y"), applies={})
    assert until(never) == ("2020-03-30", "unclaimed", "erase")


def test_what_the_catalogue_declares_no_longer_is_looked_at_before_it_goes():
    assert ended(ends().of(value("profile.shoe_size"))) == ("2020-03-30", "unclaimed", "review")


# ---- Laws ---------------------------------------------------------------------------------------------------------

BOOKS = rule("accounting", "P10Y", brought_by=("purchase",))
COMPLAINTS = rule("complaint-handling", "P3Y", brought_by=("complaint",))


def test_a_law_demands_at_home_what_goes_with_the_newest_record():
    found = ends(BOOKS, clocks=bought("2024-01-10")).of(value("profile.iban"))

    assert ended(found) == ("2034-01-10", "accounting", "erase")
    assert text(found.least_until) == "2034-01-10"


def test_a_law_demands_each_record_from_its_own_day():
    found = ends(BOOKS, clocks=bought("2024-01-10")).of(value("purchase.amount", "2018-06-01"))

    assert text(found.least_until) == "2028-06-01"


def test_a_law_that_nothing_brings_about_keeps_nothing_and_sees_it_no_longer_than_it_would():
    found = ends(rule("complaint-handling", "P1Y", brought_by=("complaint",)), rule("order-fulfilment", "P3Y")).of(
        value()
    )

    assert (ended(found)[1], found.least_until) == ("order-fulfilment", None)
    assert found.serves("complaint-handling", day("2021-02-28"))
    assert not found.serves("complaint-handling", day("2021-03-01"))
    assert ended(ends(COMPLAINTS).of(value()))[1] == "unclaimed"


def test_a_law_keeps_a_record_only_if_it_was_running_when_that_happened():
    def claims(complained: str):
        clocks = Clocks({"complaint": day(complained), "interaction": day("2024-05-01")})
        return [
            each.ground for each in ends(COMPLAINTS, clocks=clocks).of(value("interaction.body", "2024-05-01")).claims
        ]

    assert claims("2024-06-01") == ["complaint-handling"]
    assert claims("2021-05-01") == ["complaint-handling"]
    assert claims("2021-04-30") == []


def test_what_was_collected_for_the_law_itself_is_kept_by_its_own_day():
    found = ends(BOOKS).of(value("profile.iban", purpose="accounting"))

    assert ended(found) == ("2030-02-28", "accounting", "erase")


def test_a_law_outlives_a_limit_for_its_own_purpose_only():
    limit = Limit("short", span("P1Y"), Since.COLLECTED, "so it is", fields=("profile.iban",))
    found = ends(BOOKS, rule("fraud-prevention", "P5Y"), clocks=bought("2020-03-01"), limits={"short": limit})
    found = found.of(value("profile.iban"))
    after = day("2021-03-01")

    assert (text(found.served_until), found.by, text(found.until)) == ("2021-02-28", "limit:short", "2030-03-01")
    assert found.is_over(after)
    assert not found.may_go(day("2030-03-01"))
    assert found.may_go(day("2030-03-02"))
    assert found.serves("accounting", after)
    assert not found.serves("fraud-prevention", after)
    assert not found.serves("subject-rights", after)


def test_the_least_may_be_shorter_than_what_is_kept():
    books = rule("accounting", "P10Y", brought_by=("purchase",), least=span("P8Y"))
    found = ends(books, clocks=bought("2020-03-01")).of(value("profile.iban"))

    assert (text(found.least_until), text(found.until)) == ("2028-03-01", "2030-03-01")


def test_a_claim_that_is_open_is_demanded_without_end():
    clocks = Clocks({"complaint": day("2024-01-01")}, {"claim-opened": day("2024-01-01")})
    complaints = rule("complaint-handling", "P3Y", Since.CLAIM_CLOSED, brought_by=("complaint",))
    found = ends(complaints, clocks=clocks).of(value())

    assert (found.served_until, found.until, found.least_until) == (None, None, NEVER)
    assert not found.may_go(NEVER)


def test_a_law_that_is_not_in_force_any_more_demands_nothing():
    found = ends(BOOKS, clocks=bought("2024-01-10"), applies={"accounting": day("2025-12-31")}).of(
        value("profile.iban")
    )

    assert (text(found.until), text(found.least_until), found.claims[0].lost) == ("2025-12-31", "2025-12-31", True)


# ---- Views in a value's place ---------------------------------------------------------------------------------------

ORDERS = rule("order-fulfilment", "P3Y", at_end={BIRTH: YEAR})
FIGURES = rule("service-analytics", "P2Y", fields={YEAR: span("P10Y")})


def test_a_view_takes_the_place_of_a_value_for_those_who_need_no_more():
    kept = ends(ORDERS, FIGURES)

    assert ended(kept.of(value(BIRTH))) == ("2023-02-28", "order-fulfilment", YEAR)
    assert ended(kept.of(value(BIRTH, form=YEAR))) == ("2030-02-28", "service-analytics", "erase")


def test_a_view_is_shown_as_long_as_its_own_period_runs():
    found = ends(ORDERS, FIGURES).of(value(BIRTH))
    later = day("2022-03-01")

    assert found.serves("service-analytics", later, YEAR)
    assert not found.serves("service-analytics", later, "profile.birth_date.age_band")
    assert found.serves("service-analytics", day("2022-02-28"), "profile.birth_date.age_band")


def test_a_view_takes_the_place_when_the_last_who_needs_more_is_done():
    assert ended(ends(ORDERS, FIGURES, rule("fraud-prevention", "P5Y")).of(value(BIRTH))) == (
        "2025-02-28",
        "fraud-prevention",
        YEAR,
    )
    asked = rule("fraud-prevention", "P5Y", then="review")
    assert ended(ends(ORDERS, FIGURES, asked).of(value(BIRTH))) == ("2025-02-28", "fraud-prevention", "review")


def test_nothing_is_generalised_for_nobody():
    assert ended(ends(ORDERS).of(value(BIRTH))) == ("2023-02-28", "order-fulfilment", "erase")
    short = rule("service-analytics", "P2Y", fields={YEAR: span("P2Y")})
    assert ended(ends(ORDERS, short).of(value(BIRTH))) == ("2023-02-28", "order-fulfilment", "erase")
    longer = rule("fraud-prevention", "P20Y")  # needs the date itself for longer than anybody the year
    assert ended(ends(ORDERS, FIGURES, longer).of(value(BIRTH))) == ("2040-02-29", "fraud-prevention", "erase")


def test_of_two_claims_that_end_on_one_day_the_stricter_end_counts():
    both = ends(rule("order-fulfilment", "P3Y", then="review"), rule("customer-support", "P3Y")).of(value())
    assert both.then == "erase"


# ---- Other ends -----------------------------------------------------------------------------------------------------


def test_a_value_may_bring_its_own_end():
    found = ends(rule("order-fulfilment", "P3Y")).of(value(expires=day("2020-12-31")))

    assert ended(found) == ("2020-12-31", "expires", "erase")


def test_a_review_keeps_a_value_also_past_a_limit_and_then_asks_again():
    limit = Limit("old", span("P1Y"), Since.COLLECTED, "so it is", fields=("profile.email",), then="review")
    kept = day("2027-01-01")
    found = ends(rule("order-fulfilment", "P3Y"), limits={"old": limit}).of(value(kept_until=kept))
    assert (text(found.served_until), text(found.until), found.then) == ("2021-02-28", "2027-01-01", "review")
    found = ends(rule("order-fulfilment", "P3Y")).of(value(kept_until=kept))
    assert ended(found) == ("2027-01-01", "reviewed", "review")
    assert not found.serves("order-fulfilment", day("2023-03-01"))


def test_what_is_left_of_somebody_who_was_erased_says_itself_until_when():
    kept = ends(rule("order-fulfilment", "P3Y"), retained=True)

    assert text(kept.of(value(expires=day("2030-01-01"))).until) == "2030-01-01"
    assert kept.of(value()).until is None  # a hold keeps it: lifting that erases it


def test_what_ends_after_the_last_day_of_the_calendar_ends_on_it():
    found = ends(rule("order-fulfilment", "P999Y")).of(value(start="9990-01-01"))

    assert found.until == NEVER


def test_a_value_of_tomorrow_is_kept_from_its_own_day():
    found = ends(rule("order-fulfilment", "P1Y")).of(value(start="2027-01-01"))

    assert text(found.until) == "2028-01-01"
    assert found.serves("order-fulfilment", day("2026-03-05"))
