"""What retention.toml must not say: contradictions, and what can never apply, each on its line."""

from __future__ import annotations

from datetime import date

import pytest

from tests.policy.folders import at, changed, findings_of, only, shipped
from vault.catalogue.periods import Period
from vault.catalogue.retention import Limit, Relationship, Since, ends_sooner
from vault.policy.policy_set import PolicySet

FILE = "retention.toml"
ACCOUNTING = 'least = "P10Y"\n'


def test_the_shipped_schedule_is_read_as_declared():
    result = PolicySet.load(shipped()).schedule
    limit = result.limits["sweepstakes"]

    assert (result.inactive, result.unclaimed, result.per_minute) == (Period(36, 0), Period(0, 30), 60_000)
    assert result.rules["customer-support"].by_relationship == {Relationship.FORMER: Period(12, 0)}
    assert result.rules["order-fulfilment"].at_end == {"profile.birth_date": "profile.birth_date.year"}
    assert result.rules["accounting"].least == Period(120, 0)
    assert isinstance(limit, Limit)
    assert (limit.most, limit.since, limit.sources) == (
        Period(3, 0),
        Since.DRAW_HELD,
        ("sweepstake-spring", "sweepstake-autumn"),
    )
    assert result.draws == {"sweepstake-spring": date(2026, 4, 15), "sweepstake-autumn": None}


@pytest.mark.parametrize(
    ("old", "new", "passage", "code"),
    [
        (ACCOUNTING, 'least = "P11Y"\n', 'least = "P11Y"', "contradiction"),
        (ACCOUNTING, 'least = "P10Y1D"\n', 'least = "P10Y1D"', "contradiction"),
        (ACCOUNTING, ACCOUNTING + 'fields = { iban = "P8Y" }\n', 'least = "P10Y"', "contradiction"),
        (ACCOUNTING, ACCOUNTING + 'by_relationship = { former = "P1Y" }\n', 'least = "P10Y"', "contradiction"),
        ('fields = { "national_id" = "P6M" }', 'least = "P6M"', 'least = "P6M"', "no-law"),
        ('fields = { "national_id" = "P6M" }', 'brought_by = ["offer"]', 'brought_by = ["offer"]', "no-law"),
        ('categories = ["user.government_id"]', 'fields = ["iban"]', 'most = "P1Y"', "contradiction"),
        ('categories = ["user.government_id"]', 'categories = ["user"]', 'most = "P1Y"', "contradiction"),
        (
            'fields = { "national_id" = "P6M" }',
            'fields = { "language" = "P6M" }',
            'fields = { "language"',
            "not-needed",
        ),
        (
            'fields = { "national_id" = "P6M" }',
            'categories = { "user.health_and_medical" = "P6M" }',
            'categories = { "user.health',
            "not-needed",
        ),
        (
            'fields = { "national_id" = "P6M" }',
            'at_end = { "language" = "erase" }',
            'at_end = { "language"',
            "not-needed",
        ),
        ('fields = { "birth_date.year" = "P10Y" }', "", "at_end = { birth_date", "no-effect"),
        (
            'at_end = { birth_date = "birth_date.year" }\n',
            'at_end = { "birth_date.year" = "erase" }\n',
            'at_end = { "birth_date.year"',
            "no-effect",
        ),
        (
            'fields = ["health_notes", ',
            'fields = ["health_notes.present", ',
            'fields = ["health_notes.present"',
            "no-effect",
        ),
        ('sources = ["sweepstake-spring", ', "sources = [", "[source.sweepstake-spring]", "no-effect"),
        ("[source.sweepstake-autumn]", "[source.autumn]", 'sources = ["sweepstake-spring"', "unknown-source"),
        (
            'sources = ["sweepstake-spring", "sweepstake-autumn"]',
            'fields = ["notes"]',
            'since = "draw-held"',
            "unknown-source",
        ),
        ('reason = "Proof that', 'least = "P3Y"\nreason = "Proof that', 'least = "P3Y"', "no-effect"),
        (
            '[purpose.health-advice]\nkeep = "P1Y"',
            '[purpose.health-advice]\nkeep = "PT1H"',
            'keep = "PT1H"',
            "wrong-value",
        ),
        ('then = "review"', 'then = "birth_date.year"', 'then = "birth_date.year"', "wrong-value"),
        ('inactive = "P3Y"', 'inactive = "never"', 'inactive = "never"', "wrong-value"),
        ("per_minute = 60_000", "per_minute = 0", "per_minute = 0", "wrong-value"),
    ],
)
def test_a_contradiction_is_refused_on_its_line(old, new, passage, code):
    files = changed(FILE, old, new)
    results = [(f"{finding.file}:{finding.line}", finding.code) for finding in findings_of(files)]

    assert (at(files, FILE, passage, after=_before(files, passage)), code) in results
    assert {item for _place, item in results} <= {code, "no-effect"}  # a source that is named nowhere any more


def _before(files: dict[str, str], passage: str) -> str:
    """Skip the comment at the head of the file, which shows what may be said."""
    return "[relationship]\n" if passage not in "[relationship]" else ""


def test_a_collecting_purpose_without_a_period_is_refused():
    text = shipped()[FILE]
    start = text.index("[purpose.profiling]")
    files = shipped() | {FILE: text[:start] + text[text.index("[purpose.loyalty-programme]") :]}
    (finding,) = findings_of(files)

    assert (finding.file, finding.line, finding.code) == (FILE, 1, "missing-rule")
    assert "profiling" in finding.message


def test_limit_with_another_start_than_the_law_is_accepted():
    """Which of the two ends first depends on the person; the law wins."""
    PolicySet.load(
        changed(
            FILE,
            'since = "collected"\ncategories = ["user.government_id"]',
            'since = "last-contact"\nfields = ["iban"]',
        )
    )


def test_law_on_a_record_never_counts_from_before_its_day():
    """However late the law's own day may be: a year from the order is never after ten years from the last contact."""
    law = (
        '[purpose.accounting]\nkeep = "P10Y"\nsince = "collected"',
        '[purpose.accounting]\nkeep = "P10Y"\nsince = "{}"',
    )
    limit = ('categories = ["user.government_id"]', 'fields = ["purchase.amount"]')
    for since in ("last-contact", "relationship-ended", "contract-ended", "claim-closed"):
        files = changed(FILE, *limit)
        files |= {FILE: files[FILE].replace(law[0], law[1].format(since))}
        assert {finding.code for finding in findings_of(files)} == {"contradiction"}, since


def test_limit_on_a_source_is_accepted():
    PolicySet.load(
        changed(FILE, 'categories = ["user.government_id"]', 'fields = ["iban"]\nsources = ["sweepstake-spring"]')
    )


def test_contradictions_are_reported_only_for_a_valid_file():
    assert only(changed(FILE, ACCOUNTING, 'least = "P11Y"\nlest = 1\n'))[1] == "unknown-key"


@pytest.mark.parametrize(
    ("one", "other", "sooner"),
    [
        (Period(12, 0), Period(12, 0), False),
        (Period(12, 0), Period(0, 365), False),
        (Period(0, 365), Period(12, 0), True),  # in a leap year
        (Period(0, 366), Period(12, 0), False),
        (Period(1, 0), Period(0, 31), True),
        (Period(1, 0), Period(0, 28), False),
        (Period(12, 0), Period(12, 1), True),
    ],
)
def test_periods_are_compared_for_all_starts(one, other, sooner):
    assert ends_sooner(one, other) is sooner
