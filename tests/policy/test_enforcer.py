"""The index in front of casbin does not change its answers, for any rules."""

from __future__ import annotations

import logging

import casbin
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.policy.folders import shipped, with_rules
from vault.catalogue.model import covers
from vault.policy.enforcer import Enforcer
from vault.policy.policy_set import PolicySet
from vault.policy.rules import Rule, RuleTable

MODEL = shipped()["model.conf"]
ROLES = ["a", "b", "c", "d"]
TENANTS = ["one", "two"]
ACTIONS = ["read", "write", "search"]
PURPOSES = ["p1", "p2"]
VIEWS = ["profile.email.clear", "profile.email.masked", "profile.email_secondary.clear", "purchase.amount.clear"]
GRANTED = [*VIEWS, "profile.email", "profile.*", "purchase.*", "purchase.amount", "*", "vault:audit"]

rules = st.builds(
    Rule,
    st.sampled_from(ROLES),
    st.sampled_from(["*", *TENANTS]),
    st.sampled_from(GRANTED),
    st.sampled_from(ACTIONS),
    st.sampled_from(["*", *PURPOSES]),
    st.sampled_from(["allow", "allow", "deny"]),
    st.just(0),
    st.just(""),
)
links = st.dictionaries(st.sampled_from(ROLES), st.frozensets(st.sampled_from(ROLES), max_size=2), max_size=3)
requests = st.tuples(
    st.sampled_from([*ROLES, "stranger"]),
    st.sampled_from([*TENANTS, "three"]),
    st.sampled_from([*VIEWS, "vault:audit"]),
    st.sampled_from(ACTIONS),
    st.sampled_from([*PURPOSES, ""]),
)


def acyclic(bases):
    """Only links to later roles, so that there is no circle, which loading refuses."""
    return {role: frozenset(base for base in candidates if base > role) for role, candidates in bases.items()}


def numbered(some):
    return tuple(
        Rule(*rule.cells, line, ", ".join(["p", *rule.cells])) for line, rule in enumerate(dict.fromkeys(some), start=1)
    )


def naive(model: str, table: RuleTable):
    """casbin as its manual uses it, over all rules."""
    enforcer = casbin.Enforcer(casbin.Enforcer.new_model(text=model))
    enforcer.add_function("covers", covers)
    for rule in table.rules:
        enforcer.add_policy(*rule.cells)
    for role, bases in table.bases.items():
        for base in bases:
            enforcer.add_grouping_policy(role, base)
    return enforcer


@settings(max_examples=150, deadline=None)
@given(st.lists(rules, max_size=25), links, st.lists(requests, min_size=1, max_size=10))
def test_the_indexed_enforcer_agrees_with_casbin_over_all_rules(some, bases, asked):
    table = RuleTable(numbered(some), acyclic(bases))
    whole = naive(MODEL, table)

    for role, tenant, resource, action, purpose in asked:
        granted, rule = Enforcer(table, tenant).decide(role, resource, action, purpose)
        wanted, explained = whole.enforce_ex(role, tenant, resource, action, purpose)

        assert granted == wanted
        assert (rule.cells if rule else []) == explained


def test_a_deny_outweighs_every_allow_at_any_position():
    allow, deny = ("p, a, *, email, read, accounting, allow", "p, a, *, email.masked, read, *, deny")
    for lines in ([allow, deny], [deny, allow]):
        policy_set = with_rules(*lines)
        enforcer = Enforcer(policy_set.rules, "one")

        granted, rule = enforcer.decide("a", "profile.email.masked", "read", "accounting")
        assert not granted
        assert rule.effect == "deny"
        assert enforcer.decide("a", "profile.email.clear", "read", "accounting")[0]


def test_a_role_inherits_the_rules_of_its_bases_including_denials():
    policy_set = with_rules(
        "g, top, middle",
        "g, middle, base",
        "p, base, *, email, read, accounting, allow",
        "p, middle, *, name, read, accounting, allow",
        "p, base, *, name, read, accounting, deny",
    )
    enforcer = Enforcer(policy_set.rules, "one")

    assert enforcer.decide("top", "profile.email.clear", "read", "accounting")[0]
    assert not enforcer.decide("top", "profile.name.clear", "read", "accounting")[0]
    assert not enforcer.decide("base", "profile.name.clear", "read", "accounting")[0]


def test_a_rule_of_one_tenant_does_not_apply_to_another():
    policy_set = with_rules("p, a, shop, email, read, *, allow")

    assert Enforcer(policy_set.rules, "shop").decide("a", "profile.email.clear", "read", "x")[0]
    assert not Enforcer(policy_set.rules, "other").decide("a", "profile.email.clear", "read", "x")[0]


def test_a_rule_for_every_field_does_not_grant_the_vaults_own_resources():
    policy_set = with_rules("p, a, *, *, read, *, allow")
    enforcer = Enforcer(policy_set.rules, "one")

    assert enforcer.decide("a", "purchase.amount.clear", "read", "x")[0]
    assert not enforcer.decide("a", "vault:audit", "read", "")[0]


def test_casbin_does_not_log_requests(caplog, capsys):
    caplog.set_level(logging.DEBUG)
    policy_set = PolicySet.load(shipped())
    Enforcer(policy_set.rules, "one").decide("support", "profile.iban.clear", "read", "accounting")

    assert not [record for record in caplog.records if record.name.startswith("casbin")]
    assert capsys.readouterr() == ("", "")


def test_casbin_gets_few_of_ten_thousand_rules():
    purposes = list(PolicySet.load(shipped()).purposes)
    lines = [
        f"p, role{i}, *, {field}, read, {purpose}, allow"
        for i in range(100)
        for field in ("email", "name", "phone", "address", "purchase.*", "iban", "language", "gender", "notes", "*")
        for purpose in purposes
    ]
    policy_set = with_rules(*lines[:10_000])
    enforcer = Enforcer(policy_set.rules, "default")

    assert len(policy_set.rules.rules) == 10_000
    assert len(enforcer._candidates("role7", "profile.email.clear", "read", "accounting")) == 2
