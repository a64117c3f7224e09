"""For any subject on any day: deleted values have no claim, kept values have one, and no subject becomes due too late."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from types import SimpleNamespace
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from vault.clock import to_microseconds
from vault.consent.model import ConsentState, Held, PurposeState, pack
from vault.policy.policy_set import PolicySet
from vault.retention.clocks import Clocks
from vault.retention.ends import day_of, ends_of, values_of
from vault.retention.holds import held_by
from vault.subjects.rows import Stored, happened_at, unpack
from vault.subjects.rows import pack as pack_body
from vault.sweep.evaluate import ReviewedData, evaluate, forecast

POLICIES = PolicySet.from_folder(Path(__file__).parents[2] / "policies")
_RULES = POLICIES.files["retention.toml"]
TURNING = PolicySet.load(
    {
        **POLICIES.files,
        "retention.toml": _RULES.replace('inactive = "P3Y"', 'inactive = "P1Y"').replace(
            "at_end = { birth_date", 'by_relationship = { former = "P6M" }\nat_end = { birth_date', 1
        ),
    }
)
"""A subject without contact for a year is a former customer, for whom many periods end on that day."""
WHOM = UUID(int=1)
FIRST, LAST = date(2000, 1, 1), date(2040, 12, 31)
DAYS = st.dates(FIRST, LAST)
FIELDS = {
    "profile": ("name", "email", "birth_date", "notes", "iban", "national_id"),
    "purchase": ("order", "amount"),
    "interaction": ("body",),
    "complaint": ("body",),
}
EVENTS = ("contract-began", "contract-ended", "claim-opened", "claim-closed", "relationship-ended")
PURPOSES = ("direct-marketing", "profiling", "loyalty-programme", "fraud-prevention")


def moment(day: date) -> datetime:
    return datetime.combine(day, time(12), UTC)


@st.composite
def records(draw):
    collection = draw(st.sampled_from(sorted(FIELDS)))
    day = draw(DAYS)
    names = draw(st.lists(st.sampled_from(FIELDS[collection]), min_size=1, unique=True))
    body = {}
    for name in names:
        expires = draw(st.none() | DAYS)
        general = f"{name}.year" if name == "birth_date" and draw(st.booleans()) else name
        body[general] = Stored(
            b"",
            source="web",
            collected_at=to_microseconds(moment(day)),
            expires_at=None if expires is None else to_microseconds(moment(expires)),
            purpose=draw(st.sampled_from(("order-fulfilment", "direct-marketing", "accounting"))),
        )
    occurred = None if collection == "profile" else moment(day)
    return SimpleNamespace(
        subject_id=WHOM, collection=collection, id=UUID(int=draw(st.integers(2, 9))), revision=1,
        created_at=moment(day), updated_at=moment(day), occurred_at=occurred, due_at=None, body=pack_body(body, occurred),
    )  # fmt: skip


@st.composite
def people(draw):
    rows = draw(st.lists(records(), min_size=1, max_size=4))
    said = {
        name: PurposeState(
            state=draw(st.sampled_from(("none", "given", "withdrawn"))),
            since=to_microseconds(moment(draw(DAYS))),
            objection=draw(st.sampled_from(("none", "upheld"))),
            objected_at=to_microseconds(moment(draw(DAYS))),
        )
        for name in draw(st.lists(st.sampled_from(PURPOSES), unique=True))
    }
    names = st.sampled_from(("*", "profile.email", "purchase.*"))
    holds = tuple(Held(b"h" * 16, "legal-claims", names=(draw(names),)) for _ in range(draw(st.integers(0, 1))))
    newest: dict[str, int] = {}
    for row in rows:
        if row.collection != "profile":
            newest[row.collection] = max(newest.get(row.collection, 0), row.occurred_at.date().toordinal())
    events = {name: draw(DAYS).toordinal() for name in draw(st.lists(st.sampled_from(EVENTS), unique=True))}
    standing = pack(ConsentState(purposes=said, holds=holds))
    row = SimpleNamespace(id=WHOM, state="active", created_at=moment(FIRST), standing=standing)
    return ReviewedData(row, rows, Clocks(newest, events)), ConsentState(purposes=said, holds=holds)


@settings(max_examples=60)
@given(people(), DAYS)
def test_deleted_values_have_no_claim_and_kept_values_have_one(anybody, day):
    person, standing = anybody
    look = evaluate(POLICIES, person, moment(day))
    ends = ends_of(POLICIES, standing, person.clocks, moment(day))
    today = day.toordinal()
    for record in look.records:
        values = values_of(record.row, record.body)
        happened = day_of(happened_at(record.row, record.body))
        taken = {*record.deleted}
        for name, value in values.items():
            ending = ends.of(value)
            held = held_by(standing, value.form or value.field, happened) is not None
            assert (name in taken) == (ending.may_go(today) and not held)
            if name in taken:
                assert ending.least_until is None or ending.least_until < today
                assert all(claim.until is not None or ending.by != claim.ground for claim in ending.claims)


@settings(max_examples=60)
@given(people(), DAYS, st.integers(1, 400))
def test_nothing_ends_before_the_due_day(anybody, day, later):
    person, _standing = anybody
    look = evaluate(POLICIES, person, moment(day))
    if look.acts:
        return
    for record in look.records:
        assert record.due.date() > day
        last = record.due.date() - timedelta(days=1)
        between = min(day + timedelta(days=later), last)
        alone = replace(person, records=[record.row], is_complete=False)
        assert not evaluate(POLICIES, alone, moment(between)).acts
        assert unpack(record.row.body) == record.body


@settings(max_examples=100)
@given(people(), DAYS, st.integers(0, 3), st.sampled_from((POLICIES, TURNING)))
def test_forecast_agrees_with_the_evaluation_on_that_day(anybody, today, which, policies):
    person, _standing = anybody
    foreseen = [item for item in forecast(policies, person, moment(today)) if item.on is not None and not item.is_held]
    days = [item.on for item in foreseen if today.toordinal() <= item.on < date.max.toordinal()]
    day = days[which % len(days)] if days else today.toordinal()
    done = [
        (f"{look.row.collection}.{name}", then)
        for look in evaluate(policies, person, moment(date.fromordinal(day))).records
        for name, then in (
            *((name, "erase") for name in look.removed), *look.views.items(),
            *((review.field, review.kind) for review in look.reviews),
        )
    ]  # fmt: skip
    assert Counter(item.name for item in foreseen if item.on <= day) == Counter(name for name, _then in done)
    assert not Counter((item.name, item.then) for item in foreseen if item.on == day) - Counter(done)


def test_forecast_considers_the_end_of_the_relationship():
    came, bought, today, turn = date(2025, 1, 10), date(2026, 3, 5), date(2026, 6, 1), date(2027, 3, 6)
    body = {"email": Stored(b"", collected_at=to_microseconds(moment(came)), purpose="order-fulfilment")}
    row = SimpleNamespace(
        subject_id=WHOM, collection="profile", id=WHOM, revision=1, created_at=moment(came), updated_at=moment(came),
        occurred_at=None, due_at=None, body=pack_body(body, None),
    )  # fmt: skip
    whom = SimpleNamespace(id=WHOM, state="active", standing=None, created_at=moment(came))
    person = ReviewedData(whom, [row], Clocks({"purchase": bought.toordinal()}))
    (value,) = forecast(TURNING, person, moment(today))
    assert (value.on, value.then) == (turn.toordinal(), "erase")
    for day, gone in ((turn - timedelta(days=1), ()), (turn, ("email",))):
        assert evaluate(TURNING, person, moment(day)).records[0].removed == gone


def test_subject_without_values_is_due_when_the_unclaimed_period_ends():
    day = date(2026, 3, 5)
    row = SimpleNamespace(
        subject_id=WHOM, collection="profile", id=WHOM, revision=1, created_at=moment(FIRST), updated_at=moment(day),
        occurred_at=None, due_at=None, body=pack_body({}, None),
    )  # fmt: skip
    person = ReviewedData(SimpleNamespace(id=WHOM, state="active", standing=None, created_at=moment(FIRST)), [row])
    last = day + timedelta(days=30)
    for today in (day, last):
        look = evaluate(POLICIES, person, moment(today))
        assert not look.is_over
        assert look.records[0].due == datetime.combine(last + timedelta(days=1), time(), UTC)
    assert evaluate(POLICIES, person, moment(last + timedelta(days=1))).is_over
