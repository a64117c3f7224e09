"""Where a person stands: deny wins until the person says otherwise."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.consent.event import CONSENT, OBJECTION, RESTRICTION, Event, decode, encode
from vault.consent.state import NOTHING, ConsentState, apply, fold, pack, unpack
from vault.ids import new_id

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
WHO = new_id()
P = "direct-marketing"


def event(kind, hours=0, *, purpose=P, origin="recorded", by="subject", **facts):
    at = NOON + timedelta(hours=hours)
    if kind in RESTRICTION:
        purpose = None
    return Event(
        id=new_id(),
        subject=WHO,
        kind=kind,
        by=by,
        occurred_at=at,
        recorded_at=at,
        origin=origin,
        purpose=purpose,
        **facts,
    )


def state(*events):
    return fold(events).purposes[P].state


def objection(*events):
    return fold(events).purposes[P].objection


EVENTS = st.builds(
    event,
    st.sampled_from(sorted(CONSENT | OBJECTION | RESTRICTION)),
    st.integers(-5, 5),
    purpose=st.sampled_from([P, "profiling"]),
    origin=st.sampled_from(["recorded", "imported", "merged", "system"]),
    by=st.sampled_from(["subject", "guardian", "staff", "app"]),
    source=st.sampled_from([None, "shop", "crm"]),
    final=st.booleans(),
)


@given(st.lists(EVENTS, max_size=12))
def test_adding_one_by_one_is_the_same_as_summing_up(events):
    standing = NOTHING
    for each in events:
        standing = unpack(pack(apply(standing, each)))
    assert standing == fold(events)


@given(EVENTS)
def test_an_event_reads_back_as_it_was_written(given):
    assert decode(encode(given)) == given


@given(st.lists(EVENTS, max_size=12), st.sampled_from(["refused", "withdrawn"]))
def test_whoever_says_no_now_does_not_consent(events, kind):
    assert state(*events, event(kind, 6)) in {"refused", "withdrawn"}


@given(st.lists(EVENTS, max_size=12))
def test_a_yes_from_the_person_now_counts(events):
    after = fold([*events, event("given", 6)]).purposes[P]
    assert after.state == "given"
    assert after.objection in {"none", "overruled"}


@given(st.lists(EVENTS, max_size=12), st.sampled_from(["imported", "merged"]))
def test_an_objection_from_anywhere_stands(events, origin):
    assert objection(*events, event("objected", -5, origin=origin)) in {"pending", "upheld"}


@given(st.lists(EVENTS, max_size=8), st.lists(EVENTS.filter(lambda each: each.origin in {"imported", "merged"})))
def test_nothing_from_others_lifts_a_restriction(events, more):
    before = fold([*events, event("restricted")])
    assert fold([*events, event("restricted"), *more]).restricted_at >= before.restricted_at


def test_an_earlier_word_does_not_undo_a_later_one():
    assert state(event("given", 1), event("withdrawn", 0)) == "given"
    assert state(event("withdrawn", 1), event("given", 0)) == "withdrawn"


@pytest.mark.parametrize("order", [("given", "withdrawn"), ("withdrawn", "given")])
def test_of_two_words_at_the_same_moment_the_no_counts(order):
    assert state(*(event(kind, 0) for kind in order)) == "withdrawn"


def test_to_be_asked_again_takes_no_word_back():
    assert state(event("requested")) == "pending"
    assert state(event("withdrawn", 0), event("requested", 1)) == "withdrawn"
    assert state(event("given", 0), event("requested", 1)) == "given"
    assert state(event("requested", 0), event("given", 1)) == "given"


def test_an_import_of_an_old_yes_undoes_no_denial():
    assert state(event("withdrawn", 0), event("given", 5, origin="imported", source="crm")) == "withdrawn"


def test_within_one_source_the_later_word_counts():
    no = event("withdrawn", 0, origin="imported", source="crm")
    assert state(no, event("given", 1, origin="imported", source="crm")) == "given"
    assert state(no, event("given", -1, origin="imported", source="crm")) == "withdrawn"
    assert state(no, event("given", 1, origin="imported", source="shop")) == "withdrawn"


def test_one_source_takes_back_no_other_sources_no():
    crm, shop = {"origin": "imported", "source": "crm"}, {"origin": "imported", "source": "shop"}
    both = [event("withdrawn", 1, **crm), event("withdrawn", 2, **shop)]
    assert state(*both, event("given", 3, **shop)) == "withdrawn"
    assert state(*both, event("given", 3, **shop), event("given", 4, **crm)) == "given"
    assert state(event("withdrawn", 0), *both, event("given", 3, **shop), event("given", 4, **crm)) == "withdrawn"
    assert state(*both, event("given", 5)) == "given"


def test_an_import_of_an_old_no_counts():
    assert state(event("given", 0), event("withdrawn", -100, origin="imported", source="crm")) == "withdrawn"


def test_an_objection_to_marketing_is_final_and_ends_the_consent():
    after = fold([event("given", 0), event("objected", 1, final=True)]).purposes[P]
    assert (after.state, after.objection) == ("withdrawn", "upheld")


def test_an_objection_waits_and_is_decided():
    objected = event("objected")
    assert objection(objected) == "pending"
    assert objection(objected, event("objection-overruled", 1, by="staff")) == "overruled"
    assert objection(objected, event("objection-upheld", 1, by="staff")) == "upheld"
    assert objection(event("objection-upheld"), event("objected", 1)) == "upheld"


def test_only_a_person_lifts_their_objection_and_only_afterwards():
    objected = event("objected", 1)
    assert objection(objected, event("given", 2)) == "none"
    assert objection(objected, event("given", 2, by="app")) == "pending"
    assert objection(objected, event("given", 2, origin="merged")) == "pending"
    assert objection(event("given", 0), objected) == "pending"


def test_a_restriction_is_on_until_it_is_lifted():
    on = event("restricted", 1)
    assert fold([on]).restricted_at is not None
    assert fold([on, event("restriction-lifted", 2)]) == NOTHING


def test_where_nothing_was_said_nothing_is_written():
    assert pack(NOTHING) is None
    assert unpack(None) == ConsentState()


def test_an_event_without_purpose_is_a_restriction():
    with pytest.raises(ValueError, match="about a purpose"):
        apply(NOTHING, event("given", purpose=None))


def test_a_no_that_is_older_than_a_waiting_request_is_not_forgotten():
    """It does not end the request, which came later; but no import of an older yes outweighs it."""
    asked, no = event("requested"), event("withdrawn", -1, by="staff")
    assert state(asked, no) == "pending"
    assert state(asked, no, event("requested", 1), event("given", -2, origin="imported", source="crm")) == "pending"
    assert state(asked, no, event("given", -2, origin="merged")) == "pending"
    assert state(asked, no, event("given", 1)) == "given"


def test_an_imported_yes_is_as_old_as_it_is_although_a_request_came_later():
    asked, yes = event("requested"), event("given", -5, origin="imported", source="crm")
    assert state(asked, yes) == "given"
    assert state(asked, yes, event("withdrawn", -1)) == "withdrawn"
    assert fold([asked, yes]).purposes[P].since == fold([yes]).purposes[P].since
