"""An erasure keeps only the values that an applicable legal obligation needs, and only for its period."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from uuid import UUID

import pytest

from vault.bootstrap import shipped_policies
from vault.catalogue.model import LegalClaim
from vault.consent.model import NOTHING
from vault.erasure.verdict import purposes_kept_for, summarize, verdicts
from vault.policy.policy_set import PolicySet
from vault.retention.clocks import Clocks
from vault.retention.ends import Value, ends_of

TODAY = date(2026, 3, 5)
PROFILE = UUID(int=1)


@pytest.fixture(scope="module")
def policies():
    return PolicySet.from_folder(Path(shipped_policies()))


def day(text: str) -> int:
    return date.fromisoformat(text).toordinal()


def profile(*fields: str, purpose="order-fulfilment", on="2025-01-10"):
    values = {name: Value(f"profile.{name}", day(on), purpose, None, day(on)) for name in fields}
    return ("profile", PROFILE), values


def record(collection: str, on: str, *fields: str, number=2):
    collected = day("2026-03-01")
    values = {name: Value(f"{collection}.{name}", day(on), "order-fulfilment", None, collected) for name in fields}
    return (collection, UUID(int=number)), values


def verdicts_on(policies, *items, claims=(), scope=lambda _whole: True, events=(), today=TODAY):
    newest: dict[str, int] = {}
    for (collection, _record), values in items:
        for value in values.values():
            newest[collection] = max(newest.get(collection, 0), value.start)
    clocks = Clocks(newest, {name: day(on) for name, on in events})
    now = datetime(today.year, today.month, today.day, 12, tzinfo=UTC)
    return verdicts(ends_of(policies, NOTHING, clocks, now), dict(items), scope, claims, today)


def kept(policies, *items, **how):
    return {
        f"{collection}.{field}": {(keep.purpose or keep.ground, str(keep.until)) for keep in keeps}
        for (collection, _record), fields in verdicts_on(policies, *items, **how).items()
        for field, keeps in fields.items()
        if keeps
    }


def test_without_an_obligation_nothing_is_kept(policies):
    assert kept(policies, profile("name", "email", "iban", "billing_address", "external_ids")) == {}


def test_the_data_subject_rights_purpose_keeps_nothing(policies):
    assert kept(policies, profile("name", purpose="subject-rights", on="2026-03-01")) == {}


def test_accounting_keeps_each_purchase_by_its_own_date_and_the_profile_fields_it_needs(policies):
    result = kept(
        policies,
        profile("name", "email", "iban", "phone"),
        record("purchase", "2016-03-10", "amount", number=2),
        record("purchase", "2020-06-01", "order", number=3),
    )
    assert result == {
        "profile.name": {("accounting", "2030-06-01")},
        "profile.iban": {("accounting", "2030-06-01")},
        "purchase.amount": {("accounting", "2026-03-10")},
        "purchase.order": {("accounting", "2030-06-01")},
    }


@pytest.mark.parametrize(("on", "is_kept"), [("2016-03-04", False), ("2016-03-05", True), ("2016-03-06", True)])
def test_the_last_day_of_a_period_still_counts(policies, on, is_kept):
    result = kept(policies, profile("name"), record("purchase", on, "amount"))
    assert set(result) == ({"profile.name", "purchase.amount"} if is_kept else set())


def test_interactions_are_kept_for_complaints_only_of_subjects_with_a_complaint(policies):
    said = record("interaction", "2026-01-10", "body")
    assert kept(policies, profile("email"), said) == {}
    result = kept(policies, profile("email", "occupation"), said, record("complaint", "2025-09-01", "body", number=3))
    assert result == {
        "interaction.body": {("complaint-handling", "2029-01-10")},
        "complaint.body": {("complaint-handling", "2028-09-01")},
        "profile.email": {("complaint-handling", "2028-09-01")},
    }


def test_a_field_that_two_laws_need_is_kept_for_both(policies):
    items = (
        profile("name"),
        record("purchase", "2026-01-10", "amount"),
        record("complaint", "2026-01-10", "body", number=3),
    )
    assert kept(policies, *items)["profile.name"] == {
        ("accounting", "2036-01-10"),
        ("complaint-handling", "2029-01-10"),
    }


def test_a_field_collected_for_the_obligation_is_kept_by_its_own_date(policies):
    result = kept(policies, profile("iban", "email", purpose="accounting", on="2025-01-10"))
    assert result == {"profile.iban": {("accounting", "2035-01-10")}}


def test_shipped_policies_keep_no_special_category(policies):
    items = record("health_note", "2026-01-10", "body"), record("political_view", "2026-01-10", "leaning", number=3)
    assert kept(
        policies, profile("health_notes"), record("purchase", "2026-01-10", "amount", number=4), *items
    ).keys() == {"purchase.amount"}


def test_undeclared_field_is_erased(policies):
    assert kept(policies, record("purchase", "2026-01-10", "amount", "shoe_size")).keys() == {"purchase.amount"}


def test_legal_claims_keep_named_fields_until_their_day(policies):
    items = profile("phone", "email"), record("complaint", "2010-01-10", "body", "subject")
    claims = [
        LegalClaim(("profile.phone", "complaint.*"), date(2028, 12, 31)),
        LegalClaim(("profile.email",), date(2026, 3, 4)),
    ]
    assert kept(policies, *items, claims=claims) == {
        "profile.phone": {("legal-claims", "2028-12-31")},
        "complaint.body": {("legal-claims", "2028-12-31")},
        "complaint.subject": {("legal-claims", "2028-12-31")},
    }


def test_a_field_out_of_scope_has_no_verdict_but_still_triggers_the_obligation(policies):
    items = profile("name", "email"), record("purchase", "2026-01-10", "amount")
    result = verdicts_on(policies, *items, scope=lambda whole: whole.startswith("profile."))
    assert result.keys() == {("profile", PROFILE)}
    assert purposes_kept_for(result) == ("accounting",)
    answers = {(line.field, line.ground, line.article, line.purpose, line.records) for line in summarize(result)}
    assert answers == {
        ("profile.email", None, None, None, 1),
        ("profile.name", "legal-obligation", "17(3)(b)", "accounting", 1),
    }
