"""Invalid purposes are refused, with each mistake on its line."""

from __future__ import annotations

from datetime import date

import pytest

from tests.policy.folders import at, changed, findings_of, only, shipped
from vault.catalogue.model import Article9, Article18, LegalBasis
from vault.policy.policy_set import PolicySet

FILE = "purposes.toml"


def test_a_purpose_is_read_as_declared():
    purpose = PolicySet.load(shipped()).purposes["health-advice"]

    assert purpose.legal_basis is LegalBasis.CONSENT
    assert purpose.article9 is Article9.EXPLICIT_CONSENT
    assert purpose.owner == "Pharmacy"
    assert purpose.notice == "health-advice@1"
    assert "health_note.*" in purpose.needs
    assert purpose.valid_from is None


def test_purpose_has_first_and_last_day():
    files = changed(FILE, "[accounting]", "[accounting]\nvalid_from = 2026-01-01\nvalid_until = 2027-12-31")
    purpose = PolicySet.load(files).purposes["accounting"]

    assert (purpose.valid_from, purpose.valid_until) == (date(2026, 1, 1), date(2027, 12, 31))


@pytest.mark.parametrize(
    ("old", "new", "passage", "code"),
    [
        ('  "language",\n', '  "langauge",\n', '"langauge"', "unknown-field"),
        ('"birth_date.over_18"', '"birth_date.over_21"', '"birth_date.over_21"', "unknown-field"),
        ('"birth_date.over_18"', '"birth_date.decade"', '"birth_date.decade"', "unknown-field"),
        ('  "purchase.*",\n', '  "purchases.*",\n', '"purchases.*"', "unknown-field"),
        ('  "purchase.*",\n', '  "*",\n', '"*"', "too-wide"),
        ('  "language",\n', '  "name",\n', '"name",\n  "birth_date', "duplicate"),
        ('  "language",\n', '  "profile.name",\n', '"profile.name"', "duplicate"),
        ('  "language",\n', '  "Language",\n', '"Language"', "unknown-field"),
        ('  "language",\n', "  7,\n", "7,", "wrong-value"),
        ('  "language",\n', '  "health_notes",\n', '"health_notes"', "special-without-condition"),
        ('  "language",\n', '  "health_note.*",\n', '"health_note.*"', "special-without-condition"),
        ('legal_basis = "contract"', 'legal_basis = "contrat"', 'legal_basis = "contrat"', "wrong-value"),
        ('legal_basis = "contract"\n', "", "[order-fulfilment]", "missing-key"),
        ('legal_basis = "contract"', 'legal_basis = "consent"', "[order-fulfilment]", "consent-without-notice"),
        ('legal_basis = "contract"', 'legal_basis = "legal-obligation"', "[order-fulfilment]", "missing-key"),
        ('legal_basis = "contract"', 'legal_basis = "legitimate-interest"', "[order-fulfilment]", "missing-key"),
        ('owner = "Fulfilment"\n', "", "[order-fulfilment]", "missing-key"),
        ('owner = "Fulfilment"', 'ownr = "F"\nowner = "Fulfilment"', "ownr", "unknown-key"),
        ('owner = "Fulfilment"', 'owner = "F"\nnotice = "marketing@3"', "notice =", "wrong-value"),
        ('owner = "Fulfilment"', 'owner = "F"\narticle9 = "explicit"', "article9 =", "wrong-value"),
        ('owner = "Fulfilment"', 'owner = "F"\nvalid_from = "2026-01-01"', "valid_from =", "wrong-value"),
        ('owner = "Fulfilment"', 'owner = "F"\nvalid_from = 2026-01-01T00:00:00Z', "valid_from =", "wrong-value"),
        (
            'owner = "Fulfilment"',
            'owner = "F"\nvalid_from = 2026-02-01\nvalid_until = 2026-01-31',
            "valid_until =",
            "wrong-value",
        ),
        ('owner = "Fulfilment"', 'owner = "F"\nsale_or_share = true', "sale_or_share", "wrong-value"),
        ('owner = "Fulfilment"', 'owner = "F"\ndirect_marketing = 1', "direct_marketing", "wrong-value"),
        ('owner = "Fulfilment"', 'owner = "F"\nrestriction = "consent"', "restriction", "wrong-value"),
        ('owner = "Fulfilment"', 'owner = "F"\nrestriction = "any"', "restriction", "wrong-value"),
        (
            'owner = "Fulfilment"',
            'owner = "F"\narticle9 = "explicit-consent"',
            "[order-fulfilment]",
            "consent-without-notice",
        ),
        ('owner = "Fulfilment"', 'owner = "F"\nminimised = "yes"', "minimised =", "wrong-value"),
        (
            'recipients = ["parcel services", "payment services"]',
            'recipients = "parcel services"',
            'recipients = "p',
            "wrong-value",
        ),
    ],
)
def test_a_mistake_in_a_purpose_is_refused_on_its_line(old, new, passage, code):
    text = shipped()[FILE]
    head, tail = text.split("[order-fulfilment]", 1)
    assert old in tail
    files = shipped() | {FILE: head + "[order-fulfilment]" + tail.replace(old, new, 1)}

    assert only(files) == (at(files, FILE, passage, after=head), code)


def test_explicit_consent_to_a_special_category_is_possible_with_any_basis_and_needs_a_notice():
    files = shipped()
    text = 'article9 = "explicit-consent"\nnotice = "orders@1"\nrestriction = "consent"\n'
    files[FILE] = files[FILE].replace('owner = "Fulfilment"\n', f'owner = "Fulfilment"\n{text}')
    files["notices/orders@1.md"] = (
        files["notices/loyalty@1.md"].replace("loyalty@1", "orders@1").replace("loyalty-programme", "order-fulfilment")
    )
    policies = PolicySet.load(files)
    purpose = policies.purposes["order-fulfilment"]

    assert purpose.rests_on_consent
    assert purpose.restriction is Article18.CONSENT
    assert policies.notices.accepted(purpose, date(2026, 3, 5)) == {"orders@1"}
    assert only({path: text for path, text in files.items() if "orders" not in path}) == (
        at(files, FILE, 'notice = "orders@1"'),
        "consent-without-notice",
    )


def test_a_purpose_without_needs_is_refused():
    files = shipped()
    files[FILE] += '\n[nothing]\ntitle = "t"\ndescription = "d"\nlegal_basis = "contract"\nowner = "o"\n'

    assert only(files) == (at(files, FILE, "[nothing]"), "missing-key")


def test_a_purpose_with_an_empty_list_of_needs_is_refused():
    files = shipped()
    files[FILE] += '\n[nothing]\ntitle = "t"\ndescription = "d"\nlegal_basis = "contract"\nowner = "o"\nneeds = []\n'

    assert only(files) == (at(files, FILE, "needs = []"), "wrong-value")


@pytest.mark.parametrize(
    "name", ["birth_date", "birth_date.clear", "email", "address.clear", "interaction.*", "profile.*"]
)
def test_a_minimised_purpose_may_not_need_identifying_fields(name):
    files = changed(FILE, '  "birth_date.year",\n', f'  "{name}",\n')
    codes = [(f"{finding.file}:{finding.line}", finding.code) for finding in findings_of(files)]

    assert (at(files, FILE, f'"{name}"', after="minimised = true\n"), "minimised-needs-clear") in codes


def test_a_minimised_purpose_may_need_coarse_views():
    PolicySet.load(changed(FILE, '  "email.domain",\n', '  "purchase.*",\n'))


def test_a_purpose_whose_name_could_be_misread_is_refused():
    files = shipped()
    files[FILE] += (
        '\n["Order fulfilment"]\ntitle = "t"\ndescription = "d"\nlegal_basis = "contract"\nowner = "o"\nneeds = ["name"]\n'
    )

    assert only(files) == (at(files, FILE, '["Order fulfilment"]'), "wrong-name")


def test_the_remedy_for_an_unknown_view_lists_the_views_of_the_field():
    (finding,) = findings_of(changed(FILE, '"birth_date.over_18"', '"birth_date.over_21"'))

    assert "[field.profile.birth_date]" in finding.remedy
    assert "over_16, over_18" in finding.remedy


def test_purpose_that_collects_nothing_justifies_no_field():
    files = changed(FILE, "collects = false", "collects = true")
    files["retention.toml"] = files["retention.toml"].replace(
        'most = "P1Y"', 'most = "P3Y"'
    )  # as long as it would keep
    files["catalogue.toml"] += (
        '\n[field.profile.shoe]\ntitle = "S"\ntype = "text"\ncategory = "user"\ndpv = "pd:X"\nsensitivity = "internal"\n'
    )

    PolicySet.load(files)  # it would, if it said so

    assert only(files | {FILE: shipped()[FILE]})[1] == "field-unneeded"


def test_a_broken_catalogue_makes_no_further_findings_about_names():
    assert only(shipped() | {"catalogue.toml": "x ="}) == ("catalogue.toml:1", "toml-syntax")


def test_broken_purposes_make_no_further_findings_about_names():
    assert only(shipped() | {FILE: "x ="}) == (f"{FILE}:1", "toml-syntax")
