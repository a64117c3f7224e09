"""Periods of retention: what they say, by the calendar, and what is refused."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from tests.policy.folders import at, changed, findings_of, only, shipped
from vault.catalogue.periods import Period
from vault.catalogue.retention import Since
from vault.policy.policy_set import PolicySet

FILE = "retention.toml"


def test_a_rule_is_read_as_declared():
    policy_set = PolicySet.load(shipped())
    rule = policy_set.retention["customer-support"]

    assert (rule.keep, rule.since) == (Period(24, 0), Since.LAST_CONTACT)
    assert rule.period(policy_set.catalogue.view("interaction.body")) == Period(12, 0)
    assert rule.period(policy_set.catalogue.view("interaction.channel")) == Period(24, 0)


def test_every_shipped_purpose_that_collects_has_a_period():
    policy_set = PolicySet.load(shipped())

    assert set(policy_set.retention) >= {name for name, item in policy_set.purposes.items() if item.collects}


def test_narrowest_name_decides():
    files = changed(FILE, '"interaction.body" = "P1Y"', '"interaction.*" = "P3M", "interaction.body" = "P1M"')
    policy_set = PolicySet.load(files)
    rule = policy_set.retention["customer-support"]

    assert rule.period(policy_set.catalogue.view("interaction.body")) == Period(1, 0)
    assert rule.period(policy_set.catalogue.view("interaction.channel")) == Period(3, 0)


@pytest.mark.parametrize(
    ("start", "period", "end"),
    [
        (date(2026, 1, 31), Period(1, 0), date(2026, 2, 28)),
        (date(2028, 1, 31), Period(1, 0), date(2028, 2, 29)),
        (date(2028, 2, 29), Period(12, 0), date(2029, 2, 28)),
        (date(2026, 8, 31), Period(1, 0), date(2026, 9, 30)),
        (date(2026, 12, 31), Period(2, 0), date(2027, 2, 28)),
        (date(2026, 3, 5), Period(36, 0), date(2029, 3, 5)),
        (date(2026, 3, 5), Period(0, 30), date(2026, 4, 4)),
        (date(2026, 1, 31), Period(1, 1), date(2026, 3, 1)),
    ],
)
def test_period_ends_by_the_calendar(start, period, end):
    assert period.after(start) == end


def test_period_keeps_the_hour():
    assert Period(1, 0).after(datetime(2026, 3, 5, 23, 59, tzinfo=UTC)) == datetime(2026, 4, 5, 23, 59, tzinfo=UTC)


@pytest.mark.parametrize(
    ("old", "new", "passage", "code"),
    [
        ("[purpose.accounting]", "[purpose.acounting]", "[purpose.acounting]", "unknown-purpose"),
        ('"national_id" = "P6M"', '"national-id" = "P6M"', "fields = {", "unknown-field"),
        ('"national_id" = "P6M"', '"national_id" = "6M"', "fields = {", "wrong-value"),
        ('brought_by = ["purchase"]', 'brought_by = ["purchases"]', "brought_by = ", "unknown-collection"),
        ('brought_by = ["purchase"]', 'brought_by = ["profile"]', "brought_by = ", "unknown-collection"),
        ('customer_by = ["purchase"]', 'customer_by = ["profile"]', "customer_by = ", "unknown-collection"),
        ('keep = "P10Y"', 'keep = "10 years"', 'keep = "10 years"', "wrong-value"),
        ('keep = "P10Y"', 'keep = "P0D"', 'keep = "P0D"', "wrong-value"),
        ('keep = "P10Y"', 'keep = "P"', 'keep = "P"', "wrong-value"),
        ('keep = "P10Y"', 'keep = "P1W"', 'keep = "P1W"', "wrong-value"),
        ('keep = "P10Y"\n', "", "[purpose.accounting]", "missing-key"),
        ('keep = "P10Y"', 'keep = "P10Y"\nkept = 1', "kept = 1", "unknown-key"),
        ("[purpose.accounting]", "[purposes.x]\n[purpose.accounting]", "[purposes.x]", "unknown-key"),
    ],
)
def test_a_mistake_is_refused_on_its_line(old, new, passage, code):
    files = changed(FILE, old, new)
    lines = [number for number, row in enumerate(files[FILE].split("\n"), start=1) if passage in row]
    place, result = only(files)

    assert result == code
    assert int(place.rpartition(":")[2]) in lines


def test_unknown_start_of_a_period_is_refused():
    files = changed(FILE, 'since = "last-contact"', 'since = "forever"')
    (finding,) = findings_of(files)

    assert (f"{FILE}:{finding.line}", finding.code) == (at(files, FILE, 'since = "forever"'), "wrong-value")
