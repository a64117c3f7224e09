"""Shared by the tests of ends: the shipped catalogue and purposes with rules of the test, and named days."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

from tests.policy.folders import shipped
from vault.catalogue.periods import Period, read_period
from vault.catalogue.retention import Retention, Rule, Since
from vault.policy.policy_set import PolicySet
from vault.retention.clocks import Clocks
from vault.retention.ends import Ends, SubjectFacts, Value
from vault.retention.schedule import Schedule

POLICIES = PolicySet.load(shipped())
ALL = dict.fromkeys(POLICIES.purposes)
"""Every purpose applies, without an end."""


def day(text: str) -> int:
    return date.fromisoformat(text).toordinal()


def text(number: int | None) -> str | None:
    return None if number is None else date.fromordinal(number).isoformat()


def span(iso: str) -> Period:
    return read_period(iso) or Period(0, 0)


def rule(purpose: str, keep: str, since: Since = Since.COLLECTED, **more) -> Rule:
    return Rule(purpose, span(keep), since, "it takes so long", **more)


def ends(
    *rules: Rule,
    applies=None,
    clocks: Clocks = Clocks(),  # noqa: B008 - frozen
    today: str | int = "2026-03-05",
    retained: bool = False,
    **more,
) -> Ends:
    """Compute ends by rules and other parts of a schedule."""
    retention = replace(Retention({item.purpose: item for item in rules}), **more)
    schedule = Schedule(POLICIES.catalogue, POLICIES.purposes, retention)
    number = day(today) if isinstance(today, str) else today
    return Ends(schedule, SubjectFacts(ALL if applies is None else applies, clocks, number, retained))


def value(field: str = "profile.email", start: str = "2020-02-29", **more) -> Value:
    return Value(field, day(start), **{"collected": day(start), **more})


def bought(on: str, **events: str) -> Clocks:
    """Return the clocks of a subject whose last purchase was on a day."""
    return Clocks({"purchase": day(on)}, {name.replace("_", "-"): day(item) for name, item in events.items()})
