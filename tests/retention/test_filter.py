"""The quick check of a read agrees with the full check: it shows no value that the full check refuses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from tests.policy.folders import shipped
from tests.retention.ended import policies
from vault.catalogue.model import CLEAR
from vault.clock import to_microseconds
from vault.consent.legal_ground import may_object, purpose_ground
from vault.consent.model import ConsentState, PurposeState
from vault.policy.policy_set import PolicySet
from vault.retention.clocks import Clocks
from vault.retention.ends import ends_of, schedule_of
from vault.retention.filter import Dates, Gate, _claims_itself, _ends
from vault.subjects.rows import Sealed, Stored, open_body
from vault.subjects.rows import pack as pack_body

TODAY = datetime(2026, 3, 5, 12, tzinfo=UTC)
DAY = timedelta(days=1)
RECORD = UUID(int=7)
SOURCES = ["web", "sweepstake-spring", "sweepstake-autumn"]
EVENTS = [
    "contract-began",
    "contract-ended",
    "claim-opened",
    "claim-closed",
    "relationship-ended",
    "relationship-resumed",
]


@lru_cache
def sets() -> list[PolicySet]:
    return [PolicySet.load(shipped()), policies()]


days_ago = st.integers(0, 4_500)
days = days_ago.map(lambda ago: TODAY.date().toordinal() - ago)


@st.composite
def clocks(draw, collection, happened):
    newest = draw(st.dictionaries(st.sampled_from(["purchase", "interaction", "complaint", "offer"]), days, max_size=4))
    if collection != "profile":  # whoever has a record has its clock, at its day or later
        newest[collection] = max(newest.get(collection, happened), happened)
    return Clocks(newest, draw(st.dictionaries(st.sampled_from(EVENTS), days, max_size=4)))


@st.composite
def standings(draw, policy_set, purpose):
    """The consents of a subject for whom steps 6 and 7 permit a read for the purpose."""
    answer = {}
    for name, item in policy_set.purposes.items():
        notices = sorted(purpose_ground(policy_set, item, TODAY.date()).notices)
        given_now = PurposeState(
            "given", to_microseconds(TODAY), notice=notices[-1] if notices else None, method="signature"
        )
        if name == purpose.name:
            if item.rests_on_consent:
                answer[name] = given_now
        elif draw(st.booleans()):
            over = PurposeState(
                "withdrawn",
                to_microseconds(TODAY - draw(days_ago) * DAY),
                objection="upheld" if may_object(item) else "none",
                objected_at=to_microseconds(TODAY - draw(days_ago) * DAY),
            )
            answer[name] = draw(st.sampled_from([given_now, over]))
    return ConsentState(answer)


@st.composite
def reads(draw):
    policy_set = draw(st.sampled_from(sets()))
    purpose = draw(st.sampled_from(list(policy_set.purposes.values())))
    views = [view for view in policy_set.catalogue.views() if purpose.covers(view)]
    view = draw(st.sampled_from(views))
    start = TODAY - draw(days_ago) * DAY
    stored = Stored(
        b"",
        draw(st.sampled_from(SOURCES)),
        to_microseconds(start),
        purpose=draw(st.sampled_from(sorted(policy_set.purposes))),
    )
    standing = draw(standings(policy_set, purpose))
    at = draw(clocks(view.field.collection, start.date().toordinal()))
    return policy_set, purpose, view, stored, standing, at


def close_look(policy_set, purpose, view, stored, standing, at, ends):
    today, dates = TODAY.date().toordinal(), {RECORD: arrived(stored)}
    gate = Gate(ends, purpose, standing, today, {}, dates, to_microseconds(TODAY), only_held=False)
    body = Sealed(None, {}, b"", stored.collected_at)
    shown = None if view.view == CLEAR else view.view
    return gate.before(view.field.collection, RECORD).refusal(body, view.field.name, stored, shown)


def arrived(stored):
    day = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=stored.collected_at)).date().toordinal()
    return Dates(day, day)


@given(reads())
def test_quick_check_agrees_with_the_full_check(read):
    policy_set, purpose, view, stored, standing, at = read
    lasting = schedule_of(policy_set).lasting(purpose.name, [view.field])
    packed = pack_body({view.field.name: stored}, None)
    if not lasting.may_be_over(stored.collected_at, open_body(packed).origins, to_microseconds(TODAY)):
        ends = ends_of(policy_set, standing, at, TODAY)
        assert close_look(*read, ends) is None


@given(reads())
def test_own_claim_alone_gives_the_answer_of_all_claims(read):
    policy_set, purpose, _view, _stored, standing, at = read
    if _claims_itself(policy_set, purpose):
        alone = _ends(policy_set, purpose, standing, at, TODAY, retained=False)
        assert close_look(*read, alone) is close_look(*read, ends_of(policy_set, standing, at, TODAY))


def test_quick_check_lasts_as_long_as_the_rules_allow():
    """Otherwise every read would use the full check, and the two properties above would test nothing."""
    shipped_rules, own = (schedule_of(item) for item in sets())
    name = next(field for field in shipped_rules.catalogue.fields() if field.whole == "profile.name")
    # Three years by order-fulfilment, a contract; a draw's values for three months only, wherever they may be.
    result = shipped_rules.lasting("subject-rights", [name])
    assert (result.least // 86_400_000_000, result.unless // 86_400_000_000) == (83, 3 * 12 * 28 - 1)
    assert result.sources == (b"sweepstake-autumn", b"sweepstake-spring")
    born = next(field for field in shipped_rules.catalogue.fields() if field.whole == "profile.birth_date")
    # A proof of age does not need the date, and yet no less than the date: the year does not do for it.
    assert shipped_rules.lasting("subject-rights", [born]).unless == result.unless
    assert own.lasting("customer-support", [name]).least // 86_400_000_000 == 2 * 12 * 28 - 1
    assert not own.lasting("customer-support", [name]).sources
