"""Decisions: steps 2 to 5, what is cached and for how long, and how unknown names are reported."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.policy.folders import changed, shipped, with_rules
from tests.support import FixedClock
from vault.errors import InvalidInput
from vault.policy import decision
from vault.policy.decision import (
    MOST_KEPT_NAMES,
    MOST_NAMES,
    DecisionCache,
    Decisions,
    Ruling,
    holds_until,
    rule_out,
    weigh,
)
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


@pytest.fixture
def decisions(clock):
    return Decisions(POLICIES, "default", clock)


async def test_the_example_of_the_design_is_decided_as_documented(decisions):
    asked = ("email", "birth_date.over_18", "health_notes")
    decision = await decisions.decide(("fulfilment",), "order-fulfilment", asked, "read")

    assert [(name, view.name) for name, view in decision.granted] == [
        ("email", "profile.email.clear"),
        ("birth_date.over_18", "profile.birth_date.over_18"),
    ]
    refusal = decision.refused["health_notes"]
    assert (refusal.code, refusal.rule) == ("purpose-excludes-field", "purposes.toml: order-fulfilment")
    assert decision.asked == asked
    assert decision.purpose.name == "order-fulfilment"
    assert decision.policy_version == POLICIES.version


async def test_a_cached_decision_is_the_same_object(decisions):
    request = (("support",), "customer-support", ("name", "email.masked"), "read")

    assert decisions.cached(*request) is None
    first = await decisions.decide(*request)
    assert decisions.cached(*request) is first
    assert await decisions.decide(*request) is first


async def test_decisions_are_cached_by_role_purpose_fields_and_action(decisions):
    await decisions.decide(("support",), "customer-support", ("name",), "read")

    assert decisions.cached(("sales",), "customer-support", ("name",), "read") is None
    assert decisions.cached(("support",), "complaint-handling", ("name",), "read") is None
    assert decisions.cached(("support",), "customer-support", ("name", "notes"), "read") is None
    assert decisions.cached(("support",), "customer-support", ("name",), "write") is None


async def test_one_denying_role_outweighs_the_others(decisions):
    request = ("order-fulfilment", ("email",), "read")
    alone = await decisions.decide(("fulfilment",), *request)
    both = await decisions.decide(("fulfilment", "marketing"), *request)

    assert alone.granted
    assert both.refused["email"].code == "denied-by-rule"
    assert "p, marketing, *, profile.email, read, order-fulfilment, deny" in both.refused["email"].rule


@pytest.mark.parametrize("roles", [(), ("nobody",), ("Support",), ("*",), ("support ",), ("x" * 100_000, "a, b\n")])
async def test_roles_that_no_rule_names_grant_nothing_and_are_not_repeated(decisions, roles):
    decision = await decisions.decide(roles, "customer-support", ("name",), "read")

    assert decision.refused["name"].code == "not-granted"
    assert "<role>" in decision.refused["name"].detail


@pytest.mark.parametrize(
    ("purpose", "fields", "action", "faults"),
    [
        ("Customer-Support", ("name",), "read", [("/purpose", "unknown-purpose")]),
        ("", ("name",), "read", [("/purpose", "unknown-purpose")]),
        ("*", ("name",), "read", [("/purpose", "unknown-purpose")]),
        ("customer-support", ("name", "email", "secret-4711"), "read", [("/fields/2", "unknown-field")]),
        (
            "customer-support",
            ("Name", "email", "email."),
            "read",
            [("/fields/0", "unknown-field"), ("/fields/2", "unknown-field")],
        ),
        ("secret-4711", ("name", "\x00"), "read", [("/purpose", "unknown-purpose"), ("/fields/1", "unknown-field")]),
        ("customer-support", ("name",), "secret-4711", [("/action", "unknown-action")]),
    ],
)
async def test_unknown_names_are_reported_by_position_and_not_repeated(decisions, purpose, fields, action, faults):
    with pytest.raises(InvalidInput) as caught:
        await decisions.decide(("support",), purpose, fields, action)

    assert [(fault.at, fault.code) for fault in caught.value.faults] == faults
    assert caught.value.code == faults[0][1]
    assert "secret-4711" not in repr([str(caught.value), caught.value.faults, caught.value.hint])
    assert caught.value.__cause__ is None
    assert decisions.cached(("support",), purpose, fields, action) is None


async def test_faults_point_to_where_the_caller_says_the_names_are(decisions):
    with pytest.raises(InvalidInput) as caught:
        await decisions.decide(("support",), "customer-support", ("nothing",), "read", at="/match")

    assert caught.value.faults[0].at == "/match/0"


async def test_too_many_names_are_refused(decisions):
    with pytest.raises(InvalidInput) as caught:
        await decisions.decide(("support",), "customer-support", ("name",) * (MOST_NAMES + 1), "read")

    assert caught.value.faults[0].code == "too-many"


async def test_a_name_asked_for_twice_is_answered_once(decisions):
    decision = await decisions.decide(("support",), "customer-support", ("name", "name", "profile.name"), "read")

    assert [name for name, _view in decision.granted] == ["name", "profile.name"]


async def test_the_cache_of_decisions_is_bounded(clock):
    decisions = Decisions(POLICIES, "default", clock, most=16)
    names = [view.name for view in POLICIES.catalogue.views()]
    for name in names:
        await decisions.decide(("dpo",), "subject-rights", (name,), "read")

    assert len(names) > 100
    assert decisions.stats()["decisions"] <= 16
    assert decisions.stats()["rulings"] <= 64


async def test_a_very_long_list_is_decided_and_not_cached(decisions):
    asked = ("name", "profile.name") * MOST_KEPT_NAMES
    decision = await decisions.decide(("dpo",), "subject-rights", asked, "read")

    assert len(decision.granted) == 2
    assert decisions.cached(("dpo",), "subject-rights", asked, "read") is None


async def test_casbin_never_runs_on_the_event_loop(decisions, monkeypatch):
    threads = set()
    ask = decisions._enforcer.decide

    def watched(*request):
        threads.add(threading.current_thread().name)
        return ask(*request)

    monkeypatch.setattr(decisions._enforcer, "decide", watched)
    fields = [view.name for view in POLICIES.catalogue.views()]
    await asyncio.gather(*(decisions.decide(("dpo",), "subject-rights", (name,), "read") for name in fields))

    assert len(threads) == 1
    assert threading.main_thread().name not in threads


async def test_a_cached_decision_expires_with_its_purpose():
    clock = FixedClock(datetime(2026, 3, 31, 23, 59, 59, tzinfo=UTC))
    policy_set = PolicySet.load(changed("purposes.toml", "[accounting]", "[accounting]\nvalid_until = 2026-03-31"))
    decisions = Decisions(policy_set, "default", clock)
    request = (("finance",), "accounting", ("iban",), "read")

    assert (await decisions.decide(*request)).granted
    assert decisions.cached(*request) is not None
    clock.advance(seconds=1)
    assert decisions.cached(*request) is None
    assert (await decisions.decide(*request)).refused["iban"].code == "purpose-not-in-force"
    assert decisions.cached(*request).refused


async def test_a_cached_refusal_expires_when_its_purpose_begins():
    clock = FixedClock(datetime(2026, 3, 31, 12, tzinfo=UTC))
    policy_set = PolicySet.load(changed("purposes.toml", "[accounting]", "[accounting]\nvalid_from = 2026-04-01"))
    decisions = Decisions(policy_set, "default", clock)
    request = (("finance",), "accounting", ("iban",), "read")

    assert not (await decisions.decide(*request)).granted
    clock.advance(hours=12)
    assert (await decisions.decide(*request)).granted


async def test_a_rule_of_another_tenant_does_not_apply():
    policy_set = with_rules("p, a, shop, name, read, accounting, allow")
    request = (("a",), "accounting", ("name",), "read")

    assert (await Decisions(policy_set, "shop").decide(*request)).granted
    assert (await Decisions(policy_set, "shop2").decide(*request)).refused


@pytest.mark.parametrize(
    ("role", "resource", "action", "granted"),
    [
        ("operator", "vault:audit", "read", True),
        ("operator", "vault:policies", "apply", True),
        ("operator", "vault:principals", "manage", True),
        ("operator", "vault:subjects", "create", False),
        ("dpo", "vault:audit", "read", True),
        ("dpo", "vault:policies", "read", True),
        ("dpo", "vault:policies", "apply", False),
        ("dpo", "vault:principals", "manage", False),
        ("support", "vault:subjects", "create", True),
        ("sales", "vault:subjects", "create", True),
        ("fulfilment", "vault:subjects", "create", True),
        ("analytics", "vault:subjects", "create", False),
        ("marketing", "vault:audit", "read", False),
        ("dpo", "vault:unheard-of", "read", False),
    ],
)
def test_the_vault_s_own_resources_are_decided_by_the_same_rules(decisions, role, resource, action, granted):
    verdict = decisions.may((role,), resource, action)

    assert verdict.granted == granted
    assert verdict.code == ("granted" if granted else "not-granted")
    assert verdict.rule.startswith("policy.csv")


def test_an_answer_is_cached():
    kept = DecisionCache(10)
    kept.put("a", 1)

    assert kept.get("a") == 1
    assert kept.get("b") is None


def test_the_cache_is_bounded():
    kept = DecisionCache(10)
    for i in range(1000):
        kept.put(i, i)
        assert len(kept) <= 10


def test_entries_in_use_are_not_evicted():
    kept = DecisionCache(10)
    kept.put("hot", 1)
    for i in range(1000):
        kept.put(i, i)
        assert kept.get("hot") == 1


def test_unused_entries_are_evicted():
    kept = DecisionCache(10)
    kept.put("cold", 1)
    for i in range(10):
        kept.put(i, i)

    assert kept.get("cold") is None


@given(st.integers(1, 20), st.lists(st.tuples(st.booleans(), st.integers(0, 30))))
def test_it_never_answers_with_another_key_s_answer(most, steps):
    kept = DecisionCache(most)
    for puts, key in steps:
        if puts:
            kept.put(key, key * 7)
        else:
            assert kept.get(key) in {None, key * 7}
        assert len(kept) <= max(2, most)
