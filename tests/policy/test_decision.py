"""Steps 2 to 5 of a decision: each refusal has its code, its rule and its remedy."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from tests.policy.folders import shipped
from vault.policy import decision
from vault.policy.decision import Ruling, holds_until, rule_out, weigh
from vault.policy.policy_set import PolicySet
from vault.policy.rules import Rule

POLICIES = PolicySet.load(shipped())
TODAY = date(2026, 3, 5)


def purpose(name, **changes):
    return replace(POLICIES.purposes[name], **changes)


def view(name):
    return POLICIES.catalogue.view(name)


def rule(effect, line=12):
    cells = ["marketing", "*", "profile.email", "read", "order-fulfilment", effect]
    return Rule(*cells, line, ", ".join(["p", *cells]))


def test_step_2_refuses_a_purpose_that_has_ended_or_not_begun():
    for days, word in (({"valid_until": date(2026, 3, 4)}, "ended"), ({"valid_from": date(2026, 3, 6)}, "begins")):
        verdict = rule_out(purpose("accounting", **days), view("name"), "read", TODAY)

        assert (verdict.granted, verdict.code, verdict.step) == (False, "purpose-not-in-force", 2)
        assert verdict.rule == "purposes.toml: accounting"
        assert word in verdict.detail
        assert "Finance" in verdict.detail


def test_step_3_refuses_a_field_that_the_purpose_does_not_need():
    verdict = rule_out(purpose("order-fulfilment"), view("health_notes"), "read", TODAY)

    assert (verdict.granted, verdict.code, verdict.step) == (False, "purpose-excludes-field", 3)
    assert verdict.rule == "purposes.toml: order-fulfilment"
    assert "ask its owner, Fulfilment" in verdict.detail


@pytest.mark.parametrize("asked", ["birth_date", "birth_date.year", "birth_date.over_16"])
def test_step_3_refuses_a_view_that_the_purpose_does_not_need(asked):
    assert rule_out(purpose("order-fulfilment"), view(asked), "read", TODAY).code == "purpose-excludes-field"
    assert rule_out(purpose("order-fulfilment"), view("birth_date.over_18"), "read", TODAY) is None


def test_step_3_lets_a_field_be_written_that_the_purpose_shows_in_part():
    assert rule_out(purpose("order-fulfilment"), view("birth_date"), "write", TODAY) is None
    assert rule_out(purpose("order-fulfilment"), view("birth_date"), "search", TODAY).code == "purpose-excludes-field"
    assert rule_out(purpose("order-fulfilment"), view("gender"), "write", TODAY).code == "purpose-excludes-field"


def test_step_3_lets_a_minimised_purpose_write_nothing():
    assert rule_out(purpose("service-analytics"), view("gender"), "write", TODAY).code == "purpose-excludes-field"
    assert rule_out(purpose("service-analytics"), view("gender"), "read", TODAY) is None


def test_step_4_refuses_a_special_category_without_a_condition():
    verdict = rule_out(purpose("health-advice", article9=None), view("health_notes"), "read", TODAY)

    assert (verdict.granted, verdict.code, verdict.step) == (False, "special-category-needs-condition", 4)
    assert "Art. 9(2)" in verdict.detail
    assert rule_out(purpose("health-advice"), view("health_notes"), "read", TODAY) is None


def test_the_steps_are_taken_in_order():
    ended = purpose("order-fulfilment", valid_until=date(2020, 1, 1))

    assert rule_out(ended, view("health_notes"), "read", TODAY).step == 2
    assert rule_out(purpose("order-fulfilment"), view("health_notes"), "read", TODAY).step == 3


def test_step_5_grants_by_the_rule_that_allows():
    verdict = weigh(
        [Ruling("marketing", granted=True, rule=rule("allow"))], "order-fulfilment", "profile.email.clear", "read"
    )

    assert (verdict.granted, verdict.code, verdict.step) == (True, decision.GRANTED, 5)
    assert verdict.rule == "policy.csv:12: p, marketing, *, profile.email, read, order-fulfilment, allow"


def test_step_5_lets_one_role_s_deny_outweigh_another_s_allow():
    rulings = [
        Ruling("support", granted=True, rule=rule("allow", 3)),
        Ruling("marketing", granted=False, rule=rule("deny", 12)),
    ]
    for order in (rulings, rulings[::-1]):
        verdict = weigh(order, "order-fulfilment", "profile.email.clear", "read")

        assert (verdict.granted, verdict.code) == (False, "denied-by-rule")
        assert verdict.rule.startswith("policy.csv:12: p, marketing, ")
        assert "privacy team" in verdict.detail


def test_step_5_refuses_what_no_rule_grants_and_shows_the_rule_that_would():
    verdict = weigh([Ruling("support", granted=False, rule=None)], "customer-support", "profile.email.clear", "read")

    assert (verdict.granted, verdict.code, verdict.step) == (False, "not-granted", 5)
    assert verdict.rule == "policy.csv: no rule grants read of email"
    assert "`p, support, *, email, read, customer-support, allow`" in verdict.detail


def test_step_5_refuses_a_caller_without_roles():
    assert weigh([], "customer-support", "profile.email.clear", "read").code == "not-granted"


@pytest.mark.parametrize(
    ("days", "until"),
    [
        ({}, None),
        ({"valid_from": date(2026, 1, 1)}, None),
        ({"valid_from": date(2026, 3, 6)}, datetime(2026, 3, 6, tzinfo=UTC)),
        ({"valid_until": date(2026, 3, 5)}, datetime(2026, 3, 6, tzinfo=UTC)),
        ({"valid_until": date(2026, 3, 4)}, None),
        ({"valid_from": date(2026, 4, 1), "valid_until": date(2026, 5, 1)}, datetime(2026, 4, 1, tzinfo=UTC)),
    ],
)
def test_a_decision_expires_when_the_purpose_begins_or_ends(days, until):
    assert holds_until(purpose("accounting", **days), POLICIES.notices, TODAY) == until


def test_a_decision_expires_when_another_version_of_the_notice_comes_into_force():
    text = shipped()["notices/marketing@3.md"].replace("marketing@3", "marketing@4")
    later = PolicySet.load(shipped() | {"notices/marketing@4.md": text.replace("2026-01-01", "2026-05-01")})

    assert holds_until(later.purposes["direct-marketing"], later.notices, TODAY) == datetime(2026, 5, 1, tzinfo=UTC)
    assert holds_until(later.purposes["direct-marketing"], later.notices, date(2026, 5, 1)) is None
    assert holds_until(later.purposes["profiling"], later.notices, TODAY) is None
