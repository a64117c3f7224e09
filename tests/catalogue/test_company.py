"""Reading controller.toml, consent.toml and requests.toml."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from tests.policy.folders import at, changed, only, shipped
from vault.catalogue.company import (
    AGES,
    APPROVAL_RULES,
    SAFEST,
    Approve,
    ConsentRules,
    Contact,
    RequestRules,
    is_jurisdiction,
    load_requests,
)
from vault.catalogue.toml_document import Document, Findings
from vault.catalogue.types.dates import over
from vault.policy.policy_set import PolicySet

CONTROLLER = "controller.toml"
CONSENT = "consent.toml"
SHIPPED_REQUESTS = Path(__file__).parents[2] / "policies" / "requests.toml"


def test_a_controller_is_read_as_declared():
    text = shipped()[CONTROLLER] + '\n[representative]\nname = "R"\nemail = "r@example.org"\naddress = "Berlin"\n'
    controller = PolicySet.load(shipped() | {CONTROLLER: text}).controller

    assert controller.stated
    assert (controller.name, controller.country) == ("Example Retail Ltd", "IE")
    assert controller.privacy_policy == "https://retail.example/privacy"
    assert controller.dpo == Contact("Data Protection Officer", "dpo@retail.example")
    assert controller.representative == Contact("R", "r@example.org", "Berlin")


def test_controller_is_unstated_without_a_file():
    files = shipped()
    del files[CONTROLLER]
    controller = PolicySet.load(files).controller

    assert not controller.stated
    assert (controller.name, controller.dpo) == ("", None)


@pytest.mark.parametrize(
    ("old", "new", "passage", "code"),
    [
        ('name = "Example Retail Ltd"\n', "", "# Who", "missing-key"),
        ('country = "IE"', 'country = "Ireland"', "country", "wrong-value"),
        ('country = "IE"', 'country = "UK"', "country", "wrong-value"),
        ('email = "privacy@retail.example"', 'email = "privacy"', "email", "wrong-value"),
        ('email = "dpo@retail.example"', 'email = "dpo@"', 'email = "dpo@"', "wrong-value"),
        ('email = "dpo@retail.example"\n', "", "[dpo]", "missing-key"),
        ('url = "https://retail.example"', 'url = "retail.example"', "url", "wrong-value"),
        ('privacy_policy = "https', 'privacy_policy = "ftp', "privacy_policy", "wrong-value"),
        ("phone =", "telephone =", "telephone", "unknown-key"),
        ("[dpo]", "[dpo]\nfax = '1'", "fax", "unknown-key"),
    ],
)
def test_mistake_in_the_controller_is_refused_on_its_line(old, new, passage, code):
    files = changed(CONTROLLER, old, new)

    assert only(files) == (at(files, CONTROLLER, passage), code)


# ---- consent.toml


def consent_rules(text):
    return PolicySet.load(shipped() | {CONSENT: text}).consent


def test_consent_rules_default_without_a_file():
    files = shipped()
    del files[CONSENT]
    consent = PolicySet.load(files).consent

    assert (consent.default_jurisdiction, consent.ages, consent.age(None)) == (None, AGES, 16)
    assert (consent.backdate, consent.confirm) == (timedelta(days=30), timedelta(hours=48))
    assert consent.expiry("direct-marketing", date(2026, 3, 5)) is None


def test_empty_consent_file_has_the_defaults():
    assert consent_rules("").age("AT") == 14
    assert consent_rules("").confirm == timedelta(hours=48)


@pytest.mark.parametrize(
    ("jurisdiction", "age"),
    [("AT", 14), ("FR", 15), ("DE", 16), ("GB", 13), ("GB-SCT", 13), ("US", 16), ("US-CA", 17), (None, 15), ("ZZ", 16)],
)
def test_age_of_consent_of_a_region_its_country_or_the_default(jurisdiction, age):
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
def test_guardian_is_needed_until_the_birthday(born, day, needed):
    assert ConsentRules().needs_guardian(born, day, "AT") is needed
    assert over(born.isoformat(), day, 14) is not needed  # the same rule as that of the views


def test_age_of_consent_depends_on_the_country():
    born, day = date(2012, 3, 5), date(2026, 3, 5)

    assert not ConsentRules().needs_guardian(born, day, "AT")
    assert ConsentRules().needs_guardian(born, day, "DE")
    assert ConsentRules().needs_guardian(born, day, None)


def test_consent_file_overrides_the_defaults():
    consent = consent_rules(
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
def test_mistake_in_consent_rules_is_refused_on_its_line(text, passage, code):
    files = shipped() | {CONSENT: f"# consents\n{text}\n"}

    assert only(files) == (at(files, CONSENT, passage), code)


def test_invalid_toml_is_one_finding():
    assert only(changed(CONSENT, "\n[ages]\n", "\n[ages\n")) == (at(shipped(), CONSENT, "[ages]\n"), "toml-syntax")


@pytest.mark.parametrize(
    ("text", "known"),
    [("IE", True), ("US-CA", True), ("XK", True), ("", False), ("XX", False), ("IE-", False), ("IE-ABCD", False)],
)
def test_a_jurisdiction_is_a_country_or_a_part_of_one(text, known):
    assert is_jurisdiction(text) is known


# ---- requests.toml


def load_text(text):
    findings = Findings()
    return load_requests(Document("requests.toml", text, findings)), [
        (finding.line, finding.code) for finding in findings.sorted()
    ]


def test_defaults_approve_nothing_automatically_and_need_two_for_an_erasure():
    rules = RequestRules()
    assert {rules.approval(rule) for rule in APPROVAL_RULES if rule != "erasure"} == {Approve.REVIEW}
    assert rules.approval("erasure") == Approve.FOUR_EYES
    assert rules.approval("something new") == Approve.FOUR_EYES


def test_empty_requests_file_has_the_defaults():
    rules, result = load_text("")
    assert result == []
    assert rules.approve == SAFEST
    assert (rules.internal_days, rules.unverified_days, rules.package_days) == (7, 14, 14)
    assert rules.contact_days == 14


def test_shipped_file_approves_harmless_kinds_automatically():
    rules, result = load_text(SHIPPED_REQUESTS.read_text())
    assert result == []
    automatic = {rule for rule in APPROVAL_RULES if rules.approval(rule) == Approve.AUTOMATIC}
    assert automatic == {"access", "portability", "withdrawal", "objection-to-direct-marketing"}
    assert rules.languages == ("en", "de", "fr")


def test_stated_rules_apply_and_others_have_safe_defaults():
    rules, result = load_text('package_days = 3\ndefault_jurisdiction = "DE-BY"\n[approve]\naccess = "four-eyes"\n')
    assert result == []
    assert (rules.package_days, rules.default_jurisdiction) == (3, "DE-BY")
    assert rules.approval("access") == Approve.FOUR_EYES
    assert rules.approval("erasure") == Approve.FOUR_EYES
    assert rules.approval("portability") == Approve.REVIEW


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("internal_days = 30", "wrong-value"),
        ("internal_days = -1", "wrong-value"),
        ("unverified_days = 0", "wrong-value"),
        ('package_days = "14"', "wrong-value"),
        ('default_jurisdiction = "Bavaria"', "wrong-value"),
        ('default_jurisdiction = "XX"', "wrong-value"),
        ('languages = ["Deutsch"]', "wrong-value"),
        ("packge_days = 3", "unknown-key"),
        ('approve = "automatic"', "wrong-value"),
    ],
)
def test_mistake_in_requests_is_reported_on_its_line(text, code):
    rules, result = load_text(f"# a comment\n{text}\n")
    assert result == [(2, code)]
    assert rules.approve == SAFEST


@pytest.mark.parametrize("text", ['acess = "automatic"', 'access = "always"', "access = true"])
def test_invalid_approval_falls_back_to_the_safest(text):
    rules, result = load_text(f"[approve]\n{text}\n")
    assert result == [(2, "wrong-value")]
    assert rules.approval("access") == Approve.REVIEW


@pytest.mark.parametrize(
    ("asked", "answered"), [("de", "de"), ("de-AT", "de"), ("FR", "fr"), ("it", "en"), (None, "en"), ("deu", "en")]
)
def test_answer_is_in_the_preferred_language_if_supported(asked, answered):
    assert RequestRules().language(asked) == answered
