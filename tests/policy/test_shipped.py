"""The shipped policies are those of the design."""

from __future__ import annotations

import pytest

from tests.policy.folders import SHIPPED, shipped
from vault.catalogue.collections import SPECIAL
from vault.catalogue.company import AGES, OTHER_AGE
from vault.catalogue.model import is_within
from vault.policy.decision import Decisions
from vault.policy.policy_set import PolicySet

POLICIES = PolicySet.from_folder(SHIPPED)
DECISIONS = Decisions(POLICIES, "default")

BASES = {
    "order-fulfilment": "contract",
    "customer-support": "contract",
    "complaint-handling": "legal-obligation",
    "accounting": "legal-obligation",
    "subject-rights": "legal-obligation",
    "legal-claims": "legitimate-interest",
    "fraud-prevention": "legitimate-interest",
    "service-analytics": "legitimate-interest",
    "direct-marketing": "consent",
    "partner-advertising": "consent",
    "profiling": "consent",
    "loyalty-programme": "consent",
    "health-advice": "consent",
}
ROLES = {"sales", "marketing", "support", "fulfilment", "finance", "analytics", "dpo", "operator"}
EVERY_VIEW = [view.name for view in POLICIES.catalogue.views()]


def code(role, purpose, name, action="read"):
    return DECISIONS.decide_now((role,), purpose, (name,), action).verdicts[name].code


def test_the_purposes_and_their_grounds_are_those_of_the_design():
    assert {name: str(purpose.legal_basis) for name, purpose in POLICIES.purposes.items()} == BASES
    assert [name for name, purpose in POLICIES.purposes.items() if purpose.minimised] == ["service-analytics"]
    assert POLICIES.purposes["direct-marketing"].notice == "marketing@3"


def test_legal_properties_of_purposes_are_declared():
    def having(key):
        return {name for name, purpose in POLICIES.purposes.items() if getattr(purpose, key)}

    assert having("direct_marketing") == {"direct-marketing", "partner-advertising"}
    assert having("sale_or_share") == {"partner-advertising"}
    assert having("restriction") == {"subject-rights", "legal-claims"}
    assert POLICIES.purposes["legal-claims"].restriction == "legal-claims"
    assert POLICIES.purposes["subject-rights"].restriction == "legal-claims"


def test_notices_of_advertising_exist_in_two_languages():
    for notice in ("marketing@3", "partner-advertising@1"):
        assert list(POLICIES.notices.languages(notice)) == ["en", "de"]


def test_the_shipped_ages_are_those_that_count_without_the_file():
    assert POLICIES.consent.ages == AGES
    assert len(AGES) == 27 + 3 + 2  # the Union, the rest of the Economic Area, two neighbours
    assert all(13 <= age <= OTHER_AGE for age in AGES.values())


def test_the_controller_is_an_example_to_change():
    assert POLICIES.controller.stated
    assert POLICIES.controller.email.endswith(".example")
    assert "CHANGE THIS" in shipped()["controller.toml"]


def test_the_roles_are_those_of_the_design_and_one_that_vouches():
    assert POLICIES.rules.roles == ROLES | {"self-service"}


def test_the_collections_are_those_of_a_retailer():
    assert list(POLICIES.catalogue.collections) == [
        "profile", "interaction", "purchase", "complaint", "offer", "loyalty", "family_member", "social_post",
        "health_note", "political_view",
    ]  # fmt: skip


def test_special_categories_are_marked_restricted_and_have_no_index():
    special = [field for field in POLICIES.catalogue.fields() if field.special]

    assert {field.whole for field in special} == {
        "profile.health_notes", "health_note.topic", "health_note.body", "political_view.leaning", "political_view.source",
    }  # fmt: skip
    assert all(field.sensitivity == "restricted" and not field.indexes for field in special)
    assert all(is_within(field.category, *SPECIAL) for field in special)


@pytest.mark.parametrize(
    ("role", "purpose", "name", "action", "wanted"),
    [
        ("support", "customer-support", "email.masked", "read", "granted"),
        ("support", "customer-support", "email", "read", "not-granted"),
        ("support", "customer-support", "email", "search", "granted"),
        ("support", "customer-support", "phone", "search", "granted"),
        ("support", "customer-support", "name", "search", "granted"),
        ("support", "customer-support", "name", "read", "granted"),
        ("support", "customer-support", "complaint.body", "read", "granted"),
        ("support", "customer-support", "interaction.body", "write", "granted"),
        ("support", "customer-support", "email", "write", "granted"),
        ("support", "customer-support", "health_notes", "read", "purpose-excludes-field"),
        ("support", "health-advice", "health_notes", "read", "granted"),
        ("sales", "customer-support", "email.masked", "read", "granted"),
        ("sales", "health-advice", "health_notes", "read", "denied-by-rule"),
        ("sales", "order-fulfilment", "address", "write", "granted"),
        ("sales", "order-fulfilment", "birth_date", "write", "granted"),
        ("fulfilment", "order-fulfilment", "name", "read", "granted"),
        ("fulfilment", "order-fulfilment", "address", "read", "granted"),
        ("fulfilment", "order-fulfilment", "email", "read", "granted"),
        ("fulfilment", "order-fulfilment", "birth_date.over_18", "read", "granted"),
        ("fulfilment", "order-fulfilment", "birth_date", "read", "purpose-excludes-field"),
        ("fulfilment", "order-fulfilment", "health_notes", "read", "purpose-excludes-field"),
        ("fulfilment", "order-fulfilment", "purchase.amount", "write", "granted"),
        ("fulfilment", "order-fulfilment", "external_ids", "write", "granted"),
        ("fulfilment", "customer-support", "name", "read", "not-granted"),
        ("marketing", "direct-marketing", "email", "read", "granted"),
        ("marketing", "direct-marketing", "iban", "read", "purpose-excludes-field"),
        ("marketing", "order-fulfilment", "email", "read", "denied-by-rule"),
        ("marketing", "customer-support", "email.masked", "read", "denied-by-rule"),
        ("marketing", "partner-advertising", "email", "read", "granted"),
        ("marketing", "partner-advertising", "preferences", "read", "granted"),
        ("marketing", "partner-advertising", "name", "read", "purpose-excludes-field"),
        ("sales", "partner-advertising", "email", "read", "not-granted"),
        ("marketing", "profiling", "political_view.leaning", "read", "granted"),
        ("analytics", "service-analytics", "birth_date.year", "read", "granted"),
        ("analytics", "service-analytics", "birth_date.age_band", "read", "granted"),
        ("analytics", "service-analytics", "birth_date", "read", "purpose-excludes-field"),
        ("analytics", "service-analytics", "email.domain", "read", "granted"),
        ("analytics", "service-analytics", "email", "search", "purpose-excludes-field"),
        ("analytics", "service-analytics", "purchase.product", "read", "purpose-excludes-field"),
        ("finance", "accounting", "iban", "read", "granted"),
        ("finance", "fraud-prevention", "national_id", "search", "granted"),
    ],
)
def test_a_role_is_granted_what_its_work_needs(role, purpose, name, action, wanted):
    assert code(role, purpose, name, action) == wanted


@pytest.mark.parametrize("action", ["read", "write", "search"])
@pytest.mark.parametrize("purpose", list(BASES))
def test_an_operator_sees_no_personal_data(purpose, action):
    assert DECISIONS.decide_now(("operator",), purpose, tuple(EVERY_VIEW), action).granted == ()


def test_the_dpo_reads_everything_to_answer_people_and_for_claims_and_for_nothing_else():
    everything, own = tuple(EVERY_VIEW), {"subject-rights", "legal-claims"}

    for purpose in own:
        assert not DECISIONS.decide_now(("dpo",), purpose, everything, "read").refused
    for purpose in BASES.keys() - own:
        assert not DECISIONS.decide_now(("dpo",), purpose, everything, "read").granted


def test_only_three_roles_read_special_categories_and_each_for_its_own_purpose():
    special = tuple(view.name for view in POLICIES.catalogue.views() if view.field.special)
    readers = {
        (role, purpose)
        for role in ROLES
        for purpose in BASES
        if DECISIONS.decide_now((role,), purpose, special, "read").granted
    }

    own = {("support", "health-advice"), ("marketing", "profiling")}
    assert readers == {*own, ("dpo", "subject-rights"), ("dpo", "legal-claims")}


def test_every_rule_that_allows_can_take_effect():
    idle = []
    for rule in POLICIES.rules.rules:
        if rule.effect == "allow" and not rule.resource.startswith("vault:"):
            covered = tuple(POLICIES.catalogue.covered([rule.resource]))
            if not DECISIONS.decide_now((rule.role,), rule.purpose, covered, rule.action).granted:
                idle.append(str(rule))

    assert idle == []


def test_every_file_says_at_its_top_what_it_is_for():
    for name, text in shipped().items():
        if not name.startswith("notices/"):
            assert text.startswith("# "), name
