"""Reading consent.toml: ages of consent, confirmations and expiry."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from tests.policy.folders import at, changed, only, shipped
from vault.catalogue.company import AGES, ConsentRules, is_jurisdiction
from vault.policy.policy_set import PolicySet

FILE = "consent.toml"


def rules(text):
    return PolicySet.load(shipped() | {FILE: text}).consent


def test_a_folder_without_the_file_has_the_defaults():
    files = shipped()
    del files[FILE]
    consent = PolicySet.load(files).consent

    assert (consent.default_jurisdiction, consent.ages, consent.age(None)) == (None, AGES, 16)
    assert (consent.backdate, consent.confirm) == (timedelta(days=30), timedelta(hours=48))
    assert consent.expiry("direct-marketing", date(2026, 3, 5)) is None


def test_an_empty_file_says_the_same_as_none():
    assert rules("").age("AT") == 14
    assert rules("").confirm == timedelta(hours=48)


@pytest.mark.parametrize(
    ("jurisdiction", "age"),
    [("AT", 14), ("FR", 15), ("DE", 16), ("GB", 13), ("GB-SCT", 13), ("US", 16), ("US-CA", 17), (None, 15), ("ZZ", 16)],
)
def test_the_age_is_that_of_the_part_the_country_or_the_default(jurisdiction, age):
    consent = ConsentRules(default_jurisdiction="CZ", ages={**AGES, "US-CA": 17})

    assert consent.age(jurisdiction) == age


@pytest.mark.parametrize(
    ("born", "day", "needed"),
    [
        (date(2012, 3, 5), date(2026, 3, 4), True),
        (date(2012, 3, 5), date(2026, 3, 5), False),
        (date(2012, 2, 29), date(2026, 2, 28), True),
        (date(2012, 2, 29), date(2026, 3, 1), False),
        (date(2014, 2, 28), date(2028, 2, 28), False),
        (date(2014, 3, 1), date(2028, 2, 29), True),
        (date(2026, 3, 6), date(2026, 3, 5), True),
        (date(1815, 12, 10), date(2026, 3, 5), False),
    ],
)
def test_a_child_needs_a_parent_up_to_the_birthday(born, day, needed):
    assert ConsentRules().needs_guardian(born, day, "AT") is needed


def test_another_country_may_ask_for_another_age():
    born, day = date(2012, 3, 5), date(2026, 3, 5)

    assert not ConsentRules().needs_guardian(born, day, "AT")
    assert ConsentRules().needs_guardian(born, day, "DE")
    assert ConsentRules().needs_guardian(born, day, None)


def test_the_file_overrides_the_defaults():
    consent = rules(
        'default_jurisdiction = "US-CA"\nother_age = 18\nbackdate_days = 7\nconfirm_hours = 2\nvalid_months = 24\n'
        '[ages]\nAT = 15\n"US-CA" = 13\n[purpose.direct-marketing]\nvalid_months = 6\n'
    )

    assert (consent.age("AT"), consent.age("DE"), consent.age(None)) == (15, 18, 13)
    assert (consent.backdate, consent.confirm) == (timedelta(days=7), timedelta(hours=2))
    assert consent.expiry("profiling", date(2026, 3, 5)) == date(2028, 3, 5)
    assert consent.expiry("direct-marketing", datetime(2026, 8, 31, 9, tzinfo=UTC)) == datetime(
        2027, 2, 28, 9, tzinfo=UTC
    )


@pytest.mark.parametrize(
    ("text", "passage", "code"),
    [
        ('default_jurisdiction = "Ireland"', "default", "wrong-value"),
        ('default_jurisdiction = "UK"', "default", "wrong-value"),
        ('default_jurisdiction = "ie"', "default", "wrong-value"),
        ("other_age = 12", "other_age", "wrong-value"),
        ("other_age = 19", "other_age", "wrong-value"),
        ("other_age = true", "other_age", "wrong-value"),
        ('other_age = "16"', "other_age", "wrong-value"),
        ("backdate_days = 0", "backdate", "wrong-value"),
        ("backdate_days = 1.5", "backdate", "wrong-value"),
        ("backdate_days = 367", "backdate", "wrong-value"),
        ("confirm_hours = -1", "confirm", "wrong-value"),
        ("confirm_hours = 721", "confirm", "wrong-value"),
        ("valid_months = 0", "valid", "wrong-value"),
        ("backdate = 30", "backdate", "unknown-key"),
        ("[ages]\nAT = 14\nEL = 15", "EL", "wrong-value"),
        ("[ages]\nAT = 12", "AT", "wrong-value"),
        ("ages = 16", "ages", "wrong-value"),
        ("[purpose.direct-marketin]\nvalid_months = 6", "[purpose", "unknown-purpose"),
        ("[purpose.accounting]\nvalid_months = 6", "[purpose", "wrong-value"),
        ("[purpose.profiling]", "[purpose", "missing-key"),
        ("[purpose.profiling]\nmonths = 6\nvalid_months = 6", "months", "unknown-key"),
        ("[purpose]\nprofiling = 6", "profiling", "wrong-value"),
    ],
)
def test_a_mistake_is_refused_on_its_line(text, passage, code):
    files = shipped() | {FILE: f"# consents\n{text}\n"}

    assert only(files) == (at(files, FILE, passage), code)


def test_a_broken_file_is_one_mistake():
    assert only(changed(FILE, "\n[ages]\n", "\n[ages\n")) == (at(shipped(), FILE, "[ages]\n"), "toml-syntax")


@pytest.mark.parametrize(
    ("text", "known"),
    [("IE", True), ("US-CA", True), ("XK", True), ("", False), ("XX", False), ("IE-", False), ("IE-ABCD", False)],
)
def test_a_jurisdiction_is_a_country_or_a_part_of_one(text, known):
    assert is_jurisdiction(text) is known
