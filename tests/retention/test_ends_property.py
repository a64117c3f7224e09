"""For any rules, limits, events and consents: no value outlives its latest claim or ends before its minimum."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.retention.rules import POLICIES
from vault.catalogue.periods import Period
from vault.catalogue.retention import Limit, Relationship, Retention, Rule, Since
from vault.catalogue.retention_actions import SELECTABLE
from vault.retention.clocks import Clocks
from vault.retention.ends import NEVER, Ends, SubjectFacts, Value
from vault.retention.schedule import Schedule

BIRTH, YEAR = "profile.birth_date", "profile.birth_date.year"
FIELDS = ("profile.email", BIRTH, "profile.iban", "purchase.amount", "interaction.body", "profile.preferences")
LAWS = {"accounting", "complaint-handling"}
BEGIN, TODAY = 733_000, 739_680
"""Days of 2007 and 2026; the last 29 February between them is in 2024."""

days = st.integers(BEGIN, TODAY)
periods = st.builds(Period, st.integers(2, 130), st.integers(0, 40))
sinces = st.sampled_from([item for item in Since if item != Since.DRAW_HELD])


@st.composite
def rules(draw, *, by_relationship=True):
    names = draw(
        st.sets(st.sampled_from(sorted(name for name, item in POLICIES.purposes.items() if item.collects)), max_size=6)
    )
    result = {}
    for name in sorted(names):
        keep = draw(periods)
        law = name in LAWS
        result[name] = Rule(
            name,
            keep,
            draw(sinces),
            "r",
            fields={YEAR: draw(periods)} if name == "service-analytics" and draw(st.booleans()) else {},
            least=Period(keep.months // 2 + 1, 0) if law and draw(st.booleans()) else None,
            by_relationship=draw(st.dictionaries(st.sampled_from(Relationship), periods)) if by_relationship else {},
            then=draw(st.sampled_from(sorted(SELECTABLE))),
            at_end={BIRTH: YEAR} if draw(st.booleans()) else {},
        )
    limits = {}
    for number in range(draw(st.integers(0, 2))):
        fields = tuple(draw(st.sets(st.sampled_from(FIELDS), min_size=1)))
        limits[str(number)] = Limit(str(number), draw(periods), draw(sinces), "r", fields=fields)
    return Retention(result, limits, inactive=draw(st.none() | periods))


clocks = st.builds(
    Clocks,
    st.dictionaries(st.sampled_from(["purchase", "interaction", "complaint"]), days),
    st.dictionaries(
        st.sampled_from(["contract-began", "contract-ended", "claim-opened", "claim-closed", "relationship-ended"]),
        days,
    ),
)
values = st.builds(
    Value,
    st.sampled_from(FIELDS),
    days,
    purpose=st.sampled_from(["order-fulfilment", "accounting"]),
    source=st.none(),
    collected=days,
    form=st.none(),
    arrived=st.none() | days,
    expires=st.none() | days,
    kept_until=st.none() | days,
)
applying = st.dictionaries(st.sampled_from(sorted(POLICIES.purposes)), st.none() | days)


def ends_of(retention, applies, its_clocks, today=TODAY):
    schedule = Schedule(POLICIES.catalogue, POLICIES.purposes, retention)
    return Ends(schedule, SubjectFacts(applies, its_clocks, today))


def later(*found):
    """The latest of some days; None means no end."""
    return None if None in found else max(found)


def at_most(one, other):
    return other is None or (one is not None and one <= other)


@settings(max_examples=60, deadline=None)
@given(rules(), applying, clocks, values)
def test_end_is_between_minimum_and_latest_claim(retention, applies, its, value):
    ends = ends_of(retention, applies, its)
    result = ends.of(value)
    unclaimed = max(value.start, value.arrived or 0) + 30
    grounds = [item.until for item in result.claims if item.ground != "reviewed"] or [unclaimed]
    latest = later(*grounds, value.kept_until or 0)

    assert at_most(result.served_until, latest)
    assert at_most(result.until, later(latest, result.least_until or 0))
    for claim in result.claims:
        assert claim.least is None or at_most(claim.least, result.until)
        assert applies.get(claim.ground) is None or at_most(claim.until, applies[claim.ground])
        assert claim.ground in applies or claim.ground == "reviewed"
    assert result.until is None or result.until >= (value.kept_until or 0)
    for _limit, end in ends.limits(value):
        assert at_most(result.served_until, end)
    assert at_most(result.served_until, value.expires)
    if result.until is not None and result.until < NEVER:
        assert not result.may_go(result.until)
        assert result.may_go(result.until + 1)
    if not retention.limits and value.expires is None and result.then in SELECTABLE:
        assert result.served_until == latest  # and neither is anything let go before its latest ground


@settings(max_examples=60, deadline=None)
@given(rules(by_relationship=False), applying, clocks, values, st.sampled_from(["purchase", "interaction"]))
def test_new_contact_never_shortens_retention(retention, applies, its, value, collection):
    value = value._replace(field="profile.email")  # of which no view takes the place
    before = ends_of(retention, applies, its).of(value)
    after = ends_of(retention, applies, Clocks({**its.newest, collection: TODAY}, its.events)).of(value)

    assert at_most(before.until, after.until)


@settings(max_examples=60, deadline=None)
@given(rules(), applying, clocks, values, st.data())
def test_withdrawal_never_extends_retention(retention, applies, its, value, data):
    if not applies:
        return
    name = data.draw(st.sampled_from(sorted(applies)))
    day = data.draw(st.integers(value.start, TODAY + 1))
    taken = applies | {name: day if applies[name] is None else min(day, applies[name])}
    before, after = (ends_of(retention, item, its).of(value) for item in (applies, taken))

    assert at_most(after.until, later(before.until, max(value.start, value.arrived or 0) + 30))
    if name not in LAWS:
        assert at_most(before.least_until or 0, after.until)


@settings(max_examples=60, deadline=None)
@given(rules(), applying, clocks, values, periods)
def test_view_does_not_extend_retention_of_the_value(retention, applies, its, value, period):
    value = value._replace(field=BIRTH, expires=None, kept_until=None)
    figures = Rule("service-analytics", Period(2, 0), Since.COLLECTED, "r", fields={YEAR: Period(140, 0)})
    checks = Rule("fraud-prevention", period, Since.COLLECTED, "r", at_end={BIRTH: YEAR})
    both = {item.purpose: item for item in (figures, checks)}
    ends = ends_of(replace(retention, rules=retention.rules | both, limits={}), applies | dict.fromkeys(both), its)
    result = ends.of(value)
    if result.then != YEAR:  # somebody needs the value itself for longer than anybody the year, or wants to look first
        return
    view = ends.of(value._replace(form=YEAR))

    assert result.served_until == later(*(claim.until for claim in result.claims if claim.views != {YEAR}))
    assert view.served_until == later(*(claim.until for claim in result.claims if YEAR in claim.views))
    assert not at_most(view.served_until, result.served_until)
    assert view.then in SELECTABLE


@settings(max_examples=60, deadline=None)
@given(rules(), applying, clocks, values, days)
def test_no_purpose_sees_a_value_past_its_own_claim(retention, applies, its, value, today):
    result = ends_of(retention, applies, its, today).of(value)
    for claim in result.claims:
        own = [item for item in result.claims if item.ground == claim.ground]
        if not any(item.runs(today) for item in own):
            assert not result.serves(claim.ground, today)
    if result.is_over(today):
        seen = {name for name in POLICIES.purposes if result.serves(name, today)}
        assert seen <= {item.ground for item in result.claims if item.is_demanded(today)}


@settings(max_examples=60, deadline=None)
@given(rules(), clocks, values, st.sampled_from(sorted(POLICIES.purposes)))
def test_lasting_is_a_lower_bound_of_service(retention, its, value, purpose):
    """A read that skips the full check because the value is recent shows no expired value."""
    value = value._replace(expires=None, kept_until=None, collected=value.start, arrived=value.start)
    its = its.at_least({value.field.partition(".")[0]: value.start})  # a record has moved its own clock
    schedule = Schedule(POLICIES.catalogue, POLICIES.purposes, retention)
    field = next(item for item in POLICIES.catalogue.fields() if item.whole == value.field)
    whole = schedule.lasting(purpose, [field]).least // 86_400_000_000
    if not whole or not any(
        POLICIES.purposes[purpose].covers(view) for view in POLICIES.catalogue.views() if view.field is field
    ):
        return
    today = value.start + whole
    result = Ends(schedule, SubjectFacts(dict.fromkeys(POLICIES.purposes), its, today)).of(value)

    assert result.serves(purpose, today)
