"""Step 7: whether the legal ground of a purpose holds for one subject now."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.bootstrap import shipped_policies
from vault.catalogue.model import Article9, LegalBasis
from vault.clock import to_microseconds
from vault.consent.legal_ground import RESTRICTED, Ground, may_object, refusal
from vault.consent.model import EXPLICIT, NOTHING, ConsentState, PurposeState
from vault.policy.policy_set import PolicySet

NOON = to_microseconds(datetime(2026, 11, 22, 12, tzinfo=UTC))
HOUR = timedelta(hours=1) // timedelta(microseconds=1)
NOTICE = "text@2"
PURPOSE = PolicySet.from_folder(shipped_policies()).purposes["accounting"]
GIVEN = PurposeState(state="given", since=NOON - HOUR, notice=NOTICE, method="checkbox", by="subject")
bases, conditions = st.sampled_from(LegalBasis), st.sampled_from([None, *Article9])


def ground(basis=LegalBasis.CONSENT, article9=None, *, notices=(NOTICE,), **facts):
    return Ground.of(replace(PURPOSE, name="p", legal_basis=basis, article9=article9, **facts), notices)


def consent_state(said=GIVEN, *, restricted=None, **facts):
    changed = PurposeState(**{name: getattr(said, name) for name in said.__struct_fields__} | facts)
    return ConsentState({"p": changed}, restricted)


def code(ground, state, now=NOON):
    refused = refusal(ground, state, now)
    return None if refused is None else refused.code


@given(bases, conditions)
def test_consent_is_missing_without_events(basis, article9):
    rests = basis == LegalBasis.CONSENT or article9 == Article9.EXPLICIT_CONSENT
    assert code(ground(basis, article9), NOTHING) == ("consent-missing" if rests else None)


@given(bases, conditions)
def test_a_given_consent_satisfies_every_ground(basis, article9):
    assert code(ground(basis, article9), consent_state()) is None


@pytest.mark.parametrize("state", ["none", "pending", "refused", "withdrawn", "expired"])
def test_only_the_state_given_is_a_consent(state):
    assert code(ground(), consent_state(state=state)) == "consent-missing"


@pytest.mark.parametrize("basis", [basis for basis in LegalBasis if basis != LegalBasis.CONSENT])
def test_a_withdrawal_does_not_stop_purposes_on_other_grounds(basis):
    assert code(ground(basis), consent_state(state="withdrawn")) is None


def test_a_consent_to_an_older_notice_counts_while_the_policies_accept_it():
    older = consent_state(notice="text@1")
    assert code(ground(notices=("text@1", "text@2")), older) is None
    assert code(ground(notices=("text@2",)), older) == "consent-missing"
    assert code(ground(notices=()), older) == "consent-missing"


def test_a_consent_expires_at_its_end():
    bounded = consent_state(valid_until=NOON)
    assert code(ground(), bounded, NOON - 1) is None
    assert code(ground(), bounded, NOON) == "consent-missing"


@pytest.mark.parametrize("method", ["button", "settings", "signal", "import", "other", None])
def test_a_special_category_needs_an_explicit_method(method):
    assert code(ground(), consent_state(method=method)) is None
    assert code(ground(article9=Article9.EXPLICIT_CONSENT), consent_state(method=method)) == "consent-missing"


@pytest.mark.parametrize("method", sorted(EXPLICIT))
def test_explicit_methods_satisfy_explicit_consent(method):
    assert code(ground(article9=Article9.EXPLICIT_CONSENT), consent_state(method=method)) is None


def test_a_special_category_needs_its_condition_and_the_basis():
    special = ground(LegalBasis.CONTRACT, Article9.EXPLICIT_CONSENT)
    assert code(special, NOTHING) == "consent-missing"
    assert code(special, consent_state()) is None


@pytest.mark.parametrize(
    ("objection", "expected"), [("pending", "objected"), ("upheld", "objected"), ("overruled", None)]
)
@pytest.mark.parametrize("basis", [LegalBasis.LEGITIMATE_INTEREST, LegalBasis.PUBLIC_TASK])
def test_an_objection_stops_until_it_is_overruled(basis, objection, expected):
    assert code(ground(basis), consent_state(PurposeState(objection=objection))) == expected


def test_an_objection_to_a_consent_purpose_looks_like_missing_consent():
    assert code(ground(), consent_state(objection="upheld")) == "consent-missing"


@given(bases, conditions)
def test_a_restriction_leaves_storage_only(basis, article9):
    assert refusal(ground(basis, article9), consent_state(restricted=NOON), NOON + HOUR) == RESTRICTED


@pytest.mark.parametrize("exception", ["legal-claims", "rights-of-others", "public-interest"])
def test_a_purpose_may_go_on_by_an_exception(exception):
    assert code(ground(LegalBasis.CONTRACT, restriction=exception), ConsentState({}, NOON)) is None


def test_the_consent_exception_needs_a_consent_given_after_the_restriction():
    excepted = ground(restriction="consent")
    assert code(excepted, consent_state(restricted=NOON - 2 * HOUR)) is None
    assert code(excepted, consent_state(restricted=NOON - HOUR)) == "restricted"
    assert code(excepted, consent_state(restricted=NOON)) == "restricted"


def test_a_missing_consent_hides_the_restriction():
    assert code(ground(), ConsentState({}, NOON)) == "consent-missing"


def test_the_refusal_names_the_rule_and_the_remedy():
    refused = refusal(ground(), NOTHING, NOON)
    assert refused.rule == "purposes.toml: p: legal_basis"
    assert "Ask the person" in refused.detail


def test_shipped_purposes_on_consent_are_denied_without_it():
    purposes = PolicySet.from_folder(shipped_policies()).purposes
    denied = {name for name, purpose in purposes.items() if refusal(Ground.of(purpose, ()), NOTHING, NOON) is not None}
    assert denied == {"direct-marketing", "profiling", "loyalty-programme", "health-advice", "partner-advertising"}
    assert denied == {name for name, purpose in purposes.items() if purpose.rests_on_consent}


def test_shipped_interests_and_marketing_may_be_objected_to():
    purposes = PolicySet.from_folder(shipped_policies()).purposes
    open_to = {name for name, purpose in purposes.items() if may_object(purpose)}
    assert open_to == {"fraud-prevention", "service-analytics", "direct-marketing", "partner-advertising"}
