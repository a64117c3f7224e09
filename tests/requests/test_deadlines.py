"""By when a request is due: the vectors of the regulation, and a calendar of holidays across the member states.

The dates were worked out by hand: Western Easter falls on 2026-04-05 and 2027-03-28, Orthodox Easter on 2026-04-12; all
that moves with them follows. The weekdays: 2026-01-01 is a Thursday, 2027-01-01 a Friday, 2028-01-01 a Saturday.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.policy.folders import shipped
from vault.policy.policy_set import PolicySet
from vault.requests.deadlines import due, earlier_working_day, internal_due
from vault.requests.model import Suspension

NOON = 12
POLICIES = PolicySet.load(shipped())
TABLE = [
    # The vectors of the design
    ("2026-03-05", "DE", "2026-04-07", "04-05 is Easter Sunday, 04-06 Easter Monday"),
    ("2026-08-31", "DE", "2026-09-30", "September has 30 days"),
    ("2027-01-31", "DE", "2027-03-01", "02-28 is a Sunday"),
    # Months of different lengths
    ("2026-01-30", "DE", "2026-03-02", "02-28 is a Saturday"),
    ("2026-10-31", "DE", "2026-11-30", "November has 30 days; a Monday"),
    ("2028-01-29", "DE", "2028-02-29", "a leap year has that day; a Tuesday"),
    ("2028-01-31", "DE", "2028-02-29", "the last day of a leap February"),
    ("2026-01-15", "DE", "2026-02-16", "02-15 is a Sunday; Carnival Monday is no public holiday"),
    # Easter, and who keeps which of its days
    ("2026-03-02", "DE", "2026-04-02", "Maundy Thursday is a working day in Germany"),
    ("2026-03-02", "DK", "2026-04-07", "in Denmark it is none, and so on to Easter Monday"),
    ("2026-03-02", "NO", "2026-04-07", "in Norway neither"),
    ("2026-03-03", "SE", "2026-04-07", "Good Friday to Easter Monday"),
    ("2026-03-03", "FR", "2026-04-03", "Good Friday is a working day in France"),
    ("2026-03-03", "FR-57", "2026-04-07", "but not in the Moselle, where German law of 1892 goes on"),
    ("2026-03-03", "IT", "2026-04-03", "Good Friday is a working day in Italy"),
    ("2026-03-06", "IT", "2026-04-07", "Easter Monday is none"),
    ("2026-03-06", "PT", "2026-04-06", "Easter Monday is a working day in Portugal"),
    ("2026-03-06", "GR", "2026-04-06", "Orthodox Easter is a week later"),
    ("2026-03-13", "GR", "2026-04-14", "Orthodox Easter Monday"),
    ("2026-03-10", "BG", "2026-04-14", "Orthodox Good Friday to Easter Monday"),
    ("2026-01-23", "CY", "2026-02-24", "Green Monday, 48 days before Orthodox Easter"),
    ("2026-05-01", "RO", "2026-06-02", "Orthodox Whit Monday, and Children's Day"),
    ("2026-04-14", "DE", "2026-05-15", "Ascension Day, 39 days after Easter"),
    ("2026-04-14", "IT", "2026-05-14", "a working day in Italy"),
    ("2026-04-25", "DE", "2026-05-26", "Whit Monday"),
    ("2026-04-25", "IT", "2026-05-25", "a working day in Italy"),
    ("2026-05-04", "PL", "2026-06-05", "Corpus Christi, 60 days after Easter"),
    ("2026-05-04", "AT", "2026-06-05", "Corpus Christi"),
    ("2026-05-04", "DE-BY", "2026-06-05", "Corpus Christi is one in Bavaria"),
    ("2026-05-04", "DE-BE", "2026-06-04", "and none in Berlin"),
    # Days of nations and of parts of them
    ("2026-10-18", "DE-SN", "2026-11-19", "Day of Repentance, the Wednesday before 11-23, in Saxony alone"),
    ("2026-10-18", "DE", "2026-11-18", "a working day elsewhere"),
    ("2027-02-08", "DE-BE", "2027-03-09", "Women's Day, a Monday, in Berlin"),
    ("2027-02-08", "DE-BY", "2027-03-08", "a working day in Bavaria"),
    ("2026-02-17", "IE", "2026-03-18", "Saint Patrick's Day, a Tuesday"),
    ("2026-01-02", "IE", "2026-02-03", "Saint Brigid's Day, the first Monday of February"),
    ("2026-09-26", "IE", "2026-10-27", "the last Monday of October"),
    ("2026-09-26", "AT", "2026-10-27", "National Day, a Monday"),
    ("2026-03-27", "NL", "2026-04-28", "King's Day, a Monday"),
    ("2026-09-12", "ES", "2026-10-13", "National Day, a Monday"),
    ("2026-05-02", "IT", "2026-06-03", "Republic Day, a Tuesday"),
    ("2026-11-06", "FI", "2026-12-07", "Independence Day, and a Sunday"),
    ("2026-01-24", "EE", "2026-02-25", "Independence Day, a Tuesday"),
    ("2026-10-18", "LV", "2026-11-19", "Proclamation Day, a Wednesday"),
    ("2026-02-11", "LT", "2026-03-12", "Restoration of Independence, a Wednesday"),
    ("2026-10-02", "LT", "2026-11-03", "All Souls' Day, a Monday"),
    ("2026-08-28", "CZ", "2026-09-29", "Statehood Day, a Monday"),
    ("2026-12-06", "SK", "2027-01-07", "Epiphany, a Wednesday"),
    ("2026-09-23", "HU", "2026-10-26", "the 1956 revolution, a Friday, and a weekend"),
    ("2027-01-08", "SI", "2027-02-09", "Prešeren Day, a Monday"),
    ("2026-05-22", "HR", "2026-06-23", "Anti-Fascist Struggle Day, a Monday"),
    ("2026-05-23", "LU", "2026-06-24", "National Day, a Tuesday"),
    ("2026-01-10", "MT", "2026-02-11", "Saint Paul's Shipwreck, a Tuesday"),
    ("2026-06-21", "BE", "2026-07-22", "National Day, a Tuesday"),
    ("2026-06-14", "FR", "2026-07-15", "the 14th of July, a Tuesday"),
    # Christmas and New Year
    ("2026-11-25", "DE", "2026-12-28", "Christmas, a Friday, and the weekend after it"),
    ("2026-11-24", "PL", "2026-12-28", "Christmas Eve has been one in Poland since 2025"),
    ("2026-11-24", "DE", "2026-12-24", "and is none in Germany"),
    ("2025-12-01", "DE", "2026-01-02", "New Year's Day; the day after it is a working day"),
    ("2025-12-01", "RO", "2026-01-05", "and in Romania a holiday, with the weekend after it"),
    ("2025-12-06", "ES", "2026-01-07", "Epiphany, a Tuesday"),
    ("2025-12-06", "FR", "2026-01-06", "a working day in France"),
]


def at(day: str) -> datetime:
    return datetime.fromisoformat(f"{day}T{NOON}:00:00+00:00")


def on(regime, received, jurisdiction, **more):
    return due(regime, received, jurisdiction, **more).on.isoformat()


def test_the_table_of_cases_has_no_duplicates():
    assert len(TABLE) >= 43
    assert len({row[:2] for row in TABLE}) == len(TABLE)
    assert len({row[1].partition("-")[0] for row in TABLE}) >= 25


@pytest.mark.parametrize(
    ("received", "jurisdiction", "expected", "why"), TABLE, ids=[" ".join(row[:2]) for row in TABLE]
)
def test_the_deadline_is_one_month_after_receipt(received, jurisdiction, expected, why):
    assert on("gdpr", at(received), jurisdiction) == expected, why


@pytest.mark.parametrize(
    ("received", "jurisdiction", "expected", "why"),
    [
        ("2026-01-31", "DE", "2026-04-30", "April has 30 days"),
        ("2026-02-01", "DE", "2026-05-04", "Labour Day, a Friday, and a weekend"),
        ("2025-11-30", "DE", "2026-03-02", "02-28 is a Saturday"),
        ("2026-04-14", "FR", "2026-07-15", "the 14th of July"),
        ("2026-10-06", "ES", "2027-01-07", "Epiphany"),
        ("2026-01-06", "GR", "2026-04-06", "a working day where Easter is a week later"),
    ],
)
def test_an_extended_deadline_is_three_months_after_receipt(received, jurisdiction, expected, why):
    assert on("gdpr", at(received), jurisdiction, extended=True) == expected, why


@pytest.mark.parametrize(
    ("moment", "jurisdiction", "expected"),
    [
        ("2026-03-31T22:30:00+00:00", "DE", "2026-05-04"),  # 00:30 on 04-01; 05-01 is Labour Day, a Friday
        ("2026-03-31T22:30:00+00:00", "FI", "2026-05-04"),
        ("2026-03-31T22:30:00+00:00", "IE", "2026-04-30"),  # 23:30 on 03-31
        ("2026-03-31T22:30:00+00:00", "PT", "2026-04-30"),
        ("2026-03-31T22:30:00+00:00", "PT-20", "2026-04-30"),
        ("2026-01-01T23:30:00+00:00", "ES", "2026-02-02"),  # 00:30 on 01-02
        ("2026-01-12T23:30:00+00:00", "ES-CN", "2026-02-12"),  # 23:30 on 01-12
        ("2026-01-12T23:30:00+00:00", "ES", "2026-02-13"),  # 00:30 on 01-13
    ],
)
def test_the_day_of_receipt_is_the_local_day(moment, jurisdiction, expected):
    assert on("gdpr", datetime.fromisoformat(moment), jurisdiction) == expected


@pytest.mark.parametrize(
    ("moment", "regime", "jurisdiction", "expected"),
    [
        ("2026-10-31T23:30:00-01:00", "gdpr", "PT", "2026-11-30"),  # in the Azores; in Lisbon it is November
        ("2026-10-31T20:30:00-05:00", "ccpa", "XX", "2026-12-15"),  # in UTC it is November
        ("2026-11-01T00:30:00+01:00", "gdpr", "PT", "2026-12-02"),  # in Berlin it is November; 12-01 is a holiday
        ("2026-10-31T22:30:00-07:00", "ccpa", "US", "2026-12-15"),
        ("2026-11-01T12:00:00+14:00", "ccpa", "US", "2026-12-16"),
        ("2026-11-01T01:30:00+00:00", "ccpa", "US", "2026-12-15"),  # UTC states no place: 21:30 on 10-31 in New York
        ("2026-11-01T01:30:00+00:00", "ccpa", "XX", "2026-12-16"),
    ],
)
def test_the_offset_that_the_receipt_states_decides_its_day(moment, regime, jurisdiction, expected):
    assert on(regime, datetime.fromisoformat(moment), jurisdiction) == expected


@given(
    st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)),  # noqa: DTZ001 - the zone is drawn apart
    st.integers(-14 * 60, 14 * 60).filter(bool),
    st.sampled_from(["DE", "PT", "PT-20", "US", "US-CA", "XX"]),
)
def test_any_stated_offset_decides_the_day_for_the_legal_and_the_internal_deadline(naive, minutes, jurisdiction):
    moment = naive.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    assert on("ccpa", moment, jurisdiction) == (naive.date() + timedelta(days=45)).isoformat()
    assert internal_due(POLICIES, due("gdpr", moment, jurisdiction), moment, jurisdiction).on >= naive.date()


def test_the_ccpa_counts_calendar_days_without_holidays():
    assert on("ccpa", at("2026-03-05"), "US-CA") == "2026-04-19"  # a Sunday
    assert on("ccpa", at("2026-03-05"), "US-CA", extended=True) == "2026-06-03"
    late = datetime(2026, 3, 5, 3, tzinfo=UTC)  # 19:00 on 03-04 in California
    assert on("ccpa", late, "US-CA") == "2026-04-18"


def test_a_question_about_identity_suspends_the_gdpr_deadline_only():
    asked = Suspension(at("2026-03-10"), at("2026-03-13"))
    assert on("gdpr", at("2026-03-09"), "DE") == "2026-04-09"
    assert on("gdpr", at("2026-03-09"), "DE", suspensions=[asked]) == "2026-04-13"  # 04-12 is a Sunday
    again = Suspension(at("2026-03-16"), at("2026-03-17"))
    assert on("gdpr", at("2026-03-09"), "DE", suspensions=[asked, again]) == "2026-04-13"
    assert on("gdpr", at("2026-03-09"), "DE", suspensions=[Suspension(at("2026-03-10"))]) == "2026-04-09"
    assert on("ccpa", at("2026-03-09"), "US-CA", suspensions=[asked]) == on("ccpa", at("2026-03-09"), "US-CA")


def test_the_rule_explains_the_date():
    rule = due("gdpr", at("2026-03-05"), "DE").rule
    assert rule == (
        "Art. 12(3) GDPR: one month from receipt on 2026-03-05; moved from 2026-04-05 to the next working day, for it is "
        "a Sunday, then Easter Monday (DE) (Reg. 1182/71 Art. 3(4))"
    )
    assert "2026-09 has no day 31 (Reg. 1182/71 Art. 3(2)(c))" in due("gdpr", at("2026-08-31"), "DE").rule
    asked = Suspension(at("2026-03-10"), at("2026-03-13"))
    assert "3 days in which identity was in question" in due("gdpr", at("2026-03-09"), "DE", suspensions=[asked]).rule
    assert "three months (extended)" in due("gdpr", at("2026-03-09"), "DE", extended=True).rule
    assert (
        due("ccpa", at("2026-03-05"), "US-CA").rule == "11 CCR § 7021(b): 45 calendar days from receipt on 2026-03-05"
    )


@pytest.mark.parametrize("jurisdiction", ["XX", "AQ", "DE-ZZ"])
def test_an_unknown_region_has_the_holidays_of_its_country_or_none(jurisdiction):
    expected = "2026-04-07" if jurisdiction.startswith("DE") else "2026-04-06"
    assert on("gdpr", at("2026-03-05"), jurisdiction) == expected


DAYS = st.dates(date(2019, 1, 1), date(2034, 12, 31))
PLACES = st.sampled_from(["DE", "DE-BY", "FR", "IE", "GR", "PL", "SE", "XX"])


@settings(max_examples=60)
@given(day=DAYS, place=PLACES, extended=st.booleans(), days=st.integers(0, 40))
def test_a_deadline_is_a_weekday_of_the_right_month(day, place, extended, days):
    received = datetime(day.year, day.month, day.day, NOON, tzinfo=UTC)
    spans = [Suspension(received, received + timedelta(days=days))]
    result = due("gdpr", received, place, extended=extended, suspensions=spans).on
    months = 3 if extended else 1
    assert result.weekday() < 5
    assert timedelta(28 * months) <= result - day - timedelta(days) <= timedelta(31 * months + 7)


@settings(max_examples=60)
@given(day=DAYS, place=PLACES)
def test_a_later_receipt_or_an_extension_never_shortens_the_deadline(day, place):
    received = datetime(day.year, day.month, day.day, NOON, tzinfo=UTC)
    first, second = (due("gdpr", received + timedelta(days=days), place).on for days in (0, 1))
    assert first <= second
    assert first < due("gdpr", received, place, extended=True).on


def test_the_internal_deadline_is_a_working_day():
    assert earlier_working_day(date(2026, 4, 6), "DE") == date(2026, 4, 2)  # Easter Monday to Good Friday
    assert earlier_working_day(date(2026, 4, 1), "DE") == date(2026, 4, 1)
