"""Step 7: whether the legal ground of a purpose holds for one person, now."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.bootstrap import shipped_policies
from vault.catalogue.model import Article9, LegalBasis
from vault.clock import to_microseconds
from vault.consent.event import EXPLICIT
from vault.consent.legal_ground import RESTRICTED, Ground, may_object, refusal
from vault.consent.state import NOTHING, ConsentState, PurposeStanding
from vault.policy.policy_set import PolicySet

NOON = to_microseconds(datetime(2026, 11, 22, 12, tzinfo=UTC))
HOUR = timedelta(hours=1) // timedelta(microseconds=1)
NOTICE = "text@2"
PURPOSE = PolicySet.from_folder(shipped_policies()).purposes["accounting"]
GIVEN = PurposeStanding(state="given", since=NOON - HOUR, notice=NOTICE, method="checkbox", by="subject")
bases, conditions = st.sampled_from(LegalBasis), st.sampled_from([None, *Article9])


def ground(basis=LegalBasis.CONSENT, article9=None, *, notices=(NOTICE,), **facts):
    return Ground.of(replace(PURPOSE, name="p", legal_basis=basis, article9=article9, **facts), notices)


def standing(said=GIVEN, *, restricted=None, **facts):
    changed = PurposeStanding(**{name: getattr(said, name) for name in said.__struct_fields__} | facts)
    return ConsentState({"p": changed}, restricted)


def code(ground, standing, now=NOON):
    refused = refusal(ground, standing, now)
    return None if refused is None else refused.code


@given(bases, conditions)
def test_consent_and_explicit_consent_are_missing_where_nothing_was_said(basis, article9):
    rests = basis == LegalBasis.CONSENT or article9 == Article9.EXPLICIT_CONSENT
    assert code(ground(basis, article9), NOTHING) == ("consent-missing" if rests else None)


@given(bases, conditions)
def test_what_was_given_holds_on_every_ground(basis, article9):
    assert code(ground(basis, article9), standing()) is None


@pytest.mark.parametrize("state", ["none", "pending", "refused", "withdrawn", "expired"])
def test_only_a_given_consent_is_one(state):
    assert code(ground(), standing(state=state)) == "consent-missing"


@pytest.mark.parametrize("basis", [each for each in LegalBasis if each != LegalBasis.CONSENT])
def test_to_withdraw_stops_nothing_that_rests_on_another_ground(basis):
    assert code(ground(basis), standing(state="withdrawn")) is None


def test_a_consent_to_an_older_text_is_good_as_long_as_the_policies_say_so():
    older = standing(notice="text@1")
    assert code(ground(notices=("text@1", "text@2")), older) is None
    assert code(ground(notices=("text@2",)), older) == "consent-missing"
    assert code(ground(notices=()), older) == "consent-missing"


def test_a_consent_ends_at_its_moment():
    bounded = standing(valid_until=NOON)
    assert code(ground(), bounded, NOON - 1) is None
    assert code(ground(), bounded, NOON) == "consent-missing"


@pytest.mark.parametrize("method", ["button", "settings", "signal", "import", "other", None])
def test_a_special_category_needs_a_consent_in_so_many_words(method):
    assert code(ground(), standing(method=method)) is None
    assert code(ground(article9=Article9.EXPLICIT_CONSENT), standing(method=method)) == "consent-missing"


@pytest.mark.parametrize("method", sorted(EXPLICIT))
def test_a_consent_in_so_many_words_is_explicit(method):
    assert code(ground(article9=Article9.EXPLICIT_CONSENT), standing(method=method)) is None


def test_a_special_category_needs_its_condition_and_the_basis():
    special = ground(LegalBasis.CONTRACT, Article9.EXPLICIT_CONSENT)
    assert code(special, NOTHING) == "consent-missing"
    assert code(special, standing()) is None


@pytest.mark.parametrize(
    ("objection", "expected"), [("pending", "objected"), ("upheld", "objected"), ("overruled", None)]
)
@pytest.mark.parametrize("basis", [LegalBasis.LEGITIMATE_INTEREST, LegalBasis.PUBLIC_TASK])
def test_an_objection_stops_until_it_is_overruled(basis, objection, expected):
    assert code(ground(basis), standing(PurposeStanding(objection=objection))) == expected


def test_an_objection_to_what_rests_on_consent_tells_nothing_of_itself():
    assert code(ground(), standing(objection="upheld")) == "consent-missing"


@given(bases, conditions)
def test_a_restriction_leaves_storage_only(basis, article9):
    assert refusal(ground(basis, article9), standing(restricted=NOON), NOON + HOUR) == RESTRICTED


@pytest.mark.parametrize("exception", ["legal-claims", "rights-of-others", "public-interest"])
def test_a_purpose_may_go_on_by_an_exception(exception):
    assert code(ground(LegalBasis.CONTRACT, restriction=exception), ConsentState({}, NOON)) is None


def test_by_the_exception_of_consent_only_one_given_since_then_counts():
    excepted = ground(restriction="consent")
    assert code(excepted, standing(restricted=NOON - 2 * HOUR)) is None
    assert code(excepted, standing(restricted=NOON - HOUR)) == "restricted"
    assert code(excepted, standing(restricted=NOON)) == "restricted"


def test_who_lacks_the_consent_does_not_learn_of_the_restriction():
    assert code(ground(), ConsentState({}, NOON)) == "consent-missing"


def test_the_refusal_names_rule_and_remedy():
    refused = refusal(ground(), NOTHING, NOON)
    assert refused.rule == "purposes.toml: p: legal_basis"
    assert "Ask the person" in refused.detail


def test_of_the_shipped_purposes_those_that_rest_on_consent_are_denied_without_it():
    purposes = PolicySet.from_folder(shipped_policies()).purposes
    denied = {name for name, each in purposes.items() if refusal(Ground.of(each, ()), NOTHING, NOON) is not None}
    assert denied == {"direct-marketing", "profiling", "loyalty-programme", "health-advice", "partner-advertising"}
    assert denied == {name for name, each in purposes.items() if each.rests_on_consent}


def test_of_the_shipped_purposes_interests_and_marketing_may_be_objected_to():
    purposes = PolicySet.from_folder(shipped_policies()).purposes
    open_to = {name for name, each in purposes.items() if may_object(each)}
    assert open_to == {"fraud-prevention", "service-analytics", "direct-marketing", "partner-advertising"}
