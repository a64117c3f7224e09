"""Step 7: whether the legal ground of a purpose holds for one person, now."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.bootstrap import shipped_policies
from vault.catalogue.terms import Article9, LegalBasis
from vault.consent.ground import refusal
from vault.policy.policy_set import PolicySet

BASES = [str(basis) for basis in LegalBasis]
CONDITIONS = [None, *map(str, Article9)]


@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize("article9", CONDITIONS)
def test_consent_and_explicit_consent_hold_only_where_the_person_gave_it(basis, article9):
    rests_on_consent = basis == "consent" or article9 == "explicit-consent"
    assert refusal("p", basis, article9, consented=True) is None
    refused = refusal("p", basis, article9, consented=False)
    assert (refused is not None) is rests_on_consent


def test_the_refusal_names_code_rule_and_remedy():
    refused = refusal("direct-marketing", "consent", None, consented=False)
    assert refused.code == "consent-missing"
    assert refused.rule == "purposes.toml: direct-marketing: legal_basis"
    assert "Ask the person" in refused.detail


@given(st.text(min_size=1), st.sampled_from(BASES), st.sampled_from(CONDITIONS))
def test_it_says_the_same_of_every_person(purpose, basis, article9):
    """Nothing of the person is handed in, so nothing can come out."""
    first = refusal(purpose, basis, article9, consented=False)
    assert first == refusal(purpose, basis, article9, consented=False)


def test_of_the_shipped_purposes_those_that_rest_on_consent_are_denied_without_it():
    purposes = PolicySet.from_folder(shipped_policies()).purposes
    denied = {
        name
        for name, each in purposes.items()
        if refusal(name, each.legal_basis, each.article9, consented=False) is not None
    }
    assert denied == {"direct-marketing", "profiling", "loyalty-programme", "health-advice"}
    assert all(re.fullmatch(r"[a-z-]+", name) for name in denied)
